"""What each enhancement system gains over a reference: paired differences (`score.differences`).

For studies of one option at a time: the values of their rows are alike and the intervals overlap, but all were scored
on the same mixtures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from avsr.scoring.metrics import metric
from avsr.scoring.results import Difference, Results
from avsr.scoring.tables import DASH, SNRS_ENHANCEMENT, System, Table, noise_columns, set_name, signed

KINDS = ("speech", "natural", "own")
TITLES = {"stoi": "STOI, points", "pesq_raw": "PESQ (raw)"}
NOTE = (
    "Row minus reference on the same mixtures, means over the seeds [paired 95 % interval, bootstrap over utterances]; "
    "behind it, in how many of the seeds that both have the difference has this sign. The interval does not know how "
    "much trainings differ: a gain means something where the seeds agree too."
)


@dataclass(frozen=True)
class Gain:
    """A system's paired difference to the reference, and in how many of `seeds` it has the same sign."""

    difference: Difference
    agree: int
    seeds: int


def gains(results: Results, rows: Sequence[System], reference: str, name: str) -> dict[str, dict[str, Gain]]:
    """Test set -> id of a system -> its gain in a metric over `reference`, on all test sets of the enhancement tables
    that both were scored on; systems in the order of `rows`."""
    found: dict[str, dict[str, Gain]] = {}
    systems = [row.id for row in rows if row.enhances and row.id != reference]
    for test_set in (column.test_set for column in noise_columns(KINDS, SNRS_ENHANCEMENT, [name])):
        for system in systems:
            difference = results.difference((system, test_set, name), (reference, test_set, name))
            if difference is None:
                continue
            both = {*results.seeds(system, test_set)} & {*results.seeds(reference, test_set)}
            mine, its = ({seed: results.summary(one, test_set, name, seed) for seed in both}
                         for one in (system, reference))  # fmt: skip
            agree = sum((mine[seed].value - its[seed].value) * difference.value > 0 for seed in both)
            found.setdefault(test_set, {})[system] = Gain(difference, agree, len(both))
    return found


def difference_tables(mark: str, results: Results, rows: Sequence[System], references: Sequence[str]) -> list[Table]:
    """Tables of STOI and PESQ for each reference; of one that was not scored, none."""
    names, tables = {row.id: row.name for row in rows}, []
    for reference in references:
        for name, quantity in TITLES.items():
            by_set = gains(results, rows, reference, name)
            systems = [row.id for row in rows if any(row.id in one for one in by_set.values())]
            lines = [[names[one], *(_cell(of_set.get(one), name) for of_set in by_set.values())] for one in systems]
            header = ["System", *map(set_name, by_set)]
            title = f"Enhancement: {quantity} above {names.get(reference, reference)}{mark}"
            if lines:
                tables.append(Table(title, header, lines, [NOTE]))
    return tables


def _cell(gain: Gain | None, name: str) -> str:
    if gain is None:
        return DASH
    return f"{signed(gain.difference, metric(name).decimals)} ({gain.agree}/{gain.seeds})"
