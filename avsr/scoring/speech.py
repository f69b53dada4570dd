"""How an enhanced waveform sounds: PESQ, STOI, ESTOI, SI-SDR of one utterance.

What cannot be scored (silence, too short, no `pesq` package) becomes NaN with a reason; nothing is left out silently.
"""

import warnings
from math import log, log10, nan

import numpy as np

NO_PESQ = "no pesq"
METRICS = ("pesq_raw", "pesq_wb", "stoi", "estoi", "si_sdr")


def have_pesq() -> bool:
    """Whether the package `pesq` is there. It has no wheel, so it is absent where there is no C compiler."""
    try:
        import pesq  # noqa: F401
    except ImportError:
        return False
    return True


def raw_pesq(lqo: float) -> float:
    """Raw P.862 score (-0.5 to 4.5) of a narrow-band MOS-LQO: the inverse of the map of ITU-T P.862.1.

    The MHCA-AVCRN paper gives PESQ "from -0.5 to 4.5", which is the raw score; package `pesq` returns the mapped one.
    The map ends at 1.017 and 4.549, the values at raw -0.5 and 4.5, so LQO is clipped there.
    """
    lqo = min(max(lqo, 1.017), 4.549)
    return (4.6607 - log(4.0 / (lqo - 0.999) - 1.0)) / 1.4945


def si_sdr(clean_n: np.ndarray, estimate_n: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019), of signals with their means removed.

    Held within -100 and 100 dB, so that one perfect copy does not make a mean infinite. Raises ValueError when either
    signal is constant.
    """
    clean_n = clean_n.astype(np.float64) - np.mean(clean_n, dtype=np.float64)
    estimate_n = estimate_n.astype(np.float64) - np.mean(estimate_n, dtype=np.float64)
    clean_power, estimate_power = np.sum(clean_n**2), np.sum(estimate_n**2)
    if clean_power == 0 or estimate_power == 0:
        raise ValueError("silent")
    target_n = np.sum(estimate_n * clean_n) / clean_power * clean_n
    target_power = np.sum(target_n**2)
    distortion_power = np.sum((estimate_n - target_n) ** 2)
    if distortion_power <= 1e-10 * target_power:
        return 100.0
    return 10.0 * log10(max(target_power / distortion_power, 1e-10))


def _pesq(clean_n: np.ndarray, estimate_n: np.ndarray, rate: int, mode: str) -> float:
    from pesq import PesqError, pesq

    try:
        return float(pesq(rate, clean_n, estimate_n, mode))
    except PesqError as error:
        message = error.args[0] if error.args else type(error).__name__
        raise ValueError(message.decode() if isinstance(message, bytes) else str(message)) from None


def _stoi(clean_n: np.ndarray, estimate_n: np.ndarray, rate: int, extended: bool) -> float:
    from pystoi import stoi

    # pystoi adds noise of 1e-16 from numpy's global generator to ESTOI: fix it, so that a score is always the same.
    state = np.random.get_state()
    np.random.seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # "Not enough STFT frames", a score of 1e-5 otherwise
            return 100.0 * float(stoi(clean_n, estimate_n, rate, extended=extended))
    except (RuntimeWarning, np.exceptions.AxisError):  # the second: not even one frame
        raise ValueError("too short, or too little speech in it") from None
    finally:
        np.random.set_state(state)


def score_utterance(clean_n: np.ndarray, estimate_n: np.ndarray, rate: int = 16000) -> dict:
    """Scores one utterance; plain arrays in, a small dict out, so it can be given to a pool of processes.

    Returns pesq_raw (narrow-band, raw P.862), pesq_wb (MOS-LQO of P.862.2), stoi and estoi in %, si_sdr in dB; NaN
    where one could not be computed, and then "reason": "pesq_raw: ...; stoi: ...". Raises ValueError when the two
    waveforms differ in length, for then the caller has misaligned them.
    """
    clean_n, estimate_n = np.asarray(clean_n), np.asarray(estimate_n)
    if clean_n.shape != estimate_n.shape or clean_n.ndim != 1:
        raise ValueError(f"clean and estimate must be equally long: {clean_n.shape} and {estimate_n.shape}")
    unusable = _unusable(clean_n, estimate_n)
    measures = {
        "pesq_raw": lambda: raw_pesq(_pesq(clean_n, estimate_n, rate, "nb")),
        "pesq_wb": lambda: _pesq(clean_n, estimate_n, rate, "wb"),
        "stoi": lambda: _stoi(clean_n, estimate_n, rate, False),
        "estoi": lambda: _stoi(clean_n, estimate_n, rate, True),
        "si_sdr": lambda: si_sdr(clean_n, estimate_n),
    }
    scores, reasons = {}, []
    for name, measure in measures.items():
        scores[name], reason = nan, unusable
        if name.startswith("pesq") and not have_pesq():
            reason = NO_PESQ
        if not reason:
            try:
                scores[name] = measure()
            except ValueError as error:
                reason = str(error)
        if reason:
            reasons.append(f"{name}: {reason}")
    if reasons:
        scores["reason"] = "; ".join(reasons)
    return scores


def _unusable(clean_n: np.ndarray, estimate_n: np.ndarray) -> str:
    """Why nothing can be scored, or an empty text. Package pesq divides by the peak and crashes on NaN."""
    for name, wave_n in (("clean speech", clean_n), ("estimate", estimate_n)):
        if wave_n.size == 0:
            return f"{name} is empty"
        if not np.all(np.isfinite(wave_n)):
            return f"{name} holds NaN or infinite samples"
        if np.ptp(wave_n) == 0:
            return f"{name} is silent"
    return ""
