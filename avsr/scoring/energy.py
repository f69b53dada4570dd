"""Energy error of magnitudes (AE-MSR eq. 1, Table 4)."""

from math import nan

import numpy as np


def energy_error(estimate_tf: np.ndarray, clean_tf: np.ndarray, power: float = 1.0) -> float:
    """100 * |M - M_o| / |M_o| in %, with Frobenius norms over time and bins (AE-MSR eq. 1).

    Both are linear magnitudes (frames, bins) of the valid frames, bands of mel or bins of the STFT; `power` is applied
    to both first. NaN when the clean one is all zero. Raises ValueError when the shapes differ.
    """
    estimate_tf, clean_tf = np.asarray(estimate_tf, np.float64), np.asarray(clean_tf, np.float64)
    if estimate_tf.shape != clean_tf.shape:
        raise ValueError(f"magnitudes differ in shape: {estimate_tf.shape} and {clean_tf.shape}")
    if power != 1.0:
        estimate_tf, clean_tf = estimate_tf**power, clean_tf**power
    norm = np.linalg.norm(clean_tf)
    return 100.0 * float(np.linalg.norm(estimate_tf - clean_tf) / norm) if norm > 0 else nan


def score_magnitudes(estimate_tf: np.ndarray, clean_tf: np.ndarray) -> dict:
    """Energy errors of one utterance: energy_linear and energy_sqrt in %, with a "reason" where they are NaN.

    The paper does not say in which domain its errors lie (decision: both the magnitudes and their square roots).
    """
    scores: dict = {
        "energy_linear": energy_error(estimate_tf, clean_tf),
        "energy_sqrt": energy_error(estimate_tf, clean_tf, power=0.5),
    }
    if np.isnan(scores["energy_linear"]):
        scores["reason"] = "energy_linear: clean speech is silent; energy_sqrt: clean speech is silent"
    return scores


def score_bins(estimate_tf: np.ndarray, noisy_tf: np.ndarray, clean_tf: np.ndarray) -> dict:
    """Energy errors of one utterance over the STFT's magnitudes (frames, 321): energy_stft of the estimate and, to
    compare it with, energy_stft_noisy of the mixture, in %; a "reason" where they are NaN."""
    scores: dict = {
        "energy_stft": energy_error(estimate_tf, clean_tf),
        "energy_stft_noisy": energy_error(noisy_tf, clean_tf),
    }
    if np.isnan(scores["energy_stft"]):
        scores["reason"] = "energy_stft: clean speech is silent; energy_stft_noisy: clean speech is silent"
    return scores
