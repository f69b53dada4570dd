"""Expectations about the results, as data; whether each holds is computed here and never written by hand."""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from avsr.config import read_yaml
from avsr.errors import UsageError
from avsr.scoring.metrics import METRICS
from avsr.scoring.results import Difference, Results, Summary

VERDICTS = HOLDS, FAILS, NOT_MEASURED = "holds", "does not hold", "not measured"
COMPARE = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


@dataclass(frozen=True)
class Rule:
    """`left - times * right` compared with `margin`: sides are (system, test set, metric), or a number on the right."""

    text: str
    left: tuple[str, str, str]
    right: tuple[str, str, str] | float
    compare: str = ">"
    margin: float = 0.0
    times: float = 1.0


@dataclass(frozen=True)
class Verdict:
    """What came out for a rule. Not measured: `difference` is None and `missing` holds (system, test set)."""

    rule: Rule
    verdict: str
    left: Summary | None
    right: Summary | float | None
    difference: Difference | None
    clear: bool  # the whole interval of the difference lies on one side of the margin
    missing: tuple[tuple[str, str], ...] = ()


def read_rules(path: Path) -> list[Rule]:
    """Reads `checks: [{text, left, right, compare, margin, times}]`. UsageError names the rule that is wrong."""
    checks = read_yaml(path).get("checks", [])
    return [_rule(entry, f"{path}: check {number}") for number, entry in enumerate(checks, 1)]


def _rule(entry: dict, where: str) -> Rule:
    unknown = set(entry) - {"text", "left", "right", "compare", "margin", "times"}
    if unknown or not {"text", "left", "right"} <= set(entry):
        may = "may have compare, margin, times"
        raise UsageError(f"{where}: it needs text, left, right and {may}; it has {sorted(entry)}")
    if entry.get("compare", ">") not in COMPARE:
        raise UsageError(f"{where}: compare must be one of {' '.join(COMPARE)}")
    sides = []
    for side in (entry["left"], entry["right"]):
        if isinstance(side, list):
            if len(side) != 3 or side[2] not in METRICS:
                raise UsageError(f"{where}: {side} must be [system, test set, metric]")
            sides.append(tuple(side))
        else:
            sides.append(float(side))
    if not isinstance(sides[0], tuple):
        raise UsageError(f"{where}: left must be [system, test set, metric]")
    numbers = (float(entry.get("margin", 0.0)), float(entry.get("times", 1.0)))
    return Rule(entry["text"], sides[0], sides[1], entry.get("compare", ">"), *numbers)


def check(results: Results, rules: Iterable[Rule]) -> list[Verdict]:
    """The verdict on every rule, by the measured difference; its paired interval says how sure that is."""
    return [_verdict(results, rule) for rule in rules]


def _verdict(results: Results, rule: Rule) -> Verdict:
    sides = [rule.left] if isinstance(rule.right, float) else [rule.left, rule.right]
    found = [results.summary(*side) for side in sides]
    missing = tuple(side[:2] for side, one in zip(sides, found, strict=True) if not _scored(one))
    right = rule.right if isinstance(rule.right, float) else found[1]
    difference = None if missing else _difference(results, rule, found[0])
    if difference is None:
        return Verdict(rule, NOT_MEASURED, found[0], right, None, False, missing)
    holds = COMPARE[rule.compare](difference.value, rule.margin)
    clear = difference.low > rule.margin or difference.high < rule.margin
    return Verdict(rule, HOLDS if holds else FAILS, found[0], right, difference, clear)


def _difference(results: Results, rule: Rule, left: Summary) -> Difference | None:
    if isinstance(rule.right, float):
        right = rule.times * rule.right
        return Difference(left.value - right, left.low - right, left.high - right, left.scored)
    return results.difference(rule.left, rule.right, rule.times)


def _scored(summary: Summary | None) -> bool:
    return summary is not None and not isnan(summary.value)
