"""What is measured: one line a metric, with how its value follows from the columns of a scores file."""

from dataclasses import dataclass

from avsr.errors import UsageError


@dataclass(frozen=True)
class Metric:
    """A metric of a test set is `scale * sum(numerator) / sum(denominator)` over the scored utterances.

    Without a denominator column every utterance counts once, which is the plain mean. Word error rate is pooled:
    all errors over all words of the reference.
    """

    id: str
    name: str  # as printed, with its unit
    numerator: str
    denominator: str | None = None
    scale: float = 1.0
    decimals: int = 2


METRICS = {
    metric.id: metric
    for metric in (
        Metric("pesq_raw", "PESQ (raw P.862)", "pesq_raw"),
        Metric("pesq_wb", "WB-PESQ (P.862.2)", "pesq_wb"),
        Metric("stoi", "STOI %", "stoi", decimals=1),
        Metric("estoi", "ESTOI %", "estoi", decimals=1),
        Metric("si_sdr", "SI-SDR dB", "si_sdr", decimals=1),
        Metric("energy_linear", "energy error %", "energy_linear", decimals=1),
        Metric("energy_sqrt", "energy error of square roots %", "energy_sqrt", decimals=1),
        # Of networks that hear all bins of the STFT: not to be taken for errors of 80 bands, so under other names.
        Metric("energy_stft", "energy error of 321 bins %", "energy_stft", decimals=1),
        Metric("energy_stft_noisy", "energy error of 321 bins %, noisy", "energy_stft_noisy", decimals=1),
        # Of log-mel, at the edges of slices and inside them (scoring/seams.py); the ratio is that of the two means.
        Metric("seam_edge", "squared error of the log-mel at the edges of slices dB²", "seam_edge", decimals=1),
        Metric("seam_inner", "squared error of the log-mel inside slices dB²", "seam_inner", decimals=1),
        Metric("seam_ratio", "squared error of the log-mel, edges over inside", "seam_edge", "seam_inner"),
        Metric("wer", "WER %", "word_errors", "words", 100.0, 1),
        Metric("cer", "CER %", "char_errors", "chars", 100.0, 1),
        Metric("keywords", "letters and digits right %", "keyword_hits", "keywords", 100.0, 1),
        Metric("wer_greedy", "WER % (greedy)", "greedy_word_errors", "words", 100.0, 1),
        Metric("cer_greedy", "CER % (greedy)", "greedy_char_errors", "chars", 100.0, 1),
        Metric("top1", "word accuracy %", "top1", scale=100.0, decimals=1),
        Metric("top5", "word accuracy, five best %", "top5", scale=100.0, decimals=1),
    )
}

COLUMNS = tuple(
    dict.fromkeys(name for m in METRICS.values() for name in (m.numerator, m.denominator) if name is not None)
)


def metric(name: str) -> Metric:
    """The metric of that name. Raises UsageError for an unknown one."""
    if name not in METRICS:
        raise UsageError(f"unknown metric {name!r}: it must be one of {', '.join(METRICS)}")
    return METRICS[name]
