"""From mel magnitudes back to a waveform, every way: what is lost on true magnitudes, and what comes of estimates.

The page of `avsr/stages/reconstructions.py`: tables of raw PESQ and STOI, and which setting of `score.recon` they call
for. Decision: see docs/decisions.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from avsr.features.inversion import RECONSTRUCTIONS, reconstruct
from avsr.features.mel import STFT, mel
from avsr.scoring.metrics import metric
from avsr.scoring.results import Difference, Results
from avsr.scoring.tables import DASH, Table, number, provenance_table, signed

# Name -> setting of `score.recon` and the cap of its gains: all that there is, and gains of up to 2.
METHODS = {name: (name, 1.0) for name in RECONSTRUCTIONS} | {"gain_cap2": ("gain", 2.0)}
MEASURES = ("pesq_raw", "stoi")
NO_SYSTEM = "reference"  # the id under which the waveforms without a system stand
REFERENCES = {
    "unprocessed": "Unprocessed",
    "linear": "True magnitude of the 321 bins, mixture phase",
    **{f"mel_{name}": f"True mel, mixture phase, {name}" for name in METHODS},
    "clean_phase": "True mel, clean phase, pinv",
}
RULE = {"audio_only_crn": "Audio-only CRN", "mhca_avcrn": "MHCA-AVCRN"}  # whose validation decides for all systems
VALID = "valid"  # the split that decides, and the beginning of its lists' names


@dataclass(frozen=True)
class Studied:
    """A row: its id, the printed name, and the head that it was trained with (mask, direct, residual)."""

    row: str
    name: str
    head: str


@dataclass(frozen=True)
class Study:
    """What a page is about: its lists, the utterances of them, and the command that makes it anew."""

    split: str
    lists: tuple[str, ...]
    utterances: str  # such as "8 of 97, chosen by hash"
    command: str
    synthetic: bool


def row_id(row: str, method: str) -> str:
    """Under which name the scores of a system by a method stand in the results."""
    return f"{row}/{method}"


def all_ways(noisy_n: np.ndarray, estimate_tf: np.ndarray, mel_set: str) -> dict[str, np.ndarray]:
    """Mixture (640 T,) and estimated magnitudes (4 T, bands) in `mel_set` to a wave (640 T,) by each of METHODS."""
    return {name: reconstruct(noisy_n, estimate_tf, mel_set, *how) for name, how in METHODS.items()}


def reference_waves(noisy_n: np.ndarray, clean_n: np.ndarray, mel_set: str = "mel_slaney") -> dict[str, np.ndarray]:
    """The wave (640 T,) of each of REFERENCES, of mixture and clean speech at the mixture's level, (640 T,) each."""
    clean_tf = mel(clean_n, mel_set)
    by_method = all_ways(noisy_n, clean_tf, mel_set)
    return {
        "unprocessed": noisy_n,
        "linear": reconstruct(noisy_n, mel(clean_n, STFT), STFT, "pinv"),  # no bank, so nothing is inverted
        **{f"mel_{name}": wave_n for name, wave_n in by_method.items()},
        "clean_phase": reconstruct(clean_n, clean_tf, mel_set, "pinv"),
    }


def page(study: Study, results: Results, systems: Sequence[Studied]) -> str:
    """The whole page in markdown. `results` hold the scores under `row_id`s."""
    mark = " (synthetic)" if study.synthetic else ""
    head = (
        f"# Reconstructions and heads{mark}\n\nSplit: {study.split}. Utterances: {study.utterances}. A cell holds the "
        "value [95 % interval, bootstrap over utterances]. PESQ is the raw P.862 score, -0.5 to 4.5. Made by "
        f"`{study.command}`.\n"
    )
    tables = [_references(name, study, results) for name in MEASURES]
    tables += [_systems(name, study, results, systems) for name in MEASURES]
    tables += [_capped_or_gain(study, results, systems), _origins(results, systems)]
    for table in tables:
        table.title += mark
    return "\n".join([head, *(table.markdown() for table in tables)]).rstrip() + "\n"


