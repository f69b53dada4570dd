"""Landmarks: they follow the face, keep to it when there are two, and say when it is lost."""

import sys

import numpy as np
import pytest

from avsr.errors import AvsrError, UsageError, UtteranceError
from avsr.media import landmarks
from avsr.media.landmarks import MOUTH, Box, DetectConf, FaceFinder, Tracker, detect, fill_gaps, read_npz
from avsr.media.video import read_frames
from tests.media.clips import face_clip, face_picture, grey

CONF = DetectConf()


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder(CONF)


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return grey(face_clip(50))


@pytest.fixture(scope="module")
def truth(finder, clip) -> np.ndarray:
    """Detector and predictor on every picture in full."""
    return np.stack([finder.points(picture, max(finder.faces(picture), key=lambda b: b.width)) for picture in clip])


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean distance in px."""
    return float(np.linalg.norm(found - expected, axis=-1).mean())


def test_as_good_as_detecting_in_every_picture(finder, clip, truth):
    points, counts = detect(iter(clip), finder, CONF, "clip")
    assert points.shape == (50, 68, 2) and points.dtype == np.float32
    assert apart(points, truth) < 2
    assert counts["detections"] == 10 and counts["missed"] == counts["interpolated"] == 0


def test_follows_the_movement_of_the_head(finder, clip):
    points, _ = detect(iter(clip), finder, CONF, "clip")
    sway = np.round(12 * np.sin(np.arange(50) * 2 * np.pi / 50))
    found = points[:, MOUTH].mean(axis=1)
    assert np.abs((found - found[0])[:, 0] - sway).max() < 3
    assert np.abs((found - found[0])[:, 1]).max() < 3


def test_works_on_a_reduced_picture(finder):
    from PIL import Image

    large = np.asarray(Image.fromarray(grey(face_picture())).resize((1440, 1152), Image.Resampling.BICUBIC))
    points, _ = detect([large] * 5, finder, CONF, "clip")
    small, _ = detect([grey(face_picture())] * 5, finder, CONF, "clip")
    assert apart(points / 4, small) < 2


def test_holds_few_pictures_at_a_time(finder, clip):
    taken = []

    def pictures():
        for number, picture in enumerate(clip):
            taken.append(number)
            yield picture

    for number, _ in enumerate(Tracker(finder, CONF).track(pictures())):
        assert len(taken) - number <= CONF.every + 1


def test_a_jump_is_followed_picture_by_picture(finder):
    jump = 17  # between two regular detections
    clip = np.stack([grey(face_picture(dx=0 if k < jump else 30)) for k in range(30)])
    points, counts = detect(iter(clip), finder, CONF, "clip")
    centre = points[:, MOUTH, 0].mean(axis=1)
    assert counts["redetected"] == 4 and counts["missed"] == 0
    assert np.abs(centre[:jump] - centre[0]).max() < 3 and np.abs(centre[jump:] - centre[0] - 30).max() < 3


def test_a_face_that_leaves_for_a_moment(finder, clip, truth):
    hidden = clip.copy()
    hidden[22:27] = 128
    points, counts = detect(iter(hidden), finder, CONF, "clip")
    assert counts["missed"] == 1 and counts["interpolated"] == 5
    for k in range(22, 27):  # on the line between the last picture before and the first after
        part = (k - 21) / 6
        assert np.allclose(points[k], (1 - part) * points[21] + part * points[27], atol=1e-3)
    seen = np.r_[0:22, 27:50]
    assert apart(points[seen], truth[seen]) < 2


@pytest.mark.parametrize("shade", [60, 128, 200])
def test_a_face_hidden_between_two_detections(finder, clip, truth, shade):
    hidden = clip.copy()
    hidden[22:24] = shade
    points, counts = detect(iter(hidden), finder, CONF, "clip")
    assert counts["missed"] == 0 and counts["interpolated"] == 2
    assert apart(points, truth) < 2


def test_lost_at_the_ends_is_held(finder, clip):
    hidden = clip.copy()
    hidden[:3] = hidden[48:] = 128
    points, counts = detect(iter(hidden), finder, CONF, "clip")
    assert counts["missed"] == 1 and counts["interpolated"] == 5
    assert (points[:3] == points[3]).all() and (points[48:] == points[47]).all()


def test_a_predictor_that_is_not_there_is_a_wrong_option(tmp_path):
    with pytest.raises(UsageError, match=r"gone.dat: there is no such file; mend crop.detect.predictor"):
        FaceFinder(DetectConf(predictor=tmp_path / "gone.dat"))


def test_a_predictor_that_dlib_cannot_read_or_of_other_points_is_one_line(tmp_path):
    (tmp_path / "text.dat").write_text("no model\n" * 99)
    five = landmarks.find_predictor().with_name("shape_predictor_5_face_landmarks.dat")
    for path, more in ((tmp_path / "text.dat", "predictor$"), (five, r"predictor \(it has 5 points\)$")):
        with pytest.raises(AvsrError, match=f"{path}: is no 68-point shape predictor of dlib; name another .*{more}"):
            FaceFinder(DetectConf(predictor=path))


SLOT = 180  # px, of each face


def slot(scale: float) -> np.ndarray:
    """(288, SLOT) with a face `scale` times as large as in the other clips (box 87 px)."""
    from PIL import Image

    face = grey(face_picture())[:, 100:250]
    size = (round(150 * scale), round(288 * scale))
    face = np.asarray(Image.fromarray(face).resize(size, Image.Resampling.BILINEAR))[:288, :SLOT]
    return np.pad(face, ((0, 288 - face.shape[0]), (0, SLOT - face.shape[1])), mode="edge")


def two_faces(left: float, right: float, frames: int) -> np.ndarray:
    """(frames, 288, 2 SLOT) with two faces of these scales side by side."""
    return np.stack([np.hstack([slot(left), slot(right)])] * frames)


@pytest.mark.parametrize(("left", "right"), [(1.1, 0.9), (0.9, 1.1)])
def test_of_two_faces_the_largest(finder, left, right):
    points, counts = detect(two_faces(left, right, 20), finder, CONF, "clip")
    assert counts["faces"] == 2 and counts["missed"] == 0
    at_left = points[:, MOUTH, 0] < SLOT
    assert at_left.all() if left > right else not at_left.any()


def test_a_face_that_enters_later_is_not_followed_and_seldom_counted(finder):
    clip = two_faces(0.95, 1.1, 40)
    clip[:8, :, SLOT:] = 128
    points, counts = detect(clip, finder, CONF, "clip")
    assert counts["faces"] == 1 and counts["missed"] == 0 and (points[:, MOUTH, 0] < SLOT).all()
    clip[20:22, :, :SLOT] = 128  # away in one regular detection
    points, counts = detect(clip, finder, CONF, "clip")
    assert counts["missed"] == 1 and (points[:, MOUTH, 0] < SLOT).all()
    assert counts["faces"] == 1  # the other one is alone in the picture that was searched as a whole


def test_identity_is_kept_while_the_face_is_away(finder):
    clip = two_faces(1.1, 0.95, 40)
    clip[13:18, :, :SLOT] = 128  # only the other one is there
    points, counts = detect(clip, finder, CONF, "clip")
    assert counts["missed"] == 1 and counts["interpolated"] == 5
    assert (points[:, MOUTH, 0] < SLOT).all()


def test_identity_is_kept_when_the_other_face_grows(finder):
    clip = np.concatenate([two_faces(1.1, 0.95, 10), two_faces(0.95, 1.2, 20)])
    points, counts = detect(clip, finder, CONF, "clip")
    assert counts["missed"] == 0 and (points[:, MOUTH, 0] < SLOT).all()


def test_a_small_face_in_a_large_picture(finder):
    large = np.full((1080, 1920), 90, np.uint8)
    large[500:788, 900:1260] = grey(face_picture())  # 87 px wide: 15 px where the picture is 320 px wide
    points, _ = detect([large] * 6, finder, CONF, "clip")
    small, _ = detect([grey(face_picture())] * 6, finder, CONF, "clip")
    assert apart(points - (900, 500), small) < 2


def test_a_large_picture_without_a_face_is_searched_in_full_and_dropped(finder):
    large = np.random.default_rng(0).integers(100, 140, (1080, 1920), dtype=np.uint8)
    widths = []

    class Noted(type(finder)):
        def faces(self, picture, scale=1.0, around=None):
            widths.append(round(picture.shape[1] / scale))
            return super().faces(picture, scale, around)

    noted = Noted.__new__(Noted)
    vars(noted).update(vars(finder))
    with pytest.raises(UtteranceError, match="sa1.mp4: no face was found in any of 2 detections"):
        detect([large] * 6, noted, CONF, "sa1.mp4")
    assert widths == [320, 640, 1280, 1920] * 2


def test_no_face(finder):
    noise = np.random.default_rng(0).integers(0, 256, (20, 288, 360), dtype=np.uint8)
    with pytest.raises(UtteranceError, match="noise.mpg: no face was found in any of 4 detections"):
        detect(noise, finder, CONF, "noise.mpg")


@pytest.mark.parametrize("start", [0, 30])
def test_grey_rubbish_that_decodes_without_an_error(finder, start):
    clip = grey(face_clip(75))
    clip[start : start + 12] = 127 + np.random.default_rng(0).integers(0, 3, (12, 288, 360), dtype=np.uint8)
    with pytest.raises(UtteranceError, match="the face was lost in 3 of 15 detections"):
        detect(clip, finder, CONF, "a.mpg")


def test_the_real_rubbish_is_dropped_and_its_neighbours_are_not(finder, real_data):
    folder = real_data / "grid" / "s1"
    for name in ("lrarzn", "pbio7a", "brwa4p"):
        with pytest.raises(UtteranceError, match="the face was lost in"):
            detect(read_frames(folder / f"{name}.mp4"), finder, CONF, name)
    for name in ("bbaf2n.mp4", "bbaf5a.mpg"):
        points, counts = detect(read_frames(folder / name), finder, CONF, name)
        assert len(points) == 75 and counts["missed"] < 3


def test_real_clips_as_good_as_detecting_in_every_picture(finder, real_data):
    for path in (real_data / "grid" / "s1" / "bbaz5s.mpg", next((real_data / "grid" / "u03").glob("*.mpg"))):
        points, _ = detect(read_frames(path), finder, CONF, path.name)
        every = [max(finder.faces(p), key=lambda b: b.width, default=None) for p in read_frames(path)]
        triples = zip(read_frames(path), every, points, strict=True)
        pairs = [(finder.points(picture, box), found) for picture, box, found in triples if box]
        assert len(pairs) > 70
        assert np.mean([apart(reference, found) for reference, found in pairs]) < 2


def test_gaps_against_a_plain_loop():
    draw = np.random.default_rng(1)
    for trial in range(20):
        points = draw.normal(size=(12, 68, 2)).astype(np.float32)
        lost = draw.random(12) < 0.5
        lost[trial % 12] = False
        points[lost] = np.nan
        filled = fill_gaps(points)
        good = np.flatnonzero(~lost)
        for number in (0, 50, 67):
            for axis in (0, 1):
                expected = np.interp(np.arange(12), good, points[good, number, axis])
                assert np.allclose(filled[:, number, axis], expected, atol=1e-5)
        assert (filled[good] == points[good]).all()


def test_box_arithmetic():
    a, b = Box(0, 0, 10, 10), Box(6, 8, 16, 18)
    assert a.distance(b) == 10 and a.towards(b, 0.5) == Box(3, 4, 13, 14) and b.width == 10


def test_landmarks_made_elsewhere(tmp_path):
    points = np.random.default_rng(0).normal(100, 20, (20, 68, 2)).astype(np.float32)
    points[4] = np.nan
    np.savez(tmp_path / "whole.npz", landmarks=points)
    found, counts = read_npz(tmp_path / "whole.npz", 20, 0.2)
    assert counts == {"frames": 20, "interpolated": 1}
    assert np.allclose(found[4], (points[3] + points[5]) / 2, atol=1e-4) and (found[5] == points[5]).all()
    np.savez(tmp_path / "mouth.npz", landmarks=points[:, MOUTH])
    mouth, _ = read_npz(tmp_path / "mouth.npz", 20, 0.2)
    assert np.allclose(mouth[:, MOUTH], found[:, MOUTH]) and np.isnan(mouth[:, :48]).all()


def test_bad_landmark_files(tmp_path):
    np.savez(tmp_path / "shape.npz", landmarks=np.zeros((20, 5, 2)))
    np.savez(tmp_path / "other.npz", points=np.zeros((20, 68, 2)))
    np.savez(tmp_path / "pickled.npz", landmarks=np.array([{"a": 1}], dtype=object))
    np.savez(tmp_path / "lost.npz", landmarks=np.where(np.arange(20)[:, None, None] < 4, np.nan, np.ones((20, 68, 2))))
    np.savez(tmp_path / "cut.npz", landmarks=np.ones((20, 68, 2)))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:500])
    np.savez(tmp_path / "short.npz", landmarks=np.ones((19, 68, 2)))
    (tmp_path / "text.npz").write_text("words")
    (tmp_path / "empty.npz").touch()
    for name, words in (
        ("shape", r"shape \(20, 5, 2\)"),
        ("other", "array `landmarks`"),
        ("pickled", "array `landmarks`"),
        ("lost", "missing in 4 of 20"),
        ("short", "for the 20 pictures"),
        ("text", "array `landmarks`"),
        ("cut", "array `landmarks`"),
        ("empty", "array `landmarks`"),
        ("absent", "no such file"),
    ):
        with pytest.raises(UtteranceError, match=words) as caught:
            read_npz(tmp_path / f"{name}.npz", 20, 0.2)
        assert "\n" not in str(caught.value)


def test_missing_dlib_and_missing_model(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "dlib", None)
        with pytest.raises(AvsrError, match="pip install dlib-bin"):
            FaceFinder()
    with monkeypatch.context() as patch:
        patch.setattr(landmarks.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(AvsrError, match="pip install face_recognition_models"):
            FaceFinder()


def test_the_model_is_found_without_importing_its_package():
    assert landmarks.find_predictor().is_file()
    assert "face_recognition_models" not in sys.modules


@pytest.mark.parametrize(
    "wrong", [{"every": 0}, {"width": 10}, {"max_missed": 0.0}, {"backend": "npz"}, {"folder": "somewhere"}]
)
def test_wrong_options(wrong):
    with pytest.raises(ValueError, match="detect."):
        DetectConf(**wrong)
