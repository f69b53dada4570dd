"""95 % intervals by the bootstrap over utterances, of values and of paired differences.

Everything works on numerators and denominators of shape (seeds, utterances): a value is the mean over seeds of
sum(numerator) / sum(denominator), and an utterance that was not scored has 0 in both.
"""

from functools import lru_cache

import numpy as np

from avsr.rng import rng

DRAWS = 2000


@lru_cache(maxsize=16)
def draw_counts(n: int, draws: int = DRAWS) -> np.ndarray:
    """How often each of n utterances falls into each resampled test set: (draws, n), every row sums to n.

    The same for equal n, so two systems on the same utterances are resampled together: that is what pairs them.
    """
    return rng("bootstrap over utterances", n).multinomial(n, np.full(n, 1.0 / n), size=draws).astype(np.float64)


def ratio(numerator_su: np.ndarray, denominator_su: np.ndarray) -> np.ndarray:
    """Per seed sum(numerator) / sum(denominator), shape (seeds,); NaN where nothing was scored."""
    return _divide(numerator_su.sum(axis=1), denominator_su.sum(axis=1))


def resampled(numerator_su: np.ndarray, denominator_su: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """The value (mean over seeds) of every resampled test set, shape (draws,)."""
    counts_du = draw_counts(numerator_su.shape[1], draws)
    values_ds = _divide(counts_du @ numerator_su.T, counts_du @ denominator_su.T)
    return values_ds.mean(axis=1)


def interval(samples_d: np.ndarray) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles; a resampled set in which nothing was scored is left out."""
    samples_d = samples_d[np.isfinite(samples_d)]
    if samples_d.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(samples_d, [0.025, 0.975])
    return float(low), float(high)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)