def _references(name: str, study: Study, results: Results) -> Table:
    """What each reconstruction loses on true magnitudes, by list."""
    rows = [
        [text, *(number(results.summary(row_id(NO_SYSTEM, key), one, name)) for one in study.lists)]
        for key, text in REFERENCES.items()
    ]
    return Table(f"True magnitudes: {metric(name).name}", ["Reconstruction", *study.lists], rows)


def _systems(name: str, study: Study, results: Results, systems: Sequence[Studied]) -> Table:
    """What each reconstruction makes of the estimates of trained systems."""
    rows = []
    for one in systems:
        for test_set in study.lists:
            found = [results.summary(row_id(one.row, method), test_set, name) for method in METHODS]
            if any(found):
                rows.append([f"{one.name}, head {one.head}", test_set, *map(number, found)])
    return Table(f"Trained systems: {metric(name).name}", ["System", "list", *METHODS], rows)


def _difference(results: Results, row: str, test_set: str, name: str) -> Difference | None:
    """`capped` minus `gain`, paired."""
    return results.difference((row_id(row, "capped"), test_set, name), (row_id(row, "gain"), test_set, name))


def _capped_or_gain(study: Study, results: Results, systems: Sequence[Studied]) -> Table:
    rows = []
    for one in systems:
        for test_set in study.lists:
            found = {name: _difference(results, one.row, test_set, name) for name in MEASURES}
            if any(found.values()):
                cells = [signed(found[name], metric(name).decimals) for name in MEASURES]
                rows.append([f"{one.name}, head {one.head}", test_set, *cells])
    header = ["System", "list", *(metric(name).name for name in MEASURES)]
    return Table("`capped` minus `gain`, paired", header, rows, [verdict(study, results, systems)])


def verdict(study: Study, results: Results, systems: Sequence[Studied]) -> str:
    """Which `score.recon` is called for, in one line: where on validation `capped` is above `gain` in both measures
    for Audio-only CRN and for MHCA-AVCRN, all systems are to be switched. It follows the differences of the means."""
    if study.split != VALID:
        return f"Which setting is called for is decided on validation: run again with `--split {VALID}`."
    below, missing = [], []
    for system, name in RULE.items():
        rows = [one.row for one in systems if one.row.split("@")[0] == system]
        found = {
            (row, test_set, measure): _difference(results, row, test_set, measure)
            for row in rows
            for test_set in study.lists
            for measure in MEASURES
        }
        if not found or any(one is None or isnan(one.value) for one in found.values()):
            missing.append(name)
        below += [f"{name}, {metric(key[2]).name}" for key, one in found.items() if one and one.value <= 0]
    if below:  # one is enough, whatever is missing
        return f"Called for: `score.recon: gain`. `capped` is not above it for {'; '.join(below)}."
    if missing:
        return f"Cannot be said which setting is called for: not measured for {' and '.join(missing)}."
    return "Called for: `score.recon: capped`, for all systems: above `gain` in both measures for both systems."


def _origins(results: Results, systems: Sequence[Studied]) -> Table:
    """Seed, utterances, checkpoint, command and commit of every row: those of its first reconstruction."""
    first = {NO_SYSTEM: "unprocessed"} | {one.row: next(iter(METHODS)) for one in systems}
    names = {NO_SYSTEM: "True magnitudes and unprocessed"} | {one.row: one.name for one in systems}
    scores = {
        (row, test_set): by_seed
        for (key, test_set), by_seed in results.scores.items()
        for row, method in first.items()
        if key == row_id(row, method)
    }
    return provenance_table("Where every row comes from", Results(scores), names)


def head_of(model: Mapping, conf: type) -> str:
    """The head of a system's `model:`, or the default of its options `conf`; a dash for one that has none."""
    return str(model.get("head", getattr(conf, "head", DASH)))
