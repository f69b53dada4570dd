"""Examples in words (AE-MSR Table 5): what every recogniser has made of four test utterances."""

from collections.abc import Iterable, Sequence
from math import isnan
from pathlib import Path

from avsr.rng import unit
from avsr.scoring.metrics import metric
from avsr.scoring.results import Results, Scores
from avsr.scoring.tables import DASH, System, Table, by_inputs
from avsr.scoring.words import read_trn

CONDITIONS = {"clean": "clean", "babble_5dB": "5 dB", "babble_0dB": "0 dB", "babble_-5dB": "-5 dB"}


def choose(utts: Iterable[str], count: int = len(CONDITIONS)) -> list[str]:
    """The first utterances in the order of a hash of their ids: chosen by no result, the same in every run."""
    return sorted(utts, key=lambda utt: (unit(utt, "example"), utt))[:count]


def example_table(
    exp: Path, results: Results, rows: Sequence[System], mark: str = "", phones: bool = False
) -> Table | None:
    """Transcripts, energy error and WER of one utterance in each of four conditions, of the lowest seed of each system.

    Utterances are chosen among those that any recogniser has scored in all conditions that were scored. The energy
    error is that of the sound which reaches the recogniser: the mixture's, or its enhancer's estimate. A row that sees
    no sound is the same in every condition. None where no recogniser was scored. `phones`: transcripts are phones.
    """
    rows = by_inputs(row for row in rows if row.kind in ("recognise", "joint"))
    measured = {name: [one for row in rows if (one := _scores(results, row.id, name))] for name in CONDITIONS}
    measured = {name: found for name, found in measured.items() if found}
    if not measured:
        return None
    everywhere = set.intersection(*(set().union(*map(_with_words, found)) for found in measured.values()))
    utts = choose(everywhere)
    lines = []
    for number, condition in enumerate(measured):
        if utts:
            lines += _block(Path(exp), results, rows, condition, utts[number % len(utts)])
    note = ("Utterances are chosen by a hash of their ids. The energy error is that of the sound which reaches the "
            "recogniser; it is measured in babble alone. A row that sees no sound (V) is the same in every condition.")
    heard = {row.heard for row in rows}
    if any(name in heard and "energy_stft" in one.columns for (name, _), found in results.scores.items()
           for one in found.values()):  # fmt: skip
        note += " Behind an enhancer of 321 bins it is left out: errors of 80 bands are not to be compared with it."
    header = ["condition", "system", "transcript", "energy error %", f"{'phone error rate' if phones else 'WER'} %"]
    return Table(f"Examples (AE-MSR Table 5){mark}", header, lines, [note], words=True) if lines else None


def _block(exp: Path, results: Results, rows: Sequence[System], condition: str, utt: str) -> list[list[str]]:
    """The lines of one condition: the utterance and what was said, then every system."""
    lines, truth = [], ""
    for row in rows:
        test_set = condition if _scores(results, row.id, condition) else "clean"  # scored once: it hears no noise
        scores = _scores(results, row.id, test_set)
        if scores is None or (test_set != condition and row.heard):
            continue
        folder = exp / row.id / f"seed{results.seeds(row.id, test_set)[0]}" / test_set
        texts = read_trn(folder / "hyp.trn")
        if utt in texts:
            truth = truth or read_trn(folder / "ref.trn").get(utt, "")
            energy = _value(_scores(results, row.heard, condition), "energy_linear", utt)
            lines.append(["", row.name, texts[utt], energy, _value(scores, "wer", utt)])
    return [[f"{CONDITIONS[condition]}, `{utt}`", "what was said", truth, "", ""], *lines] if lines else []


def _scores(results: Results, system: str, test_set: str) -> Scores | None:
    """The scores of the lowest seed."""
    return next(iter(results.scores.get((system, test_set), {}).values()), None)


def _with_words(scores: Scores) -> set[str]:
    words_u = scores.columns.get("words", [])
    return {utt for utt, words in zip(scores.utts, words_u, strict=False) if words > 0}


def _value(scores: Scores | None, name: str, utt: str) -> str:
    """A metric of one utterance as printed."""
    this = metric(name)
    if scores is None or utt not in scores.utts or this.numerator not in scores.columns:
        return DASH
    place = scores.utts.index(utt)
    value = scores.columns[this.numerator][place] * this.scale
    value /= scores.columns[this.denominator][place] if this.denominator else 1.0
    return DASH if isnan(value) else f"{value:.{this.decimals}f}"
