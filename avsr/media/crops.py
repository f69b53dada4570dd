"""Mouth crops: a square window around the mouth of every picture, resampled to a fixed size.

The window keeps the pictures' axes, so a crop is one product of matrices, A_rows @ window @ A_columns.T: cutting at a
fraction of a pixel, scaling, and MHCA-AVCRN's reduction of a 128 px crop to 80x80 are all composed in A_rows and
A_columns, without rounding between them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsr.errors import UtteranceError
from avsr.media.landmarks import EYES, MOUTH, MOUTH_CORNERS, read_made_elsewhere

EYE_DISTANCE = 64.0  # px between the outer eye corners, median of GRID s1 at 360x288: there a window is as wide as said
MOUTH_WIDTH = 40.0  # px between the mouth corners, the same clips: for landmarks of the mouth alone
SMOOTH = 5  # pictures over which the mouth's centre is the median


@dataclass(frozen=True)
class CropShape:
    """A window of `window` px at EYE_DISTANCE, resampled to `size` px; `through` is a size that it takes on the way."""

    window: float
    size: int
    through: int | None = None


@dataclass(frozen=True)
class FixedCrop:
    """A part of corpora whose faces are centred already: rows and columns from, to (px), resized to `size` px."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    size: int


LRW = FixedCrop((115, 211), (79, 175), 122)  # of 256x256; training cuts 112x112 out of 122x122 at random
LRS3 = FixedCrop((72, 184), (56, 168), 112)  # of 224x224; 16 px below its centre, where the mouth is


