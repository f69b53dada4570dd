"""Speech and noise added at an exact SNR, and the common level of mixture and clean target.

x = s + k n with k = sqrt(P_s / P_n) 10^(-SNR / 20); P is the mean square over the whole utterance after
its mean is taken off (the variance). Everything in float: nothing is clipped. Both papers train with
SNRs uniform in [-10, 10] dB; where they are silent (offset, level), decision: see docs/decisions.md.
"""

import numpy as np

from avsr.features.frames import SAMPLE_RATE

LEVEL = 0.05  # RMS of every mixture (-26 dBFS): loudness then says nothing about the SNR
CROSS_FADE = SAMPLE_RATE // 100  # 10 ms
SILENCE = 1e-10  # mean square (-100 dBFS) below which a sound counts as silent


def power(wave_n: np.ndarray) -> float:
    """Mean square after the mean is taken off."""
    return float(np.var(wave_n, dtype=np.float64))


def snr_gain(speech_n: np.ndarray, noise_n: np.ndarray, snr: float) -> float:
    """The k that puts `noise_n` `snr` dB below `speech_n`. ValueError when one of them is silent."""
    speech_power, noise_power = power(speech_n), power(noise_n)
    for name, value in (("speech", speech_power), ("noise", noise_power)):
        if value < SILENCE:
            raise ValueError(f"the {name} is silent: no SNR can be set")
    return float(np.sqrt(speech_power / noise_power) * 10 ** (-snr / 20))


def cut_noise(noise_n: np.ndarray, offset: int, samples: int) -> np.ndarray:
    """`samples` samples of a recording from `offset` on, its mean taken off; it is repeated where it is too short.

    The end runs into the start through a cross-fade of 10 ms that keeps the power (less where the recording
    is shorter than 20 ms).
    """
    if offset + samples <= len(noise_n):
        cut_n = noise_n[offset : offset + samples]
    else:
        loop_n = seamless(noise_n)
        cut_n = np.take(loop_n, np.arange(offset, offset + samples), mode="wrap")
    return (cut_n - np.mean(cut_n, dtype=np.float64)).astype(np.float32)


def seamless(noise_n: np.ndarray) -> np.ndarray:
    """The recording with its end faded into its start, so that it can be repeated; the fade's length shorter."""
    fade = min(CROSS_FADE, len(noise_n) // 2)
    angle = (np.arange(fade) + 0.5) / max(fade, 1) * np.pi / 2
    loop_n = noise_n[: len(noise_n) - fade].copy()
    loop_n[:fade] = noise_n[:fade] * np.sin(angle) + noise_n[len(noise_n) - fade :] * np.cos(angle)
    return loop_n


def set_level(mixture_n: np.ndarray, clean_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both divided by RMS(mixture) / 0.05, float32."""
    factor = LEVEL / np.sqrt(np.mean(np.square(mixture_n, dtype=np.float64)))
    return (mixture_n * factor).astype(np.float32), (clean_n * factor).astype(np.float32)


def mix(speech_n: np.ndarray, noise_n: np.ndarray, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """(mixture, clean), both (N,) float32 at the common level; `noise_n` from `cut_noise`, `gain` from `snr_gain`."""
    speech_n = speech_n.astype(np.float64)
    return set_level(speech_n + gain * noise_n, speech_n)
