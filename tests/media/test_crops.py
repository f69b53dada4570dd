"""Mouth crops against plain loops in double precision, and by hand."""

import numpy as np
import pytest

from avsr.errors import UtteranceError
from avsr.media import crops
from avsr.media.crops import LRS3, LRW, Cropper, CropShape, cut, fixed_crop, read_crops
from avsr.media.landmarks import EYES, MOUTH, MOUTH_CORNERS

ENHANCEMENT, RECOGNITION = CropShape(128, 80, through=128), CropShape(96, 112)  # those of stage 2
PICTURE = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)


def points_at(centres, eyes: float = 64.0, mouth: float = 40.0) -> np.ndarray:
    """(T, 68, 2) landmarks whose mouth has these centres."""
    centres = np.asarray(centres, np.float32)
    points = np.repeat(centres[:, None], 68, axis=1)
    points[:, EYES[0], 0] -= eyes / 2
    points[:, EYES[1], 0] += eyes / 2
    points[:, MOUTH_CORNERS[0], 0] -= mouth / 2
    points[:, MOUTH_CORNERS[1], 0] += mouth / 2
    return points


def pixel(picture: np.ndarray, row: int, column: int) -> float:
    height, width = picture.shape
    return float(picture[min(max(row, 0), height - 1), min(max(column, 0), width - 1)])


def bilinear(picture: np.ndarray, y: float, x: float) -> float:
    row, column = int(np.floor(y)), int(np.floor(x))
    dy, dx = y - row, x - column
    top = (1 - dx) * pixel(picture, row, column) + dx * pixel(picture, row, column + 1)
    bottom = (1 - dx) * pixel(picture, row + 1, column) + dx * pixel(picture, row + 1, column + 1)
    return (1 - dy) * top + dy * bottom


def enlarged(picture: np.ndarray, top: float, left: float, side: float, size: int) -> np.ndarray:
    """A window enlarged by bilinear interpolation at the centres of the new pixels."""
    step = side / size
    rows = [top + (k + 0.5) * step - 0.5 for k in range(size)]
    columns = [left + (k + 0.5) * step - 0.5 for k in range(size)]
    return np.array([[bilinear(picture, y, x) for x in columns] for y in rows])


def mean_area(picture: np.ndarray, size: int) -> np.ndarray:
    """(n, n) -> (size, size), by cutting every pixel into `size` equal parts along either axis."""
    n = len(picture)
    rows = picture.repeat(size, axis=0).reshape(size, n, n).mean(axis=1)
    return rows.repeat(size, axis=1).reshape(size, size, n).mean(axis=2)


@pytest.mark.parametrize(
    ("top", "left", "side", "size"),
    [(20, 30, 16, 16), (20.3, 30.7, 16, 16), (18.25, 31.5, 12.5, 30), (-6.4, 70.2, 14, 20), (50, -8, 20, 24)],
)
def test_a_window_against_a_plain_loop(top, left, side, size):
    found = cut(PICTURE, top, left, side, side, size)
    expected = enlarged(PICTURE, top, left, side, size)
    assert np.abs(found - expected).max() <= 0.501  # rounding alone


def test_whole_pixels_are_copied():
    assert (cut(PICTURE, 10, 20, 32, 32, 32) == PICTURE[10:42, 20:52]).all()
    beyond = np.pad(PICTURE, 8, mode="edge")
    assert (cut(PICTURE, -8, -8, 24, 24, 24) == beyond[:24, :24]).all()
    assert (cut(PICTURE, 44, 64, 24, 24, 24) == beyond[52:76, 72:96]).all()


def test_128_then_80_in_one_step_is_what_two_steps_give():
    picture = np.random.default_rng(1).integers(0, 256, (200, 220), dtype=np.uint8)
    for top, left, side in ((20.0, 30.0, 128.0), (31.4, 52.6, 120.0), (-20.3, 100.8, 127.3)):
        expected = mean_area(enlarged(picture, top, left, side, 128), 80)
        found = cut(picture, top, left, side, side, 80, through=128)
        assert np.abs(found - expected).max() <= 0.502


def test_a_large_window_has_no_aliases():
    stripes = np.zeros((300, 300), np.uint8)
    stripes[:, ::2] = 255  # finer than the crop can show: must be grey
    found = cut(stripes, 10, 10, 256, 256, 112)
    assert np.abs(found.astype(int) - 127).max() < 8


def test_weights():
    for weights in (crops.area_weights(128, 80), crops.area_weights(10, 4), crops.triangle_weights(2.3, 50, 60, 20)):
        assert np.allclose(weights.sum(axis=1), 1, atol=1e-5) and (weights >= 0).all()
    assert np.allclose(crops.area_weights(5, 2), [[0.4, 0.4, 0.2, 0, 0], [0, 0, 0.2, 0.4, 0.4]])


