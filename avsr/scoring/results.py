"""Measured results: scores.tsv of one system on one test set, and what follows from all of them."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from math import isnan, nan
from pathlib import Path

import numpy as np

from avsr.errors import AvsrError
from avsr.scoring.bootstrap import interval, ratio, resampled
from avsr.scoring.metrics import COLUMNS, METRICS, metric
from avsr.scoring.speech import NO_PESQ
from avsr.storage.atomic import write_csv, write_text

NO_OTHER = "no other clip"  # whose lips could be shown


@dataclass(frozen=True)
class Provenance:
    """Where the scores of a file come from; all of it is printed in RESULTS.md."""

    protocol: str
    preset: str
    command: str
    commit: str
    checkpoint: str = ""  # file name; empty for unprocessed mixtures and oracles
    checkpoint_digest: str = ""
    decode: str = ""  # such as "beam 30"
    tested: str = ""  # digest of what was scored: mixtures, transcripts, reconstruction


@dataclass(frozen=True)
class Scores:
    """One system on one test set: a row of numbers for every utterance of the set, NaN where it was not scored."""

    utts: tuple[str, ...]
    columns: dict[str, np.ndarray]
    reasons: dict[str, str]
    provenance: Provenance
    dropped: tuple[str, ...] = ()  # utterances of the split that are not in the file: earlier stages left them out


@dataclass(frozen=True)
class Summary:
    """A metric of one system on one test set, of one seed ("1") or over the seeds ("mean")."""

    system: str
    test_set: str
    metric: str
    seed: str
    value: float
    low: float
    high: float
    sd: float  # over seeds; NaN with one
    scored: int
    total: int
    note: str  # why nothing was scored, such as "no pesq"


@dataclass(frozen=True)
class Difference:
    """Left minus right on the utterances that both have scored, with its paired 95 % interval."""

    value: float
    low: float
    high: float
    scored: int


def write_scores(path: Path, rows: Mapping[str, Mapping], provenance: Provenance) -> None:
    """Writes scores.tsv: a line of JSON with the provenance, a header, one line an utterance (atomically).

    `rows` maps every utterance of the test set to its columns (numbers; absent or NaN: not scored) and, where something
    was not scored, a "reason". An utterance that failed has a row with its reason only. Numbers keep six decimals.
    """
    names = [name for name in COLUMNS if any(name in row for row in rows.values())]
    head = "# " + json.dumps(asdict(provenance) | {"utterances": len(rows)}, sort_keys=True, ensure_ascii=False)
    lines = [head, "\t".join(["utt", *names, "reason"])]
    for utt in sorted(rows):
        cells = [_number(rows[utt].get(name, nan)) for name in names]
        lines.append("\t".join([utt, *cells, " ".join(str(rows[utt].get("reason", "")).split())]))
    write_text(path, "\n".join(lines) + "\n")


def _number(value: float) -> str:
    return f"{round(float(value), 6):.10g}"


def read_scores(path: Path) -> Scores:
    """Reads scores.tsv. Raises AvsrError naming the file when it is not whole."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    try:
        head = json.loads(lines[0].removeprefix("# "))
        expected = head.pop("utterances")
        provenance = Provenance(**head)
        names = lines[1].split("\t")[1:-1]
        rows = [line.split("\t") for line in lines[2:]]
        if len(rows) != expected or any(len(row) != len(names) + 2 for row in rows):
            raise ValueError(f"{len(rows)} of {expected} utterances")
        columns = {name: np.array([float(row[k + 1]) for row in rows]) for k, name in enumerate(names)}
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise AvsrError(f"{path}: damaged scores ({error}); delete it and run stage 9 again") from None
    reasons = {row[0]: row[-1] for row in rows if row[-1]}
    return Scores(tuple(row[0] for row in rows), columns, reasons, provenance)


