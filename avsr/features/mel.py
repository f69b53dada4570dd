"""What networks hear, by name: the two mel filter banks, with the way between bands and STFT bins, and the bins.

`mel_slaney`: Slaney's scale, every triangle divided by its width, as the enhancement systems use it
(VSE and MHCA-AVCRN; they take 20 log10 with a floor). `mel_htk`: HTK's scale, triangles of height 1,
as AE-MSR uses it (linear). Both: 80 bands from 0 to 8000 Hz on the magnitude (not the power) spectrum.
`stft`: that spectrum's 321 bins without a bank, as the authors of AE-MSR store them; `stft161`: the 161 bins of windows
of 20 ms (AV(SE)² as published). `wave`: the samples, 160 to a frame, for a network with a transform of its own.
The papers name neither scale nor area; decision: see docs/decisions.md.
"""

from functools import cache

import numpy as np

from avsr.features.frames import FRAMES_PER_PICTURE, SAMPLE_RATE, SAMPLES_PER_PICTURE
from avsr.features.stft import BINS, HOP, WINDOW, stft

MEL_SETS = ("mel_slaney", "mel_htk")
BANDS = 80
TOP_HZ = 8000.0
STFT, STFT_20MS, WAVE = "stft", "stft161", "wave"
WINDOWS = {STFT_20MS: 320}  # samples of the STFT behind a set; of all others 640
AVSE_SETS = ("mel_slaney", STFT_20MS)  # of the systems of the enhancement tables
LOG_FLOOR = 1e-5  # at the level of mixtures (RMS 0.05); 1e-3 would clip three quarters of real clean speech

_SLANEY_STEP = 200 / 3  # Hz a mel below 1 kHz
_SLANEY_KNEE = 1000.0
_SLANEY_LOG = np.log(6.4) / 27  # above: 27 mels from 1 kHz to 6.4 kHz


def ae_msr_set(mels: int) -> str:
    """What a network of AE-MSR with so many inputs hears: all bins of the STFT, or else the bands of `mel_htk`."""
    return STFT if mels == BINS else "mel_htk"


def window(mel_set: str) -> int:
    """Samples of the STFT's window."""
    return WINDOWS.get(mel_set, WINDOW)


def bands(mel_set: str) -> int:
    """How many numbers a frame has."""
    if mel_set == WAVE:
        return HOP
    return window(mel_set) // 2 + 1 if mel_set in (STFT, STFT_20MS) else BANDS


def hz_to_mel(hz: np.ndarray, mel_set: str) -> np.ndarray:
    """Hz to mel: HTK 2595 log10(1 + f / 700); Slaney (1998) linear to 1 kHz, then logarithmic."""
    hz = np.asarray(hz, dtype=np.float64)
    if mel_set == "mel_htk":
        return 2595 * np.log10(1 + hz / 700)
    above = np.maximum(hz, _SLANEY_KNEE)
    return np.where(hz < _SLANEY_KNEE, hz / _SLANEY_STEP, 15 + np.log(above / _SLANEY_KNEE) / _SLANEY_LOG)


def mel_to_hz(mel: np.ndarray, mel_set: str) -> np.ndarray:
    """Mel to Hz, the inverse of `hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    if mel_set == "mel_htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return np.where(mel < 15, mel * _SLANEY_STEP, _SLANEY_KNEE * np.exp(_SLANEY_LOG * (np.maximum(mel, 15) - 15)))


def band_edges(mel_set: str) -> np.ndarray:
    """(82,) Hz: triangle k rises from edge k to its top at edge k + 1 and falls to edge k + 2."""
    if mel_set not in MEL_SETS:
        raise ValueError(f"no mel set {mel_set!r}; there are {', '.join(MEL_SETS)}")
    top = hz_to_mel(TOP_HZ, mel_set)
    edges = mel_to_hz(np.linspace(0, top, BANDS + 2), mel_set)
    edges[-1] = TOP_HZ  # without the rounding, so that the last bin has no weight
    return edges


@cache
def triangles(mel_set: str) -> np.ndarray:
    """(80, 321) float64 triangles of height 1, sampled at the bins. Read-only."""
    edges = band_edges(mel_set)
    bins_hz = np.arange(BINS) * SAMPLE_RATE / 2 / (BINS - 1)
    rise = (bins_hz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins_hz) / np.diff(edges)[1:, None]
    return _frozen(np.maximum(0, np.minimum(rise, fall)))


@cache
def filter_bank(mel_set: str) -> np.ndarray:
    """(80, 321) float64: mel magnitude = filter_bank @ magnitude. Read-only."""
    bank = triangles(mel_set)
    if mel_set == "mel_slaney":
        edges = band_edges(mel_set)
        bank = bank * (2 / (edges[2:] - edges[:-2]))[:, None]  # every triangle has area 1 over Hz
    return _frozen(bank)


@cache
def lift(mel_set: str) -> np.ndarray:
    """(321, 80) float64: spreads band gains over bins; every row sums to one, so equal gains stay equal. Read-only.

    Row k holds the triangles' heights at bin k over their sum; bins 0 and 320, which no triangle covers,
    copy the nearest band. Of a set without a bank it is the identity.
    """
    if mel_set in (STFT, STFT_20MS):
        return _frozen(np.eye(bands(mel_set)))
    heights = triangles(mel_set).T.copy()
    heights[0, 0] = heights[-1, -1] = 1
    return _frozen(heights / heights.sum(axis=1, keepdims=True))


@cache
def pseudo_inverse(mel_set: str) -> np.ndarray:
    """(321, 80) float64: Moore-Penrose inverse of the filter bank, as VSE's way back to bins; without a bank the
    identity. Read-only."""
    if mel_set in (STFT, STFT_20MS):
        return lift(mel_set)
    return _frozen(np.linalg.pinv(filter_bank(mel_set)))


def mel_magnitude(magnitude_tf: np.ndarray, mel_set: str) -> np.ndarray:
    """Magnitudes (T, 321) to mel magnitudes (T, 80), same float type; without a bank as they are."""
    if mel_set in (STFT, STFT_20MS):
        return magnitude_tf
    return magnitude_tf @ _bank_as(mel_set, magnitude_tf.dtype)


def mel(wave_n: np.ndarray, mel_set: str) -> np.ndarray:
    """Wave of 640 T samples at 16 kHz to linear mel magnitudes (4 T, 80) float32; the surplus frame is left out.

    `stft`, `stft161`: magnitudes of the bins (4 T, 321 or 161); `wave`: samples (4 T, 160). ValueError when the wave is
    not a whole number of pictures long.
    """
    if len(wave_n) % SAMPLES_PER_PICTURE:
        raise ValueError(f"{len(wave_n)} samples are no whole number of pictures ({SAMPLES_PER_PICTURE} samples each)")
    frames = len(wave_n) // HOP
    assert frames % FRAMES_PER_PICTURE == 0
    if mel_set == WAVE:
        return wave_n.astype(np.float32).reshape(frames, HOP)
    return mel_magnitude(np.abs(stft(wave_n.astype(np.float32), window(mel_set))[:frames]), mel_set)


def to_decibel(mel_tf: np.ndarray, floor: float = LOG_FLOOR) -> np.ndarray:
    """20 log10(max(M, floor)). The floor is fixed: one below the loudest cell would depend on padding and noise."""
    return 20 * np.log10(np.maximum(mel_tf, floor))


@cache
def _bank_as(mel_set: str, dtype: np.dtype) -> np.ndarray:
    return _frozen(np.ascontiguousarray(filter_bank(mel_set).T, dtype=dtype))


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