def test_the_centre_is_a_median_over_five_pictures():
    centres = np.stack([np.arange(20.0), 100 - 2 * np.arange(20.0)], axis=1)
    centres[7] = (500, -400)  # one wild picture
    found = crops.mouth_centres(points_at(centres))
    padded = np.concatenate([centres[:1], centres[:1], centres, centres[-1:], centres[-1:]])
    expected = [[sorted(padded[k : k + 5, axis])[2] for axis in (0, 1)] for k in range(20)]
    assert np.allclose(found, expected, atol=1e-4)
    assert np.abs(found[7] - (7, 86)).max() <= 2


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_window_grows_with_the_face(scale):
    points = points_at([(100, 100)] * 9, eyes=64 * scale)
    points[3, EYES[0], 0] -= 300  # one wild picture does not matter
    assert Cropper(points, (ENHANCEMENT, RECOGNITION)).sides == pytest.approx([128 * scale, 96 * scale])


def test_landmarks_of_the_mouth_alone():
    points = points_at([(100, 100)] * 5, mouth=20)
    points[:, :48] = np.nan
    assert Cropper(points, (ENHANCEMENT,)).sides == pytest.approx([64])
    assert np.allclose(Cropper(points, (ENHANCEMENT,)).centres_tx, 100)


def test_crops_of_both_kinds():
    picture = np.random.default_rng(2).integers(0, 256, (288, 360), dtype=np.uint8)
    small, large = Cropper(points_at([(180, 150)] * 5), (ENHANCEMENT, RECOGNITION)).crop(2, picture)
    assert small.shape == (80, 80) and large.shape == (112, 112) and small.dtype == large.dtype == np.uint8
    window = picture[150 - 64 : 150 + 64, 180 - 64 : 180 + 64]
    assert np.abs(small - mean_area(window.astype(float), 80)).max() <= 0.502
    assert np.abs(large - enlarged(picture, 150 - 48, 180 - 48, 96, 112)).max() <= 0.501


def test_share_beyond_the_picture():
    cropper = Cropper(points_at([(50, 50)] * 5), (CropShape(100, 10),))
    assert cropper.outside(100, 100) == pytest.approx([0])
    assert cropper.outside(80, 100) == pytest.approx([0.2])
    assert Cropper(points_at([(0, 0)] * 5), (CropShape(100, 10),)).outside(100, 100) == pytest.approx([0.75])
    assert Cropper(points_at([(900, 0)] * 5), (CropShape(100, 10),)).outside(100, 100) == pytest.approx([1])


def test_crops_of_corpora_with_centred_faces():
    large = np.random.default_rng(3).integers(0, 256, (256, 256), dtype=np.uint8)
    assert np.abs(fixed_crop(large, LRW) - enlarged(large, 115, 79, 96, 122)).max() <= 0.501
    small = large[:224, :224]
    assert (fixed_crop(small, LRS3) == small[72:184, 56:168]).all()


def test_mouth_points_are_dlibs():
    assert MOUTH == slice(48, 68) and MOUTH_CORNERS == (48, 54) and EYES == (36, 45)


def test_mouth_pictures_made_elsewhere(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 9, 8), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", crops=pictures)
    assert (read_crops(tmp_path / "a.npz", least=6) == pictures).all()
    assert (read_crops(tmp_path / "a.npz", exact=8) == pictures[[0, 1, 2, 3, 4, 5, 5, 5]]).all()
    assert (read_crops(tmp_path / "a.npz", exact=4) == pictures[:4]).all()


def test_bad_files_of_mouth_pictures(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 40, 40), np.uint8)
    np.savez(tmp_path / "colour.npz", crops=pictures[..., None].repeat(3, axis=-1))
    np.savez(tmp_path / "float.npz", crops=pictures / 255)
    np.savez(tmp_path / "none.npz", crops=pictures[:, :0])
    np.savez(tmp_path / "other.npz", landmarks=pictures)
    np.savez(tmp_path / "pickled.npz", crops=np.array([{"a": 1}], dtype=object))
    np.savez_compressed(tmp_path / "damaged.npz", crops=pictures)
    data = bytearray((tmp_path / "damaged.npz").read_bytes())
    data[300:400] = bytes(100)
    (tmp_path / "damaged.npz").write_bytes(data)
    with open(tmp_path / "npy.npz", "wb") as file:
        np.save(file, pictures)
    for name, words in (
        ("colour", r"shape \(6, 40, 40, 3\) and type uint8, not \(pictures, rows, columns\)"),
        ("float", "type float64"),
        ("none", r"shape \(6, 0, 40\)"),
        ("other", "not an npz file with an array `crops`"),
        ("pickled", "not an npz file with an array `crops`"),
        ("damaged", "not an npz file with an array `crops`"),
        ("npy", "not an npz file with an array `crops`"),
        ("absent", "there is no such file"),
    ):
        with pytest.raises(UtteranceError, match=f"{name}.npz: .*{words}") as caught:
            read_crops(tmp_path / f"{name}.npz")
        assert "\n" not in str(caught.value)
    np.savez(tmp_path / "short.npz", crops=pictures)
    with pytest.raises(UtteranceError, match="only 6 pictures, at least 7 are needed"):
        read_crops(tmp_path / "short.npz", least=7)
