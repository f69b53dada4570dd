"""Published numbers, read from conf/published/*.yaml. They stand in columns of their own and nowhere else."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from avsr.config import CONF, read_yaml
from avsr.errors import UsageError
from avsr.scoring.metrics import METRICS

FOLDER = CONF / "published"
# Of the systems of other papers, printed and what follows from it: no metrics, for nothing measures them.
COMPARISONS = ("pesq_difference", "pesq_implied")


@dataclass(frozen=True)
class Published:
    """One printed number, as printed, with the table that it stands in."""

    value: str
    paper: str
    table: str


class PublishedNumbers:
    """Printed numbers by (system, test set, metric). A cell that two tables print differently keeps both."""

    def __init__(self, cells: dict[tuple[str, str, str], list[Published]], corpora: dict[str, str],
                 otherwise: dict[str, str]):
        self._cells = cells
        self._otherwise = otherwise
        self.corpora = corpora  # paper -> the corpus it was measured on

    def cell(self, system: str, test_set: str, metric: str) -> str:
        """The printed number, both where two tables differ (`2.96 / 2.94`), or an empty text."""
        return " / ".join(dict.fromkeys(entry.value for entry in self.entries(system, test_set, metric)))

    def otherwise(self, systems: Iterable[str]) -> list[str]:
        """What is to be said under a table of these systems: in what ours differ from those that were printed."""
        return list(dict.fromkeys(self._otherwise[system] for system in systems if system in self._otherwise))

    def entries(self, system: str, test_set: str, metric: str) -> list[Published]:
        """Every place that prints this number."""
        return self._cells.get((system, test_set, metric), [])


def read_published(folder: Path = FOLDER) -> PublishedNumbers:
    """Reads every YAML of the folder: `paper`, `corpus`, and `tables` of `metrics: {metric: {system: [numbers]}}`.

    A table may hold `pesq_difference: {system: [numbers]}` and `pesq_implied` in the place of metrics. The numbers of a
    system stand in the order of the table's `test_sets`; null where the paper has none. `otherwise: {system: text}`
    says in what our system differs from the printed one.
    Raises UsageError for an unknown metric or a row of another length than `test_sets`.
    """
    cells: dict = {}
    corpora, otherwise = {}, {}
    for path in sorted(Path(folder).glob("*.yaml")):
        data = read_yaml(path)
        corpora[data["paper"]] = data["corpus"]
        otherwise |= data.get("otherwise", {})
        for table, content in data["tables"].items():
            unknown = next((name for name in content.get("metrics", {}) if name not in METRICS), None)
            if unknown:
                raise UsageError(f"{path}: {table}: unknown metric {unknown!r}")
            compared = {name: content[name] for name in COMPARISONS if name in content}
            for metric, rows in {**content.get("metrics", {}), **compared}.items():
                for system, numbers in rows.items():
                    if len(numbers) != len(content["test_sets"]):
                        raise UsageError(f"{path}: {table}: {system} has not as many numbers as test_sets")
                    for test_set, number in zip(content["test_sets"], numbers, strict=True):
                        if number is not None:
                            entry = Published(str(number), data["paper"], table)
                            cells.setdefault((system, test_set, metric), []).append(entry)
    return PublishedNumbers(cells, corpora, otherwise)
