"""One face through a clip: the largest or the one asked for, where it is lost, and its mouth as stage 2 cuts it."""

import numpy as np
import pytest

from avsr.clips.faces import NoFace, follow, mouths
from avsr.errors import UtteranceError
from avsr.media.crops import Cropper, CropShape
from avsr.media.landmarks import DetectConf, FaceFinder, detect
from avsr.media.video import read_frames
from tests.media.clips import face_clip, face_picture, write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Ten pictures of a face, fifteen of a wall, ten of the face."""
    pictures = face_clip(35)
    pictures[10:25] = 90
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", pictures)


def test_where_the_face_is_lost_is_known(clip):
    face = follow(clip)
    assert face.points_tpx.shape == (35, 68, 2) and np.isfinite(face.points_tpx).all()
    ((start, end),) = face.unseen
    assert start == pytest.approx(0.4, abs=0.05) and end == pytest.approx(1.0, abs=0.05)
    assert face.seen_t.sum() == pytest.approx(20, abs=2) and face.faces == 1


def test_the_mouth_is_that_of_stage_2(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", face_clip(12))
    points_tpx, _ = detect(read_frames(path), FaceFinder(), DetectConf(), "clip")
    face = follow(path)
    np.testing.assert_array_equal(face.points_tpx, points_tpx)
    assert face.unseen == []
    for name, shape in (("crop80", CropShape(128.0, 80, 128)), ("crop112", CropShape(96.0, 112))):
        cropper = Cropper(points_tpx, (shape,))
        expected = [cropper.crop(k, picture)[0] for k, picture in enumerate(read_frames(path))]
        np.testing.assert_array_equal(list(mouths(path, face, name)), expected)


def test_of_three_faces_the_largest_or_the_one_asked_for(tmp_path):
    """Two of 90 px, and one of 135 px between them; pictures without any come first."""
    rows = np.minimum(np.arange(432) * 2 // 3, 287)
    columns = np.minimum(np.arange(540) * 2 // 3, 359)
    picture = np.full((432, 1260, 3), 90, np.uint8)
    picture[:, 360:900] = face_picture()[rows][:, columns]
    for left in (0, 900):
        picture[72:360, left : left + 360] = face_picture()
    path = write_clip(tmp_path / "three.mp4", np.stack([np.full_like(picture, 90)] * 5 + [picture] * 6))
    centres = [follow(path, number).points_tpx[-1].mean(axis=0)[0] for number in (None, 1, 2, 3)]
    assert abs(centres[0] - centres[2]) < 2 and centres[1] < 360 < centres[2] < 900 < centres[3]
    assert follow(path).faces == 3
    with pytest.raises(UtteranceError, match="three.mp4: there are 3 faces at most in a picture, not 4"):
        follow(path, 4)


def test_no_face(tmp_path):
    path = write_clip(tmp_path / "wall.mp4", np.full((6, 288, 360, 3), 90, np.uint8))
    with pytest.raises(NoFace, match="wall.mp4: no face was found"):
        follow(path)