def mouth_centres(points_tpx: np.ndarray) -> np.ndarray:
    """(T, 68, 2) landmarks -> (T, 2) centre of the mouth (x, y), the median over 5 pictures, in px."""
    centres = points_tpx[:, MOUTH].mean(axis=1, dtype=np.float64)
    padded = np.pad(centres, ((SMOOTH // 2, SMOOTH // 2), (0, 0)), mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, SMOOTH, axis=0), axis=-1)


def face_scale(points_tpx: np.ndarray) -> float:
    """Size of the face against that of GRID s1 at 360x288: the median over the utterance; scales the window."""
    if np.isnan(points_tpx[:, EYES]).any():  # landmarks of the mouth alone
        return mouth_width(points_tpx) / MOUTH_WIDTH
    return eye_distance(points_tpx) / EYE_DISTANCE


def eye_distance(points_tpx: np.ndarray) -> float:
    """Median distance of the outer eye corners in px (NaN without eyes)."""
    return _median_distance(points_tpx, EYES)


def mouth_width(points_tpx: np.ndarray) -> float:
    """Median distance of the mouth corners in px."""
    return _median_distance(points_tpx, MOUTH_CORNERS)


class Cropper:
    """Crops of one utterance, picture by picture.

    Args:
        points_tpx: (T, 68, 2) landmarks in px, without gaps at the mouth.
        shapes: the crops to make.
    """

    def __init__(self, points_tpx: np.ndarray, shapes: tuple[CropShape, ...]):
        scale = face_scale(points_tpx)
        self.centres_tx = mouth_centres(points_tpx)
        self.sides = [shape.window * scale for shape in shapes]
        self.shapes = shapes

    def crop(self, number: int, picture: np.ndarray) -> list[np.ndarray]:
        """The crops of picture `number`, (H, W) uint8 -> [(size, size) uint8]; its edge is repeated beyond it."""
        x, y = self.centres_tx[number]
        return [
            cut(picture, y - side / 2, x - side / 2, side, side, shape.size, shape.through)
            for shape, side in zip(self.shapes, self.sides, strict=True)
        ]

    def outside(self, height: int, width: int) -> list[float]:
        """Share of each crop's area that lies beyond the picture, mean over the utterance."""
        return [
            1 - float(np.mean(_inside(self.centres_tx[:, 0], s, width) * _inside(self.centres_tx[:, 1], s, height)))
            for s in self.sides
        ]


def fixed_crop(picture: np.ndarray, crop: FixedCrop) -> np.ndarray:
    """The same part of every picture, (H, W) uint8 -> (size, size) uint8."""
    (top, bottom), (left, right) = crop.rows, crop.columns
    return cut(picture, top, left, bottom - top, right - left, crop.size)


def read_crops(path: Path, exact: int | None = None, least: int = 1) -> np.ndarray:
    """Mouth pictures made elsewhere, from an npz file: (T, H, W) uint8 grey at 25 a second.

    Args:
        exact, least: as in `read_frames`: pictures of every clip (the last is repeated, more are cut off), and of the
            shortest.
    Raises UtteranceError: no file, other contents, too few pictures.
    """
    crops_thw = read_made_elsewhere(path, "crops")
    if crops_thw.ndim != 3 or crops_thw.dtype != np.uint8 or 0 in crops_thw.shape:
        what = f"shape {crops_thw.shape} and type {crops_thw.dtype}"
        raise UtteranceError(f"{path}: crops have {what}, not (pictures, rows, columns) of uint8 grey; make it again")
    if len(crops_thw) < least:
        raise UtteranceError(f"{path}: only {len(crops_thw)} pictures, at least {least} are needed; leave it out")
    if exact is None:
        return crops_thw
    return crops_thw[np.minimum(np.arange(exact), len(crops_thw) - 1)]


def cut(
    picture: np.ndarray, top: float, left: float, height: float, width: float, size: int, through: int | None = None
) -> np.ndarray:
    """A rectangle (px, fractions allowed) of a grey (H, W) uint8 picture as (size, size) uint8, edges repeated.

    Scaled with a triangle filter: bilinear where it grows, without aliases where it shrinks. With `through`, scaled
    to that size first and from there to `size` by mean area.
    """
    rows, a_rows = _axis(top, height, picture.shape[0], size, through)
    columns, a_columns = _axis(left, width, picture.shape[1], size, through)
    if isinstance(rows, slice) and isinstance(columns, slice):
        window = picture[rows, columns]
    else:
        window = picture[_indices(rows)[:, None], _indices(columns)]
    out = a_rows @ window.astype(np.float32) @ a_columns.T
    return (np.clip(out, 0, 255) + 0.5).astype(np.uint8)


def _axis(start: float, length: float, limit: int, size: int, through: int | None) -> tuple:
    """Which pixels of an axis a window needs (a slice, or indices where it leaves the picture), and their weights."""
    low = int(np.floor(start)) - 2 - int(length / size / 2 + 0.5)
    high = int(np.ceil(start + length)) + 2 + int(length / size / 2 + 0.5)
    weights = triangle_weights(start - low, length, high - low, through or size)
    if through and through != size:
        weights = area_weights(through, size) @ weights
    if low >= 0 and high <= limit:
        return slice(low, high), weights
    return np.clip(np.arange(low, high), 0, limit - 1), weights


def _indices(pixels: slice | np.ndarray) -> np.ndarray:
    return np.arange(pixels.start, pixels.stop) if isinstance(pixels, slice) else pixels


def triangle_weights(start: float, length: float, inputs: int, outputs: int) -> np.ndarray:
    """(outputs, inputs) float32: `length` pixels from `start` on, scaled with a triangle filter; rows sum to 1."""
    step = length / outputs
    centres = start + (np.arange(outputs) + 0.5) * step - 0.5
    distance = np.abs(np.arange(inputs) - centres[:, None]) / max(step, 1.0)
    weights = np.maximum(1 - distance, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def area_weights(inputs: int, outputs: int) -> np.ndarray:
    """(outputs, inputs) float32: an output pixel is the mean of the inputs that it covers; rows sum to 1."""
    edges = np.arange(outputs + 1) * inputs / outputs
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(inputs)
    overlap = np.minimum(high, pixels + 1) - np.maximum(low, pixels)
    return (np.maximum(overlap, 0) * outputs / inputs).astype(np.float32)


def _inside(centres: np.ndarray, side: float, limit: int) -> np.ndarray:
    """Share of a window's side that lies in the picture."""
    return np.maximum(np.minimum(centres + side / 2, limit) - np.maximum(centres - side / 2, 0), 0) / side


def _median_distance(points_tpx: np.ndarray, pair: tuple[int, int]) -> float:
    return float(np.median(np.linalg.norm(points_tpx[:, pair[0]] - points_tpx[:, pair[1]], axis=-1)))
