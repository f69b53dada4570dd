"""The STFT and the way back to a wave, piece by piece: what `stft.py` and `inversion.py` do with whole waves.

Frames are centred (MHCA-AVCRN section 3.1), so each one needs half a window of sound after its place: the last frame of
a piece is there LEAD samples after the piece's end. A sample comes out when all frames over it have gone in: after the
frames of a piece, all but the last WINDOW / 2 samples of it.
"""

import numpy as np
from scipy.fft import irfft, rfft

from avsr.features.inversion import band_gains
from avsr.features.mel import lift
from avsr.features.stft import HOP, WINDOW, hann, overlap_add

HALF = WINDOW // 2
LEAD = HALF - HOP  # samples after a piece, a whole number of hops, that its last frame needs


class StreamingSTFT:
    """The frames of `stft`, each as soon as its samples are there; one dtype (float32 or float64) for all."""

    def __init__(self, dtype: type = np.float64):
        self._window_n = hann().astype(dtype)
        self._held_n: np.ndarray | None = None  # samples of frames to come; None: nothing came yet
        self._before_n = np.empty(0, dtype)  # the last samples, which the end reflects

    def push(self, wave_n: np.ndarray) -> np.ndarray:
        """The next samples (N,) -> the frames (t, 321) that they complete. ValueError: the first piece is too short."""
        wave_n = np.asarray(wave_n, self._window_n.dtype)
        if self._held_n is None:
            if len(wave_n) <= HALF:
                raise ValueError(f"a first piece of {len(wave_n)} samples is too short to reflect {HALF} at the start")
            self._held_n = wave_n[HALF:0:-1]
        self._before_n = np.concatenate([self._before_n, wave_n])[-HALF - 1 :]
        return self._frames(wave_n)

    def finish(self) -> np.ndarray:
        """After the last samples: the frames over the wave's end, with the surplus one."""
        return self._frames(self._before_n[-2::-1])

    def _frames(self, wave_n: np.ndarray) -> np.ndarray:
        held_n = np.concatenate([self._held_n, wave_n])
        count = max((len(held_n) - WINDOW) // HOP + 1, 0)
        self._held_n = held_n[count * HOP :]
        if not count:
            return np.empty((0, HALF + 1), np.result_type(held_n.dtype, np.complex64))
        frames_tn = np.lib.stride_tricks.sliding_window_view(held_n, WINDOW)[::HOP]
        return rfft(frames_tn * self._window_n, axis=-1)


class StreamingInverse:
    """The wave of `istft`: weighted overlap-add, the samples that later frames change carried."""

    def __init__(self) -> None:
        self._sum_n, self._weight_n = np.zeros(WINDOW - HOP), np.zeros(WINDOW - HOP)
        self._skip = HALF  # samples before the wave's start

    def push(self, spectrum_tf: np.ndarray) -> np.ndarray:
        """The next frames (t, 321), t > 0 -> the samples that no later frame changes, float64."""
        window_n = hann()
        sum_n = overlap_add(irfft(spectrum_tf, WINDOW, axis=-1) * window_n)
        weight_n = overlap_add(np.broadcast_to(window_n**2, (len(spectrum_tf), WINDOW)))
        for new_n, old_n in ((sum_n, self._sum_n), (weight_n, self._weight_n)):
            new_n[: len(old_n)] += old_n
        ready = HOP * len(spectrum_tf)
        self._sum_n, self._weight_n = sum_n[ready:], weight_n[ready:]
        kept = slice(min(self._skip, ready), ready)
        self._skip -= kept.start
        return sum_n[kept] / weight_n[kept]

    def finish(self) -> np.ndarray:
        """After the surplus frame: the last samples of a wave of whole hops."""
        kept = slice(0, WINDOW - HOP - HALF)
        return self._sum_n[kept] / self._weight_n[kept]


class StreamingGain:
    """`reconstruct` with recon=gain and cap 1: band gains lifted to the bins of the mixture's spectrum."""

    def __init__(self, mel_set: str):
        self._lift_bf = lift(mel_set).T
        self._mel_set = mel_set
        self._inverse = StreamingInverse()
        self._last_1f: np.ndarray | None = None

    def push(self, spectrum_tf: np.ndarray, estimate_tf: np.ndarray, level: float = 1.0) -> np.ndarray:
        """The next frames of the mixture (t, 321) and their clean mel magnitudes (t, 80) -> samples, float32.

        The estimate is that of a mixture `level` times as loud; samples are as loud as the mixture.
        """
        gain_tf = band_gains(level * np.abs(spectrum_tf), estimate_tf, self._mel_set) @ self._lift_bf
        self._last_1f = gain_tf[-1:]
        return self._inverse.push(spectrum_tf * gain_tf).astype(np.float32)

    def finish(self, surplus_1f: np.ndarray) -> np.ndarray:
        """The surplus frame (1, 321), which takes the last gain -> the wave's last samples, float32."""
        last_n = self._inverse.push(surplus_1f * self._last_1f)
        return np.concatenate([last_n, self._inverse.finish()]).astype(np.float32)
