"""Crops of pictures so far: those of the whole utterance where nothing moves, near them where something does."""

import numpy as np
import pytest

from avsr.errors import UtteranceError
from avsr.media.crops import Cropper, CropShape, mouth_centres
from avsr.media.landmarks import MOUTH
from avsr.media.live_crops import LiveCropper

SHAPE = CropShape(128.0, 80, 128)


def video(step=0.0, pictures=12):
    """Landmarks of a face that moves `step` px a picture to the right, and a picture that is brighter there."""
    face = np.random.default_rng(0).uniform(-30, 30, (68, 2)) + (150, 140)
    face[36], face[45] = (118, 100), (182, 100)
    points_tpx = (face + np.arange(pictures)[:, None, None] * (step, 0)).astype(np.float32)
    ramp = np.broadcast_to(np.arange(360) / 360 * 255, (288, 360)).astype(np.uint8)
    return points_tpx, ramp


def live(points_tpx, picture):
    cropper = LiveCropper(SHAPE)
    return np.stack([cropper.crop(points_px, picture) for points_px in points_tpx])


def whole(points_tpx, picture):
    cropper = Cropper(points_tpx, (SHAPE,))
    return np.stack([cropper.crop(k, picture)[0] for k in range(len(points_tpx))])


def test_a_face_at_rest_is_cropped_as_offline():
    np.testing.assert_array_equal(live(*video()), whole(*video()))


def test_a_moving_face_lags_two_pictures():
    points_tpx, ramp = video(step=3.0)
    found, expected = live(points_tpx, ramp), whole(points_tpx, ramp)
    np.testing.assert_array_equal(found[4:], expected[2:-2])
    assert (found[4:] != expected[4:]).any()
    assert mouth_centres(points_tpx)[6, 0] == pytest.approx(points_tpx[6, MOUTH, 0].mean())


def test_a_later_picture_changes_nothing():
    points_tpx, ramp = video(step=1.0)
    changed_tpx = points_tpx.copy()
    changed_tpx[8:] += 20
    np.testing.assert_array_equal(live(changed_tpx, ramp)[:8], live(points_tpx, ramp)[:8])


@pytest.mark.parametrize("lost", [None, np.full((68, 2), np.nan)])
def test_a_lost_face_is_held(lost):
    points_tpx, ramp = video()
    cropper = LiveCropper(SHAPE)
    before = cropper.crop(points_tpx[0], ramp)
    np.testing.assert_array_equal(cropper.crop(lost, ramp), before)


def test_no_face_so_far():
    with pytest.raises(UtteranceError, match="no face so far"):
        LiveCropper(SHAPE).crop(None, video()[1])
