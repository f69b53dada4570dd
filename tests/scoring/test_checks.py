"""Verdicts on hand-made results, both ways; rules that are wrong; the rules that ship."""

import pytest

from avsr.errors import UsageError
from avsr.scoring.checks import Rule, check, read_rules
from avsr.scoring.results import Provenance, Results, Scores
from avsr.scoring.tables import check_table


def results(**stoi) -> Results:
    """Results on own_0dB of systems given as lists of STOI."""
    import numpy as np

    origin = Provenance("mini", "tiny", "cmd", "abc")
    return Results({(name, "own_0dB"): {1: Scores(tuple(f"u{k}" for k in range(len(values))),
                                                  {"stoi": np.array(values, float)}, {}, origin)}
                    for name, values in stoi.items()})


def side(name):
    return (name, "own_0dB", "stoi")


@pytest.mark.parametrize(
    ("compare", "margin", "verdict"),
    [(">", 0, "holds"), (">=", 5, "holds"), (">", 5, "does not hold"), (">=", 5.1, "does not hold"),
     ("<", 0, "does not hold"), ("<=", 5, "holds"), ("<", 5, "does not hold"), ("<", 6, "holds")],
)
def test_verdicts_follow_the_measured_difference(compare, margin, verdict):
    found = check(results(a=[65, 75, 70], b=[60, 70, 65]), [Rule("t", side("a"), side("b"), compare, margin)])[0]
    assert found.verdict == verdict
    assert found.difference.value == pytest.approx(5) and found.difference.scored == 3


def test_a_difference_within_its_noise_is_not_clear():
    rules = [Rule("t", side("a"), side("b"))]
    noisy = check(results(a=[80, 40, 62, 58], b=[60, 60, 60, 58]), rules)[0]
    assert noisy.verdict == "holds" and not noisy.clear
    clear = check(results(a=[61, 62, 61, 63], b=[60, 60, 60, 60]), rules)[0]
    assert clear.verdict == "holds" and clear.clear


def test_a_number_on_the_right():
    found = check(results(a=[9, 9.5]), [Rule("t", side("a"), 10.0, "<"), Rule("t", side("a"), 9.0, "<")])
    assert [one.verdict for one in found] == ["holds", "does not hold"]
    assert found[0].difference.value == pytest.approx(-0.75)


def test_half_of_the_right_side():
    scored = results(a=[30, 40, 32], b=[60, 70, 65])
    for margin, verdict in ((1.6, "holds"), (1.4, "does not hold")):  # 34 - 65 / 2
        found = check(scored, [Rule("t", side("a"), side("b"), "<=", margin, 0.5)])[0]
        assert found.verdict == verdict and found.difference.value == pytest.approx(1.5)
    row = check_table("Checks", [found], {}).rows[0]
    assert row[2].startswith("0.5 × 65.0 [") and row[3] == "+1.5 [-0.5, +5.0]"
    number = check(scored, [Rule("t", side("a"), 60.0, "<", 0.0, 0.5)])[0]
    assert number.difference.value == pytest.approx(4)


@pytest.mark.parametrize("right", [side("b"), ("a", "own_-5dB", "stoi"), ("a", "own_0dB", "wer")])
def test_what_was_not_run_is_not_measured(right):
    found = check(results(a=[1, 2]), [Rule("text", side("a"), right)])[0]
    assert found.verdict == "not measured" and found.missing == (right[:2],) and found.difference is None
    row = check_table("Checks", [found], {"b": "System B"}).rows[0]
    assert row[3] == "–" and row[5].startswith("not measured (") and "holds" not in row[5]


def test_none_scored_is_not_measured():
    found = check(results(a=[1, 2], b=[float("nan")] * 2), [Rule("t", side("a"), side("b"))])[0]
    assert found.verdict == "not measured"
    apart = check(results(a=[1, float("nan")], b=[float("nan"), 2]), [Rule("t", side("a"), side("b"))])[0]
    assert apart.verdict == "not measured" and "no utterance in common" in check_table("C", [apart], {}).rows[0][5]


def test_the_table_counts_its_verdicts():
    rules = [Rule("up", side("a"), side("b")), Rule("down", side("a"), side("b"), "<"), Rule("x", side("a"), side("c"))]
    table = check_table("Checks", check(results(a=[3, 4], b=[1, 2]), rules), {})
    assert table.notes[0].startswith("1 holds, 1 does not hold, 1 not measured.")
    assert [row[5] for row in table.rows] == ["**holds**", "**does not hold**", "not measured (c on own_0dB)"]
    assert table.rows[0][3] == "+2.0 [+2.0, +2.0]" and table.rows[0][6] == "yes"


@pytest.mark.parametrize(
    ("rule", "message"),
    [("{text: a, left: [x, y, stoi]}", "needs text, left, right"),
     ("{text: a, left: [x, y, stoi], right: 3, comapre: '<'}", "comapre"),
     ("{text: a, left: [x, y, stoi], right: 3, compare: '=='}", "compare must be one of"),
     ("{text: a, left: [x, y, psq], right: 3}", "must be"),
     ("{text: a, left: 3, right: [x, y, stoi]}", "left must be")],
)
def test_wrong_rules_are_refused_by_number(tmp_path, rule, message):
    path = tmp_path / "checks.yaml"
    path.write_text(f"checks:\n  - {rule}\n")
    with pytest.raises(UsageError, match=rf"checks\.yaml: check 1: .*{message}"):
        read_rules(path)


def test_the_rules_that_ship_can_be_read(root):
    rules = read_rules(root / "conf" / "checks" / "mini.yaml")
    assert len(rules) == 12
    assert rules[0].compare == ">=" and rules[0].margin == 5.0
    assert rules[8].right == 10.0
