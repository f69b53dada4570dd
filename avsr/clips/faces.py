"""Whose lips: one face followed through a clip, and the crops of its mouth, picture by picture.

Kept are the landmarks alone (14 kB a second), so that a clip of any length can be looked at once for all of them and
once more for its crops.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import numpy as np

from avsr.errors import UtteranceError
from avsr.features.frames import VIDEO_RATE
from avsr.media.crops import Cropper, face_scale
from avsr.media.landmarks import MOUTH, DetectConf, FaceFinder, Tracker, fill_gaps
from avsr.media.video import read_frames
from avsr.stages.crop import CropConf

SHAPES = CropConf(stores=("crop80", "crop112", "crop128")).shapes  # as stage 2 cuts them
WHOLE = DetectConf(width=100_000)  # the first search in full size, where a face is chosen from all
LOST = 12  # pictures (about half a second) without the face from which on its lips count as not seen


class NoFace(UtteranceError):
    """Pictures without any face."""


@dataclass(frozen=True)
class Face:
    """The landmarks (T, 68, 2) of the face in px, gaps filled; where it is `seen` (T,); how many faces the first
    picture with it shows."""

    points_tpx: np.ndarray
    seen_t: np.ndarray
    faces: int

    @property
    def unseen(self) -> list[tuple[float, float]]:
        """The parts without it, start and end in seconds."""
        parts, start = [], 0
        for seen, group in groupby(self.seen_t.tolist()):
            end = start + len(list(group))
            if not seen:
                parts.append((start / VIDEO_RATE, end / VIDEO_RATE))
            start = end
        return parts


def follow(path: Path, face: int | None = None) -> Face:
    """The largest face of the first picture that shows one, or the `face`-th from the left, through the whole clip.

    Raises NoFace; UtteranceError: not so many faces, or what `read_frames` says.
    """
    conf = WHOLE if face else DetectConf()
    finder = FaceFinder(conf)
    tracker = Tracker(finder, conf, face=face)
    points_tpx = np.stack(list(tracker.track(read_frames(path))))
    found_t = ~np.isnan(points_tpx[:, MOUTH]).any(axis=(1, 2))
    if not found_t.any():
        if most := tracker.counts.faces:
            raise UtteranceError(f"{path}: there are {most} faces at most in a picture, not {face}; lower --face")
        raise NoFace(f"{path}: no face was found")
    points_tpx = fill_gaps(points_tpx)
    if not face_scale(points_tpx) > 0:
        raise UtteranceError(f"{path}: the face that was found has no size")
    first = next(islice(read_frames(path), int(found_t.argmax()), None))
    return Face(points_tpx, _near(found_t), len(finder.faces(first)))


def _near(found_t: np.ndarray) -> np.ndarray:
    """Where the face is found, or was lost for a moment only."""
    seen_t, start = found_t.copy(), 0
    for found, group in groupby(found_t.tolist()):
        end = start + len(list(group))
        seen_t[start:end] = found or end - start < LOST
        start = end
    return seen_t


def mouths(path: Path, face: Face, name: str) -> Iterator[np.ndarray]:
    """The crops `name` (crop80, crop112, crop128) of every picture, (size, size) uint8."""
    cropper = Cropper(face.points_tpx, (SHAPES[name],))
    for number, picture in enumerate(read_frames(path)):
        yield cropper.crop(number, picture)[0]
