"""Enhancement of a clip of any length, slice by slice: the samples of the whole at once, in memory that does not grow.

The sound is looked at twice (its level, then its samples), the pictures too (the face, then its mouth). Where the
pictures end, or do not show the face, a network that sees is shown the mean mouth of its training, which says nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from avsr.clips.faces import Face, mouths
from avsr.clips.sound import Measured, pieces
from avsr.features.streaming import LEAD
from avsr.models.enhancement.avse import SLICE_VIDEO
from avsr.noise.mixing import LEVEL
from avsr.streaming import SLICE, Stream


def level_factor(path: Path, measured: Measured) -> float:
    """From the clip's sound to the common level: RMS 0.05 at 16 kHz."""
    energy = sum(float(np.square(piece_n, dtype=np.float64).sum()) for piece_n in pieces(path, measured))
    return LEVEL / float(np.sqrt(energy / measured.length))


def enhance_pieces(path: Path, stream: Stream, measured: Measured, face: Face | None) -> Iterator[np.ndarray]:
    """The enhanced sound, `measured.length` samples float32 at 16 kHz, in pieces of about 200 ms.

    stream: a new one, with `level_factor`; face: whose mouth it sees; None: it sees nothing.
    """
    sound, seen = _Queue(pieces(path, measured)), shown(path, stream.model, face)
    slices, left = max(-(-measured.length // SLICE), 1), measured.length
    for number in range(slices):
        last = number == slices - 1
        wave_n = sound.take(stream.samples - (LEAD if last else 0))
        pictures = np.stack([next(seen) for _ in range(SLICE_VIDEO)]) if stream.model.video_input else None
        made_n = (stream.finish if last else stream.push)(wave_n, pictures)
        yield made_n[:left]
        left -= len(made_n[:left])


def shown(path: Path, model: Any, face: Face | None) -> Iterator[np.ndarray]:
    """The pictures that a network sees, without end: the mouth, and the mean one where it is not to be seen."""
    if not model.video_input:
        return
    nothing = (255 * model.picture_mean.cpu().numpy()).round().clip(0, 255).astype(np.uint8)
    if face is not None:
        for crop, seen in zip(mouths(path, face, model.video_input), face.seen_t, strict=True):
            yield crop if seen else nothing
    while True:
        yield nothing


class _Queue:
    """Pieces of any length in, as many samples as are asked for out; zeros at the end."""

    def __init__(self, found: Iterator[np.ndarray]):
        self._found, self._held_n = found, np.zeros(0, np.float32)

    def take(self, samples: int) -> np.ndarray:
        while len(self._held_n) < samples:
            piece_n = next(self._found, None)
            if piece_n is None:
                piece_n = np.zeros(samples - len(self._held_n), np.float32)
            self._held_n = np.concatenate([self._held_n, piece_n])
        taken_n, self._held_n = self._held_n[:samples], self._held_n[samples:]
        return taken_n
