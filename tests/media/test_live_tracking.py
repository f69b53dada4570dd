"""Tracking and crops of a live video, on drawn faces and a finder of them: nothing waits, at rest all is as offline."""

import numpy as np
import pytest

from avsr.errors import UtteranceError
from avsr.media.crops import Cropper, CropShape
from avsr.media.landmarks import MOUTH, Box, DetectConf, FaceFinder, Tracker, detect, fill_gaps
from avsr.media.live_crops import LiveMouth
from avsr.media.live_tracking import LiveTracker
from tests.media.clips import face_clip, grey

CONF, SHAPE = DetectConf(), CropShape(128.0, 80, 128)
SIDE = 100  # px of the face
MARKS = np.random.default_rng(0).uniform(0.1, 0.9, (68, 2))  # of the face's side; the outer eye corners below
MARKS[36], MARKS[45] = (0.18, 0.3), (0.82, 0.3)
FACE = np.tile(np.arange(150, 150 + SIDE, dtype=np.uint8), (SIDE, 1))  # little changes where it moves a little


def picture(x, y=90, shade=20):
    """(288, 360) dark, with a bright face whose left upper corner is at (x, y); x None: without one."""
    drawn = np.full((288, 360), shade, np.uint8)
    if x is not None:
        drawn[y : y + SIDE, x : x + SIDE] = FACE
    return drawn


class DrawnFinder:
    """In the place of dlib: sees the bright square, keeps where it was asked to fit landmarks."""

    def __init__(self):
        self.boxes = []

    def first_faces(self, picture):
        return self.faces(picture)

    def faces(self, picture, scale=1.0, around=None):
        rows, columns = np.nonzero(picture >= 150)
        if not len(rows):
            return []
        return [Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]

    def points(self, picture, box):
        """Half way from the box to where the face is, as a predictor that starts from a box that is a little off."""
        self.boxes.append(box)
        (now,) = self.faces(picture) or [box]
        place = np.array([box.left + now.left, box.top + now.top]) / 2
        return (MARKS * SIDE + place).astype(np.float32)


def live_points(clip):
    finder = DrawnFinder()
    tracker = LiveTracker(finder, CONF)
    return np.stack(list(tracker.track(clip))), tracker.counts, finder.boxes


def offline_points(clip):
    tracker = Tracker(DrawnFinder(), CONF)
    return np.stack(list(tracker.track(clip))), tracker.counts


def live_crops(clip):
    mouth = LiveMouth(DrawnFinder(), SHAPE, CONF)
    return np.stack([mouth.crop(each) for each in clip])


# what later pictures may show: another place, far off, nothing, something bright all over
FUTURES = {"moved": lambda k: picture(180 + 2 * k), "jumped": lambda k: picture(20), "gone": lambda k: picture(None),
           "bright": lambda k: picture(None, shade=200)}  # fmt: skip


@pytest.mark.parametrize("future", FUTURES)
@pytest.mark.parametrize("step", [0, 3])
def test_no_crop_depends_on_a_later_picture(future, step):
    clip = [picture(120 + step * k) for k in range(11)]
    expected = live_crops(clip)
    for first in range(1, 11):
        changed = clip[:first] + [FUTURES[future](k) for k in range(first, 11)]
        np.testing.assert_array_equal(live_crops(changed)[:first], expected[:first])


def test_the_offline_tracker_looks_ahead_and_this_one_does_not():
    """That the test above can fail: pictures 1 to 4 offline change with picture 5, by which the face moved more."""
    clip = [picture(120 + k) for k in range(6)]
    changed = [*clip[:5], picture(131)]
    assert (offline_points(clip)[0][1:5] != offline_points(changed)[0][1:5]).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(live_points(clip)[0][:5], live_points(changed)[0][:5])


def test_each_is_there_before_the_next_picture_is_taken():
    taken = []
    pictures = (taken.append(k) or picture(120 + k) for k in range(12))
    for number, _ in enumerate(LiveTracker(DrawnFinder(), CONF).track(pictures)):
        assert len(taken) == number + 1


@pytest.mark.parametrize("hidden", [(), (7,), (7, 8), (11, 13)])
def test_a_face_at_rest_is_as_offline(hidden):
    """Hidden for a moment between two detections, too."""
    clip = [picture(None if k in hidden else 120) for k in range(21)]
    (live_tpx, live_counts, _), (offline_tpx, offline_counts) = live_points(clip), offline_points(clip)
    assert np.isnan(live_tpx).any(axis=(1, 2)).nonzero()[0].tolist() == list(hidden)
    np.testing.assert_array_equal(live_tpx, offline_tpx)
    assert live_counts == offline_counts and live_counts.detections == 5
    cropper = Cropper(fill_gaps(offline_tpx), (SHAPE,))
    expected = [cropper.crop(k, each)[0] for k, each in enumerate(clip)]
    np.testing.assert_array_equal(live_crops(clip), expected)


def test_the_box_is_held_from_one_detection_to_the_next():
    points_tpx, counts, boxes = live_points([picture(120 + k) for k in range(13)])
    assert [box.left for box in boxes] == [120] * 5 + [125] * 5 + [130] * 3
    assert counts.redetected == 0 and counts.detections == 3
    lag = np.array([0, 1, 2, 3, 4] * 2 + [0, 1, 2]) / 2  # half of what it moved since, by this finder
    expected = MARKS[MOUTH, 0].mean() * SIDE + 120 + np.arange(13) - lag
    np.testing.assert_allclose(points_tpx[:, MOUTH, 0].mean(axis=1), expected, rtol=1e-5)


def test_a_jump_between_two_detections_is_seen_at_once():
    _, counts, boxes = live_points([picture(120 if k < 7 else 150) for k in range(12)])
    assert [box.left for box in boxes] == [120] * 7 + [150] * 5
    assert counts.redetected == 1  # the box is held where it was found anew


def test_a_lost_face_is_searched_for_in_every_picture():
    clip = [picture(None if 4 <= k < 13 else 120) for k in range(18)]
    points_tpx, counts, boxes = live_points(clip)
    assert np.isnan(points_tpx).any(axis=(1, 2)).nonzero()[0].tolist() == list(range(4, 13))
    assert [box.left for box in boxes] == [120] * 9
    assert counts.missed == 2 and counts.redetected == 1 + 4 + 3  # 4; 6 to 9; 11 to 13, where it is back
    np.testing.assert_array_equal(points_tpx[13], points_tpx[0])


def test_the_first_face_is_found_in_the_first_picture_that_shows_one():
    mouth = LiveMouth(DrawnFinder(), SHAPE, CONF)
    for _ in range(3):
        with pytest.raises(UtteranceError, match="no face so far"):
            mouth.crop(picture(None))
    np.testing.assert_array_equal(mouth.crop(picture(120)), live_crops([picture(120)])[0])


def test_a_real_face_that_sways_is_near_offline():
    clip, finder = grey(face_clip(50)), FaceFinder(CONF)
    offline_tpx, _ = detect(iter(clip), finder, CONF, "clip")
    live_tpx = np.stack(list(LiveTracker(finder, CONF).track(clip)))
    assert 0 < np.linalg.norm(live_tpx - offline_tpx, axis=-1).mean() < 1.5
    still = np.stack([clip[0]] * 12)
    offline_tpx, _ = detect(iter(still), finder, CONF, "clip")
    live_tpx = np.stack(list(LiveTracker(finder, CONF).track(still)))
    assert np.linalg.norm(live_tpx - offline_tpx, axis=-1).mean() < 0.5
