"""Short-time Fourier transform and its exact inverse.

Periodic Hann window of 640 samples (one picture), hop 160, FFT 640, so 321 bins 25 Hz apart
(MHCA-AVCRN section 3.1; AE-MSR section 4.1); frames are centred, the edges reflected. 640 T samples
give 4 T + 1 frames: the networks see the first 4 T, the inverse needs all of them.
"""

import numpy as np
from scipy.fft import irfft, rfft  # in single precision twice as fast as numpy's

WINDOW = 640
HOP = 160
BINS = WINDOW // 2 + 1
_HALF = WINDOW // 2


def hann() -> np.ndarray:
    """The periodic Hann window, (640,) float64. Periodic, so that shifted squares sum to 1.5 everywhere."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


def stft(wave_n: np.ndarray) -> np.ndarray:
    """Wave (N,), N > 320, to its spectrum (1 + N // 160, 321): complex64 from float32, complex128 from float64."""
    if len(wave_n) <= _HALF:
        raise ValueError(f"a wave of {len(wave_n)} samples is too short to reflect {_HALF} samples at its ends")
    padded_n = np.pad(wave_n, _HALF, mode="reflect")
    frames_tn = np.lib.stride_tricks.sliding_window_view(padded_n, WINDOW)[::HOP]
    return rfft(frames_tn * hann().astype(wave_n.dtype), axis=-1)


def istft(spectrum_tf: np.ndarray, samples: int) -> np.ndarray:
    """Spectrum (T, 321) to the wave (samples,) whose STFT is nearest to it (weighted overlap-add).

    Exact for a spectrum that `stft` made. `samples` must be the length of that wave: T = 1 + samples // 160.
    """
    if len(spectrum_tf) != 1 + samples // HOP:
        raise ValueError(f"{len(spectrum_tf)} frames cannot give {samples} samples")
    window_n = hann().astype(spectrum_tf.real.dtype)
    frames_tn = irfft(spectrum_tf, WINDOW, axis=-1) * window_n
    return _overlap_add(frames_tn)[_HALF : _HALF + samples] / _weights(len(frames_tn))[_HALF : _HALF + samples]


def _overlap_add(frames_tn: np.ndarray) -> np.ndarray:
    """Frames (T, 640) to (160 (T + 3),): the window is four hops long, so four shifted rows are added."""
    count = len(frames_tn)
    blocks_th = np.zeros((count + 3, HOP), dtype=frames_tn.dtype)
    for part in range(WINDOW // HOP):
        blocks_th[part : part + count] += frames_tn[:, part * HOP : (part + 1) * HOP]
    return blocks_th.reshape(-1)


def _weights(frames: int) -> np.ndarray:
    """What overlap-add of the squared window gives at each sample: 1.5, less within a window of the two ends."""
    return _overlap_add(np.broadcast_to(hann() ** 2, (frames, WINDOW)))
