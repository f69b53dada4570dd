"""Parts of a clip that a recogniser can take at once: cut where the sound is lowest, or alike where there is none."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from avsr.features.frames import SAMPLES_PER_PICTURE, VIDEO_RATE

LONGEST = 8.0  # s; no part is longer
SHORTEST = 4.0  # s; of a clip that is cut, no part but the last is shorter


@dataclass(frozen=True)
class Part:
    """Pictures from `first` to `end` (not included), and their sound (640 a picture), None where it is not heard."""

    first: int
    end: int
    wave_n: np.ndarray | None

    @property
    def times(self) -> tuple[float, float]:
        """Start and end in seconds."""
        return self.first / VIDEO_RATE, self.end / VIDEO_RATE


def heard_parts(pieces: Iterator[np.ndarray]) -> Iterator[Part]:
    """Parts of sound at 16 kHz that comes in pieces; the last picture is filled up with zeros."""
    held_n, first, longest = np.zeros(0, np.float32), 0, round(LONGEST * VIDEO_RATE)
    for piece_n in pieces:
        held_n = np.concatenate([held_n, piece_n])
        while len(held_n) > longest * SAMPLES_PER_PICTURE:
            count = quietest(held_n[: longest * SAMPLES_PER_PICTURE])
            yield Part(first, first + count, held_n[: count * SAMPLES_PER_PICTURE])
            held_n, first = held_n[count * SAMPLES_PER_PICTURE :], first + count
    if len(held_n):
        count = -(-len(held_n) // SAMPLES_PER_PICTURE)
        yield Part(first, first + count, np.pad(held_n, (0, count * SAMPLES_PER_PICTURE - len(held_n))))


def quietest(wave_n: np.ndarray) -> int:
    """How many pictures (640 samples each) from the start on to cut behind, SHORTEST at least: where it is lowest."""
    energy_t = np.square(wave_n.reshape(-1, SAMPLES_PER_PICTURE), dtype=np.float64).sum(axis=1)
    around_t = np.convolve(energy_t, np.ones(5), mode="same")  # a pause, not the gap within a word
    shortest = round(SHORTEST * VIDEO_RATE)
    return shortest + int(np.argmin(around_t[shortest - 1 : -1]))


def seen_parts(pictures: int) -> Iterator[Part]:
    """Parts of a clip that is not heard, as few and as alike as can be."""
    count = max(-(-pictures // round(LONGEST * VIDEO_RATE)), 1)
    bounds = [round(k * pictures / count) for k in range(count + 1)]
    for first, end in zip(bounds, bounds[1:], strict=False):
        yield Part(first, end, None)
