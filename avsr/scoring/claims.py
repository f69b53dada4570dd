"""Claims of a paper, as data: each is a comparison that must hold in every one of many cells.

A cell is a rule of avsr.scoring.checks. Whether a claim holds is computed here and never written by hand.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsr.config import CONF, read_yaml
from avsr.errors import UsageError
from avsr.scoring.checks import COMPARE, FAILS, HOLDS, NOT_MEASURED, Rule, Verdict, check
from avsr.scoring.metrics import METRICS, metric
from avsr.scoring.results import Results
from avsr.scoring.tables import DASH, ORACLES, Table, set_name, signed

FOLDER = CONF / "claims"
UNTRAINED = ("unprocessed", *ORACLES)
UNTOLD = "cannot be told"
KEYS = {"pairs", "sets", "right_set", "metric", "compare", "margin"}  # of one entry of `cells`


@dataclass(frozen=True)
class Claim:
    """A claim and its cells."""

    text: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Judgement:
    """What came out in every cell of a claim; `seeds`: how many trainings of a system stand behind the measured ones,
    a number for each that occurs."""

    claim: Claim
    cells: tuple[Verdict, ...]
    seeds: tuple[int, ...] = ()

    @property
    def measured(self) -> list[Verdict]:
        """The cells whose both sides were scored."""
        return [cell for cell in self.cells if cell.verdict != NOT_MEASURED]

    @property
    def failing(self) -> list[Verdict]:
        """The cells in which the claim does not hold."""
        return [cell for cell in self.cells if cell.verdict == FAILS]

    @property
    def verdict(self) -> str:
        """Holds where every measured cell clearly agrees with it, does not hold where one is clearly against it."""
        if not self.measured:
            return NOT_MEASURED
        if any(cell.clear for cell in self.failing):
            return FAILS
        return HOLDS if all(cell.clear for cell in self.measured) else UNTOLD


def read_claims(name: str, folder: Path = FOLDER) -> list[Claim]:
    """The claims in conf/claims/<name>.yaml.

    `claims: [{text, cells: [{pairs: [[left, right]], sets: [...], right_set, metric, compare, margin}]}]`: a cell for
    each pair and test set; `right_set` is the test set of the right side where it is another one. Raises UsageError for
    a name without a file, and naming the claim that is wrong.
    """
    path = Path(folder) / f"{name}.yaml"
    known = sorted(one.stem for one in Path(folder).glob("*.yaml"))
    if name not in known:
        raise UsageError(f"score.claims: there are no claims '{name}'; there is {', '.join(known)}")
    claims = []
    for number, entry in enumerate(read_yaml(path).get("claims", []), 1):
        where = f"{path}: claim {number}"
        if not isinstance(entry, Mapping) or set(entry) != {"text", "cells"}:
            raise UsageError(f"{where}: it needs text and cells, and has nothing else")
        rules = [rule for cells in entry["cells"] for rule in _rules(entry["text"], cells, where)]
        claims.append(Claim(entry["text"], tuple(rules)))
    return claims


def _rules(text: str, cells: Mapping, where: str) -> Iterable[Rule]:
    if not isinstance(cells, Mapping) or not {"pairs", "sets", "metric"} <= set(cells) <= KEYS:
        raise UsageError(f"{where}: cells need pairs, sets, metric and may have right_set, compare, margin; "
                         f"there is {cells}")
    compare = cells.get("compare", "<")
    if compare not in COMPARE:
        raise UsageError(f"{where}: compare must be one of {' '.join(COMPARE)}")
    if cells["metric"] not in METRICS:
        raise UsageError(f"{where}: unknown metric '{cells['metric']}'")
    for pair in cells["pairs"]:
        if not isinstance(pair, list) or len(pair) != 2:
            raise UsageError(f"{where}: {pair} must be [left system, right system]")
        for test_set in cells["sets"]:
            left = (pair[0], test_set, cells["metric"])
            right = (pair[1], cells.get("right_set", test_set), cells["metric"])
            yield Rule(text, left, right, compare, float(cells.get("margin", 0.0)))


def judge(results: Results, claims: Iterable[Claim]) -> list[Judgement]:
    """The verdict on every cell of every claim, by paired differences."""
    judgements = []
    for claim in claims:
        cells = tuple(check(results, claim.rules))
        judgements.append(Judgement(claim, cells, _seeds(results, cells)))
    return judgements


def _seeds(results: Results, cells: Iterable[Verdict]) -> tuple[int, ...]:
    """The numbers of seeds of what was trained; a mixture as it is has none."""
    measured = [cell.rule for cell in cells if cell.verdict != NOT_MEASURED]
    sides = {side[:2] for rule in measured for side in (rule.left, rule.right)}
    return tuple(sorted({len(results.seeds(*side)) for side in sides if side[0] not in UNTRAINED}))


def claim_table(title: str, judgements: Sequence[Judgement], names: Mapping[str, str]) -> Table:
    """A row a claim: verdict, in how many cells it holds, the cell that speaks most against it, and all that fail."""
    rows = []
    for one in judgements:
        holding = [cell for cell in one.measured if cell.verdict == HOLDS]
        clear = sum(cell.clear for cell in holding)
        count = f"{len(holding)} of {len(one.measured)}; clear in {clear}" if one.measured else DASH
        against = _cell(max(one.measured, key=_against), names) if one.measured else DASH
        failing = "; ".join(_cell(cell, names) for cell in one.failing) or ("none" if one.measured else DASH)
        missing = len(one.cells) - len(one.measured)
        verdict = one.verdict if one.verdict == NOT_MEASURED else f"**{one.verdict}**"
        verdict += " where measured" if one.verdict in (HOLDS, UNTOLD) and missing else ""
        seeds = " to ".join(map(str, dict.fromkeys((*one.seeds[:1], *one.seeds[-1:])))) or DASH
        rows.append([one.claim.text, verdict, count, against, failing, str(missing or "none"), seeds])
    note = ("A cell is a paired difference, left minus right [95 % interval, bootstrap over utterances], of means over "
            "the seeds of a system, whose number is last; it is clear where the whole interval lies on one side of "
            "what is asked. A claim holds where every measured cell clearly agrees with it, does not hold where one is "
            "clearly against it, and else cannot be told from these data.")
    header = ["Claim", "verdict", "holds in", "the cell most against it", "cells in which it fails", "not measured",
              "seeds"]
    return Table(title, header, rows, [note], words=True)


def _against(cell: Verdict) -> float:
    """How far the difference lies on the wrong side of what is asked."""
    gap = cell.difference.value - cell.rule.margin
    return gap if cell.rule.compare in ("<", "<=") else -gap


def _cell(cell: Verdict, names: Mapping[str, str]) -> str:
    """`TCN-EG VA - EG-seq2seq AV, babble 0 dB: -3.1 [-5.0, -1.2]`, and what is asked where that is not zero."""
    (left, left_on, name), (right, right_on, _) = cell.rule.left, cell.rule.right
    where = set_name(left_on) if left_on == right_on else f"{set_name(left_on)} and {set_name(right_on)}"
    gap = signed(cell.difference, metric(name).decimals)
    text = f"{names.get(left, left)} - {names.get(right, right)}, {where}: {gap}"
    return text + (f" (asked {cell.rule.compare} {cell.rule.margin:g})" if cell.rule.margin else "")
