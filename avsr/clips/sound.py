"""The sound of a clip, 16 kHz mono, piece by piece: what `read_sound` gives at once, in memory that does not grow."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsr.errors import UtteranceError
from avsr.media.audio import RATE, SILENCE, sound_blocks


@dataclass(frozen=True)
class Measured:
    """A clip's sound as it is: samples, rate (Hz), channels; mean and RMS (full scale 1) of its channels' mean."""

    samples: int
    rate: int
    channels: int
    mean: float
    rms: float

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.samples / self.rate

    @property
    def length(self) -> int:
        """Its samples at 16 kHz."""
        return -(-self.samples * RATE // self.rate)


def measure(path: Path) -> Measured:
    """Reads the sound once. Raises UtteranceError: as `sound_blocks`, none in the stream, not finite, silent."""
    total, squares, samples, rate, channels = 0.0, 0.0, 0, 0, 0
    for block_nc, block_rate in sound_blocks(path):
        rate = block_rate
        wave_n = block_nc.mean(axis=1, dtype=np.float64)
        total, squares = total + wave_n.sum(), squares + np.square(wave_n).sum()
        samples, channels = samples + len(wave_n), block_nc.shape[1]
    if not samples:
        raise UtteranceError(f"{path}: holds no sound")
    if not math.isfinite(squares):
        raise UtteranceError(f"{path}: holds samples that are no numbers (NaN or infinite); convert it again")
    mean = total / samples
    rms = math.sqrt(max(squares / samples - mean**2, 0.0))
    if rms < SILENCE:
        raise UtteranceError(f"{path}: is silent (RMS {rms:.1e})")
    return Measured(samples, rate, channels, mean, rms)


def pieces(path: Path, measured: Measured) -> Iterator[np.ndarray]:
    """The samples of `read_sound`, float32 at 16 kHz, in pieces of any length."""
    resampler = Resampler(measured.rate)
    for block_nc, _ in sound_blocks(path):
        yield resampler.push(block_nc.mean(axis=1, dtype=np.float64) - measured.mean)
    yield resampler.finish()


class Resampler:
    """Polyphase resampling to 16 kHz of a stream: the pieces joined are those of `avsr.media.audio.resample`."""

    def __init__(self, source_rate: int):
        common = math.gcd(source_rate, RATE)
        self._up, self._down = RATE // common, source_rate // common
        # scipy's filter reaches 10 periods of the slower rate to either side; a start that is a whole number of
        # periods of both rates keeps the phase
        reach = -(-10 * max(self._up, self._down) // self._up) + 1
        self._margin = -(-reach // self._down) * self._down
        self._held_n = np.zeros(0)
        self._before = 0  # how many of the samples held were given out, and are there for the filter alone

    def push(self, wave_n: np.ndarray) -> np.ndarray:
        """The next samples (n,) -> those at 16 kHz that no later one changes, float32."""
        self._held_n = np.concatenate([self._held_n, wave_n])
        end = (len(self._held_n) - self._margin) // self._down * self._down
        if self._up == self._down:
            end = len(self._held_n)
        return self._give(end) if end > self._before else np.zeros(0, np.float32)

    def finish(self) -> np.ndarray:
        """What is left."""
        return self._give(len(self._held_n))

    def _give(self, end: int) -> np.ndarray:
        """Samples of the input from those given out to `end`, resampled; forgets what the filter needs no more."""
        from scipy.signal import resample_poly

        if self._up == self._down:
            made_n = self._held_n[self._before : end]
        else:
            made_n = resample_poly(self._held_n, self._up, self._down)
            made_n = made_n[self._before * self._up // self._down : -(-end * self._up // self._down)]
        drop = max((end - self._margin) // self._down * self._down, 0)
        self._held_n, self._before = self._held_n[drop:], end - drop
        return made_n.astype(np.float32)
