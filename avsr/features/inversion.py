"""From an estimated clean mel spectrogram back to a waveform.

Neither paper of an enhancement system says how; VSE's code uses the pseudo-inverse and the phase of
the mixture (`pinv`). `gain` (default) changes the mixture's own spectrum by the ratio of estimated to
noisy mel magnitude: exact where nothing is removed, and an error of the estimate cannot add energy.
`capped` is the pseudo-inverse that may not exceed the mixture. `griffinlim` throws the noisy phase
away. Decision: see docs/decisions.md; use one for all systems of a table. An estimate that is a wave already (`wave`)
is left as it is.
"""

import numpy as np

from avsr.features.mel import WAVE, lift, mel_magnitude, pseudo_inverse, window
from avsr.features.stft import HOP, istft, stft
from avsr.rng import rng

RECONSTRUCTIONS = ("gain", "capped", "pinv", "griffinlim")
GRIFFIN_LIM_ITERATIONS = 60
_TINY = 1e-8


def reconstruct(
    noisy_n: np.ndarray, estimate_tf: np.ndarray, mel_set: str, recon: str = "gain", gain_cap: float = 1.0
) -> np.ndarray:
    """Mixture (640 T,) and estimated clean mel magnitudes (4 T, 80) in `mel_set` to a wave (640 T,) float32.

    Of a set without a filter bank they are magnitudes of its STFT's bins (4 T, bins), which need no inversion.
    Both at the mixture's level. `gain_cap` bounds the band gains of `gain`: 1 cannot amplify.
    ValueError for an unknown `recon` or frames that do not fit the mixture.
    """
    if recon not in RECONSTRUCTIONS:
        raise ValueError(f"no reconstruction {recon!r}; there are {', '.join(RECONSTRUCTIONS)}")
    if len(noisy_n) != HOP * len(estimate_tf):
        raise ValueError(f"{len(estimate_tf)} mel frames do not fit {len(noisy_n)} samples ({HOP} a frame)")
    if mel_set == WAVE:
        return np.array(estimate_tf, dtype=np.float32).reshape(-1)
    spectrum_tf = stft(noisy_n.astype(np.float64), window(mel_set))
    noisy_tf = np.abs(spectrum_tf)
    estimate_tf = np.asarray(estimate_tf, dtype=np.float64)
    if recon == "gain":
        return _wave(spectrum_tf * _bin_gains(noisy_tf, estimate_tf, mel_set, gain_cap), len(noisy_n))
    # The surplus frame, which only the inverse needs, takes the last estimate.
    magnitude_tf = np.append(estimate_tf, estimate_tf[-1:], axis=0) @ pseudo_inverse(mel_set).T
    if recon == "griffinlim":
        return griffin_lim(np.maximum(magnitude_tf, 0), len(noisy_n))
    if recon == "capped":
        magnitude_tf = np.clip(magnitude_tf, 0, noisy_tf)
    return _wave(magnitude_tf * _phase(spectrum_tf), len(noisy_n))


def band_gains(noisy_tf: np.ndarray, estimate_tf: np.ndarray, mel_set: str, gain_cap: float = 1.0) -> np.ndarray:
    """(T, 80) gains, 0 to the cap, of mixture magnitudes (T, 321) and the estimate (T, 80)."""
    return np.clip(estimate_tf / np.maximum(mel_magnitude(noisy_tf, mel_set), _TINY), 0, gain_cap)


def _bin_gains(noisy_tf: np.ndarray, estimate_tf: np.ndarray, mel_set: str, gain_cap: float) -> np.ndarray:
    """(4 T + 1, bins) gains of the mixture's bins; the surplus frame repeats the last gain."""
    gain_tf = band_gains(noisy_tf[:-1], estimate_tf, mel_set, gain_cap)
    gain_tf = np.append(gain_tf, gain_tf[-1:], axis=0)
    return gain_tf @ lift(mel_set).T


def griffin_lim(magnitude_tf: np.ndarray, samples: int, iterations: int = GRIFFIN_LIM_ITERATIONS) -> np.ndarray:
    """A wave (samples,) float32 with about these magnitudes (Griffin and Lim 1984), from the same random phase always.

    With the momentum of Perraudin, Balazs and Sondergaard (2013), which needs fewer iterations.
    """
    start = rng("griffin-lim", "first phase").uniform(0, 2 * np.pi, magnitude_tf.shape)
    phase_tf = np.exp(1j * start)
    before_tf = np.zeros_like(phase_tf)
    for _ in range(iterations):
        again_tf = stft(istft(magnitude_tf * phase_tf, samples), 2 * (magnitude_tf.shape[1] - 1))
        phase_tf = _phase(again_tf + 0.99 * (again_tf - before_tf))
        before_tf = again_tf
    return _wave(magnitude_tf * phase_tf, samples)


def _phase(spectrum_tf: np.ndarray) -> np.ndarray:
    """exp(j angle), 1 where the spectrum is zero."""
    return np.exp(1j * np.angle(spectrum_tf))


def _wave(spectrum_tf: np.ndarray, samples: int) -> np.ndarray:
    return istft(spectrum_tf, samples).astype(np.float32)
