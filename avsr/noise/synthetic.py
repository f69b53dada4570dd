"""Noises of our own making, for a machine that has no recordings: eight types, six sources each, always the same.

Results with them say "synthetic noise". Every source draws its own colours, rates and pitches, so that the noises
of training and of test differ as recordings of one type do.
"""

from collections.abc import Callable

import numpy as np

from avsr.features.frames import SAMPLE_RATE
from avsr.noise.library import Recording
from avsr.rng import rng

SECONDS = 10
SOURCES = 6
_SAMPLES = SECONDS * SAMPLE_RATE
Draw = np.random.Generator


def _coloured(draw: Draw, slope: float) -> np.ndarray:
    """Noise whose power falls by `slope` powers of the frequency; flat below 50 Hz."""
    hz = np.maximum(np.fft.rfftfreq(_SAMPLES, 1 / SAMPLE_RATE), 50)
    return np.fft.irfft(np.fft.rfft(draw.standard_normal(_SAMPLES)) * hz ** (-slope / 2), _SAMPLES)


def _band(wave_n: np.ndarray, low: float, high: float) -> np.ndarray:
    """Fades everything outside low..high Hz out by 24 dB an octave."""
    hz = np.maximum(np.fft.rfftfreq(len(wave_n), 1 / SAMPLE_RATE), 1)
    shape = 1 / np.sqrt((1 + (low / hz) ** 8) * (1 + (hz / high) ** 8))
    return np.fft.irfft(np.fft.rfft(wave_n) * shape, len(wave_n))


def _slow(draw: Draw, hz: float) -> np.ndarray:
    """A smooth random curve of unit deviation that moves at about `hz`."""
    knots = draw.standard_normal(int(SECONDS * hz * 2) + 4)
    curve = np.interp(np.linspace(0, len(knots) - 1, _SAMPLES), np.arange(len(knots)), knots)
    return (curve - curve.mean()) / curve.std()


def _tone(draw: Draw, pitch_n: np.ndarray, harmonics: int, fall: float) -> np.ndarray:
    """A harmonic tone with this pitch (Hz, at each sample); harmonic k has about height k ** -fall."""
    phase = 2 * np.pi * np.cumsum(pitch_n) / SAMPLE_RATE
    heights = draw.uniform(0.4, 1, harmonics) * np.arange(1, harmonics + 1) ** -fall
    return sum(h * np.sin(k * phase + draw.uniform(0, 6.28)) for k, h in enumerate(heights, 1))


def _events(draw: Draw, rate: float, ring_ms: tuple[float, float], hz: tuple[float, float]) -> np.ndarray:
    """`rate` short ringing strokes a second at random times, each with its own pitch and height."""
    wave_n = np.zeros(_SAMPLES)
    for start in draw.integers(0, _SAMPLES, int(rate * SECONDS)):
        length = int(draw.uniform(*ring_ms) * SAMPLE_RATE / 1000)
        time_n = np.arange(min(5 * length, _SAMPLES - start))
        pitch = np.exp(draw.uniform(*np.log(hz)))
        wave_n[start : start + len(time_n)] += (
            draw.lognormal(0, 0.7) * np.exp(-time_n / length) * np.sin(2 * np.pi * pitch * time_n / SAMPLE_RATE)
        )
    return wave_n


def _wind(draw: Draw) -> np.ndarray:
    gusts = np.exp(0.8 * _slow(draw, draw.uniform(0.3, 1.0)))
    return _coloured(draw, draw.uniform(1.8, 2.4)) * gusts


def _air(draw: Draw) -> np.ndarray:
    low = draw.uniform(60, 300)
    return _band(_coloured(draw, draw.uniform(0, 1.2)), low, draw.uniform(2000, 7000))


def _hum(draw: Draw) -> np.ndarray:
    mains = draw.choice([50.0, 60.0]) * (1 + 0.002 * _slow(draw, 0.5))
    hum = _tone(draw, mains, 24, draw.uniform(0.5, 1.0))
    return hum / hum.std() + draw.uniform(0.1, 0.4) * draw.standard_normal(_SAMPLES)


def _murmur(draw: Draw) -> np.ndarray:
    """Noise with the long-time spectrum and the syllable rate of speech."""
    total = np.zeros(_SAMPLES)
    for _ in range(4):
        loudness = np.maximum(_slow(draw, draw.uniform(3, 5)), 0)
        total += _band(_coloured(draw, 1.0), draw.uniform(120, 400), draw.uniform(900, 3500)) * loudness
    return total


def _clicks(draw: Draw) -> np.ndarray:
    strokes = _events(draw, draw.uniform(4, 10), (2, 8), (500, 5000))
    return strokes / strokes.std() + 0.05 * draw.standard_normal(_SAMPLES)


def _machine(draw: Draw) -> np.ndarray:
    turning = draw.uniform(15, 60) * (1 + 0.02 * _slow(draw, 0.5))
    motor = _tone(draw, turning, 40, draw.uniform(0.3, 0.7))
    beat = 1 + 0.8 * np.sin(2 * np.pi * np.cumsum(turning) / SAMPLE_RATE / 2)
    rattle = _band(draw.standard_normal(_SAMPLES), 800, 5000) * beat
    return motor / motor.std() + draw.uniform(0.4, 1.0) * rattle / rattle.std()


def _rain(draw: Draw) -> np.ndarray:
    drops = _events(draw, draw.uniform(60, 200), (0.5, 3), (1500, 7000))
    hiss = _band(draw.standard_normal(_SAMPLES), draw.uniform(800, 2000), 7500)
    return drops / drops.std() + draw.uniform(0.5, 1.5) * hiss / hiss.std()


def _bells(draw: Draw) -> np.ndarray:
    bells = _events(draw, draw.uniform(3, 6), (150, 500), (350, 2500))
    return bells / bells.std() + 0.02 * draw.standard_normal(_SAMPLES)


TYPES: dict[str, Callable[[Draw], np.ndarray]] = {
    "air": _air,
    "bells": _bells,
    "clicks": _clicks,
    "hum": _hum,
    "machine": _machine,
    "murmur": _murmur,
    "rain": _rain,
    "wind": _wind,
}


def find_synthetic() -> list[Recording]:
    """The generated library, as `library.find_noises` lists a folder."""
    return [
        Recording(f"{kind}-synthetic{number}", kind, f"synthetic-{kind}-{number}", "")
        for kind in TYPES
        for number in range(1, SOURCES + 1)
    ]


def make_recording(recording: Recording) -> np.ndarray:
    """(160000,) float32 at RMS 0.05, its mean taken off."""
    wave_n = TYPES[recording.type](rng("synthetic noise", recording.source))
    wave_n -= wave_n.mean()
    return (0.05 * wave_n / wave_n.std()).astype(np.float32)
