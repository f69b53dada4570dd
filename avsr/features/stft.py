"""Short-time Fourier transform and its exact inverse.

Periodic Hann window of 640 samples (one picture), hop 160, FFT 640, so 321 bins 25 Hz apart
(MHCA-AVCRN section 3.1; AE-MSR section 4.1); frames are centred, the edges reflected. 640 T samples
give 4 T + 1 frames: the networks see the first 4 T, the inverse needs all of them.
With another `window`, any even number of hops long, it is the same with window / 2 + 1 bins.
"""

import numpy as np
from scipy.fft import irfft, rfft  # in single precision twice as fast as numpy's

WINDOW = 640
HOP = 160
BINS = WINDOW // 2 + 1


def hann(window: int = WINDOW) -> np.ndarray:
    """The periodic Hann window, (window,) float64. Periodic, so that shifted squares of 640 sum to 1.5 everywhere."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)


def stft(wave_n: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Wave (N,), N > window / 2, to its spectrum (1 + N // 160, bins): complex64 from float32, complex128 from
    float64."""
    half = window // 2
    if len(wave_n) <= half:
        raise ValueError(f"a wave of {len(wave_n)} samples is too short to reflect {half} samples at its ends")
    padded_n = np.pad(wave_n, half, mode="reflect")
    frames_tn = np.lib.stride_tricks.sliding_window_view(padded_n, window)[::HOP]
    return rfft(frames_tn * hann(window).astype(wave_n.dtype), axis=-1)


def istft(spectrum_tf: np.ndarray, samples: int) -> np.ndarray:
    """Spectrum (T, bins) to the wave (samples,) whose STFT is nearest to it (weighted overlap-add).

    Exact for a spectrum that `stft` made; the window is that of the bins. `samples` must be the length of that wave:
    T = 1 + samples // 160.
    """
    if len(spectrum_tf) != 1 + samples // HOP:
        raise ValueError(f"{len(spectrum_tf)} frames cannot give {samples} samples")
    half = spectrum_tf.shape[1] - 1
    window_n = hann(2 * half).astype(spectrum_tf.real.dtype)
    frames_tn = irfft(spectrum_tf, 2 * half, axis=-1) * window_n
    kept = slice(half, half + samples)
    return overlap_add(frames_tn)[kept] / _weights(len(frames_tn), 2 * half)[kept]


def overlap_add(frames_tn: np.ndarray) -> np.ndarray:
    """Frames (T, n) to (160 (T - 1) + n,): the window is whole hops long, so shifted rows are added."""
    count, parts = len(frames_tn), frames_tn.shape[1] // HOP
    blocks_th = np.zeros((count + parts - 1, HOP), dtype=frames_tn.dtype)
    for part in range(parts):
        blocks_th[part : part + count] += frames_tn[:, part * HOP : (part + 1) * HOP]
    return blocks_th.reshape(-1)


def _weights(frames: int, window: int) -> np.ndarray:
    """What overlap-add of the squared window gives at each sample: of 640 1.5, less within a window of the two ends."""
    return overlap_add(np.broadcast_to(hann(window) ** 2, (frames, window)))
