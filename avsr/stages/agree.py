"""Do two trainings agree? The scores of this work folder beside those of the same rows, trained elsewhere or again.

    python -m avsr.stages.agree --work-dir AGAIN --with FIRST/exp

On one machine, with as many threads, a training made again gives the same digits; else what it gives should lie within
the 95 % interval over utterances. Prints, for each row and metric, on how many test sets that is so. Rows that were
gathered from elsewhere (avsr.stages.gather) are passed over: they would be compared with copies of themselves. Exit
code 1 where a value lies outside the interval.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from avsr.errors import AvsrError
from avsr.scoring.metrics import METRICS
from avsr.scoring.results import Results, Summary, read_scores
from avsr.scoring.tables import Table
from avsr.stages import common
from avsr.stages.gather import MEASURED

log = logging.getLogger("avsr")
SAME, WITHIN, APART = "same digits", "within the interval", "outside"


@dataclass(frozen=True)
class Compared:
    """A metric of a row on a test set, here and there."""

    row: str
    seed: int
    metric: str
    test_set: str
    here: float
    there: float
    verdict: str  # SAME, WITHIN or APART


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = common.study_parser("agree", __doc__)
    parser.add_argument("--work-dir", type=Path, required=True, help="work folder after stage 9")
    parser.add_argument("--with", dest="other", type=Path, required=True,
                        help="exp/ of another work folder, or the scores that stage 9 has published")  # fmt: skip
    return common.run(parser, body, argv)


def body(args: argparse.Namespace, stage: common.Stage) -> None:
    """Prints the table. AvsrError: no row in common, or a value outside the interval."""
    here = args.work_dir / "exp"
    found = list(compare(here, args.other))
    if not found:
        raise AvsrError(f"{here} and {args.other}: have no row and test set in common that were asked the same")
    print(table(found).markdown(), end="")
    apart = [one for one in found if one.verdict == APART]
    if apart:
        one = apart[0]
        where = f"{one.row}, seed {one.seed}, {one.test_set}, {one.metric}"
        raise AvsrError(f"{len(apart)} values lie outside the interval (first: {where}, {one.here:.4g} here, "
                        f"{one.there:.4g} there): were data and options the same?")  # fmt: skip


def compare(here: Path, there: Path) -> Iterator[Compared]:
    """Every metric of every row that both folders have, on test sets that asked the same of both."""
    for path in sorted(there.glob("*/seed*/*/scores.tsv")):
        row, seed, test_set = path.parts[-4:-1]
        mine = here / path.relative_to(there)
        if not mine.with_name(MEASURED).exists():
            continue
        pair = [read_scores(one) for one in (mine, path)]
        if len({one.provenance.tested for one in pair}) > 1:
            log.warning("%s: was asked something else than %s (other mixtures, texts or options)", mine, path)
            continue
        number = int(seed.removeprefix("seed"))
        both = [Results({(row, test_set): {number: one}}) for one in pair]
        for name in METRICS:
            one, other = (results.summary(row, test_set, name, number) for results in both)
            if one and other and one.scored and other.scored:
                yield Compared(row, number, name, test_set, one.value, other.value, _verdict(one, other))


def _verdict(one: Summary, other: Summary) -> str:
    decimals = METRICS[one.metric].decimals
    if f"{one.value:.{decimals}f}" == f"{other.value:.{decimals}f}" and one.scored == other.scored:
        return SAME
    inside = not isnan(one.low) and one.low <= other.value <= one.high
    return WITHIN if inside else APART


def table(found: list[Compared]) -> Table:
    """A line for each row, seed and metric: test sets by verdict, and the largest difference."""
    lines = []
    for key in dict.fromkeys((one.row, one.seed, one.metric) for one in found):
        mine = [one for one in found if (one.row, one.seed, one.metric) == key]
        counts = [sum(one.verdict == verdict for one in mine) for verdict in (SAME, WITHIN, APART)]
        largest = max(abs(one.here - one.there) for one in mine)
        row, seed, name = key
        lines.append([f"`{row}`", str(seed), METRICS[name].name, *map(str, counts), f"{largest:.3g}"])
    header = ["System", "seed", "metric", f"test sets: {SAME}", WITHIN, APART, "largest difference"]
    return Table("Trained twice", header, lines)


if __name__ == "__main__":
    sys.exit(main())