class Results:
    """All scores of one protocol and preset, by (system, test set) and seed."""

    def __init__(self, scores: Mapping[tuple[str, str], Mapping[int, Scores]]):
        self.scores = {key: dict(sorted(by_seed.items())) for key, by_seed in sorted(scores.items())}
        self._summary = lru_cache(maxsize=None)(self._summarise)

    @classmethod
    def read(
        cls, exp: Path, protocol: str, preset: str, holds: Callable[[Path, Provenance], bool] | None = None
    ) -> "Results":
        """Reads `exp/<system>/seed<k>/<test set>/scores.tsv`; files of other protocols and presets are passed over, and
        those of which `holds` says that they are of no use any more."""
        scores: dict = {}
        for path in sorted(Path(exp).glob("*/seed*/*/scores.tsv")):
            system, seed, test_set = path.parts[-4:-1]
            if not seed.removeprefix("seed").isdigit():
                continue
            one = read_scores(path)
            origin = one.provenance
            if (origin.protocol, origin.preset) == (protocol, preset) and (holds is None or holds(path, origin)):
                scores.setdefault((system, test_set), {})[int(seed.removeprefix("seed"))] = one
        return cls(scores)

    def systems(self) -> set[str]:
        """The systems with any score."""
        return {system for system, _ in self.scores}

    def seeds(self, system: str, test_set: str) -> list[int]:
        """The seeds of a system that were scored on a test set."""
        return list(self.scores.get((system, test_set), {}))

    def measured(self, system: str, name: str) -> bool:
        """Whether a metric of a system was scored on any test set."""
        return any(system == one and self._chosen(one, test_set, name) for one, test_set in self.scores)

    def summary(self, system: str, test_set: str, name: str, seed: int | None = None) -> Summary | None:
        """A metric over all seeds, or of one seed; None where the system was not run on the set."""
        return self._summary(system, test_set, name, seed)

    def _summarise(self, system: str, test_set: str, name: str, seed: int | None) -> Summary | None:
        chosen = self._chosen(system, test_set, name)
        if seed is not None:
            chosen = {key: one for key, one in chosen.items() if key == seed}
        if not chosen:
            return None
        utts = sorted(set().union(*(one.utts for one in chosen.values())))
        numerator_su, denominator_su = _table(chosen.values(), name, utts)
        values_s = ratio(numerator_su, denominator_su)
        low = high = sd = nan
        scored_u = denominator_su.any(axis=0)
        if scored_u.sum() > 1:  # the interval of a single utterance would be a point
            low, high = interval(resampled(numerator_su[:, scored_u], denominator_su[:, scored_u]))
        if len(values_s) > 1:
            sd = float(np.std(values_s, ddof=1))
        label = "mean" if seed is None and len(chosen) > 1 else str(next(iter(chosen)))
        scored = int((denominator_su > 0).sum(axis=1).min())
        total = len(set(utts).union(*(one.dropped for one in chosen.values())))
        note = "" if scored else _why(chosen.values(), metric(name).numerator)
        value = float(values_s.mean())
        return Summary(system, test_set, name, label, value, low, high, sd, scored, total, note)

    def difference(
        self, left: tuple[str, str, str], right: tuple[str, str, str], times: float = 1.0
    ) -> Difference | None:
        """Left minus `times` right, each (system, test set, metric), over the utterances that every seed of both has
        scored.

        Paired: both are resampled with the same utterances. None where either was not run or none is in common.
        """
        sides = [(self._chosen(*side), side[2]) for side in (left, right)]
        if not all(chosen for chosen, _ in sides):
            return None
        utts = sorted(set.intersection(*(set(one.utts) for chosen, _ in sides for one in chosen.values())))
        tables = [_table(chosen.values(), name, utts) for chosen, name in sides]
        common_u = np.all([(denominator_su > 0).all(axis=0) for _, denominator_su in tables], axis=0)
        if not common_u.any():
            return None
        tables = [(numerator_su[:, common_u], denominator_su[:, common_u]) for numerator_su, denominator_su in tables]
        values = [float(ratio(*table).mean()) for table in tables]
        low = high = nan
        if common_u.sum() > 1:
            low, high = interval(resampled(*tables[0]) - times * resampled(*tables[1]))
        return Difference(values[0] - times * values[1], low, high, int(common_u.sum()))

    def _chosen(self, system: str, test_set: str, name: str) -> dict[int, Scores]:
        by_seed = self.scores.get((system, test_set), {})
        return {seed: one for seed, one in by_seed.items() if metric(name).numerator in one.columns}

    def summaries(self) -> Iterable[tuple[Summary, Provenance]]:
        """Every row of results.csv: each seed by itself, then their mean where there are several."""
        for (system, test_set), by_seed in self.scores.items():
            for name in METRICS:
                seeds = list(self._chosen(system, test_set, name))
                for seed in [*seeds, None] if len(seeds) > 1 else seeds:
                    provenance = by_seed[seed if seed is not None else seeds[0]].provenance
                    yield self.summary(system, test_set, name, seed), provenance

    def write_csv(self, path: Path, recipe: str) -> None:
        """Writes results.csv: one row a system, seed, test set and metric. The same bytes for the same scores.

        Rows that the file holds of another protocol or preset stay.
        """
        origin = [field.name for field in fields(Provenance)]
        header = ["recipe", *origin[:2], *(field.name for field in fields(Summary)), *origin[2:]]
        every = [one.provenance for by_seed in self.scores.values() for one in by_seed.values()]
        run = {(one.protocol, one.preset) for one in every}
        old = read_csv(path) if Path(path).exists() else []
        rows = [list(row.values()) for row in old if (row["protocol"], row["preset"]) not in run]
        for summary, provenance in self.summaries():
            source = [getattr(provenance, name) for name in origin]
            if summary.seed == "mean":  # several checkpoints: their own rows name them
                source[origin.index("checkpoint")] = source[origin.index("checkpoint_digest")] = ""
            cells = [("" if isnan(cell) else f"{cell:.4f}") if isinstance(cell, float) else cell
                     for cell in (getattr(summary, field.name) for field in fields(Summary))]
            rows.append([recipe, *source[:2], *cells, *source[2:]])
        write_csv(path, header, rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a results.csv, as text."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _table(runs: Iterable[Scores], name: str, utts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators (seeds, utterances), scaled so that their ratio is the metric; 0 and 0: no score."""
    this = metric(name)
    numerators, denominators = [], []
    for run in runs:
        place = {utt: k for k, utt in enumerate(run.utts)}
        order = np.array([place.get(utt, -1) for utt in utts])
        value_u = np.append(run.columns[this.numerator], nan)[order]
        weight_u = np.append(run.columns[this.denominator], nan)[order] if this.denominator else np.ones(len(utts))
        valid_u = np.isfinite(value_u) & np.isfinite(weight_u)
        numerators.append(np.where(valid_u, value_u * this.scale, 0.0))
        denominators.append(np.where(valid_u, weight_u, 0.0))
    return np.array(numerators), np.array(denominators)


def _why(runs: Iterable[Scores], column: str) -> str:
    """Why nothing of a column was scored: `no pesq`, `no other clip` where every utterance says so, else how it was."""
    reasons = [dict(part.split(": ", 1) for part in text.split("; ") if ": " in part).get(column, "not scored")
               for run in runs for text in (run.reasons.get(utt, "") for utt in run.utts)]
    return next((why for why in (NO_PESQ, NO_OTHER) if {*reasons} == {why}), "none scored")
