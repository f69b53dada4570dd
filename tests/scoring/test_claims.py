"""Claims over many cells on hand-made results, and the claims of AE-MSR on its own printed numbers."""

import numpy as np
import pytest

from avsr.errors import UsageError
from avsr.scoring.claims import claim_table, judge, read_claims
from avsr.scoring.published import read_published
from avsr.scoring.results import Provenance, Results, Scores
from avsr.scoring.tables import Table

ORIGIN = Provenance("mini", "tiny", "cmd", "abc")


def results(cells: dict) -> Results:
    """(system, test set) -> errors of utterances of 10 words each."""
    return Results({key: {0: Scores(tuple(f"u{k}" for k in range(len(errors))),
                                    {"word_errors": np.array(errors, float), "words": np.full(len(errors), 10.0)},
                                    {}, ORIGIN)} for key, errors in cells.items()})


def claims(tmp_path, cells: str):
    (tmp_path / "mine.yaml").write_text(f"claims:\n  - {{text: one below two, cells: [{cells}]}}\n")
    return read_claims("mine", tmp_path)


def table(tmp_path, cells: str, measured: dict) -> Table:
    return claim_table("Claims", judge(results(measured), claims(tmp_path, cells)), {"a": "System A", "b": "System B"})


CELLS = "{pairs: [[a, b]], sets: [clean, babble_0dB, babble_-5dB], metric: wer}"


def test_a_claim_that_fails_in_one_cell_does_not_hold_and_names_it(tmp_path):
    clearly, barely = [1, 1, 1, 1], [0, 4, 3, 2]
    made = table(tmp_path, CELLS, {
        ("a", "clean"): clearly, ("b", "clean"): [3, 4, 3, 4],  # -25.0, clear
        ("a", "babble_0dB"): barely, ("b", "babble_0dB"): [3, 3, 3, 3],  # -7.5, not clear
        ("a", "babble_-5dB"): [4, 4, 4, 4], ("b", "babble_-5dB"): [3, 3, 3, 3],  # +10.0: fails
    })
    (row,) = made.rows
    cell = "System A - System B, babble -5 dB: +10.0 [+10.0, +10.0]"
    assert row == ["one below two", "**does not hold**", "2 of 3; clear in 1", cell, cell, "none", "1"]


def test_a_claim_that_no_cell_clearly_decides_cannot_be_told(tmp_path):
    clearly, barely = {("a", "clean"): [1, 1, 1, 1], ("b", "clean"): [3, 4, 3, 4]}, [0, 4, 3, 2]
    for against in ([3, 3, 3, 3], [2, 2, 2, 2]):  # -7.5 and +2.5, both with zero inside
        measured = clearly | {("a", "babble_0dB"): barely, ("b", "babble_0dB"): against}
        (row,) = table(tmp_path, CELLS, measured).rows
        assert row[1] == "**cannot be told** where measured" and "clear in 1" in row[2]


def test_a_claim_holds_where_it_holds_in_all_that_was_measured(tmp_path):
    measured = {("a", "clean"): [1, 2], ("b", "clean"): [3, 3], ("a", "babble_0dB"): [1, 1]}
    (row,) = table(tmp_path, CELLS, measured).rows
    assert row[1:3] == ["**holds** where measured", "1 of 1; clear in 1"] and row[4:] == ["none", "2", "1"]
    assert row[3].startswith("System A - System B, clean: -15.0")


def test_a_claim_without_a_measured_cell_is_not_measured(tmp_path):
    (row,) = table(tmp_path, CELLS, {("a", "clean"): [1]}).rows
    assert row[1:] == ["not measured", "–", "–", "–", "3", "–"]


def test_margins_other_directions_and_another_set_on_the_right(tmp_path):
    cells = ("{pairs: [[a, b]], sets: [babble_0dB], right_set: clean, metric: wer, compare: '<=', margin: 2}, "
             "{pairs: [[a, b]], sets: [babble_0dB], right_set: clean, metric: wer, compare: '>=', margin: -2}")
    (near,) = table(tmp_path, cells, {("a", "babble_0dB"): [2, 2], ("b", "clean"): [2, 2]}).rows
    assert near[1:3] == ["**holds**", "2 of 2; clear in 2"]
    (far,) = table(tmp_path, cells, {("a", "babble_0dB"): [1, 1], ("b", "clean"): [2, 2]}).rows
    assert far[1:3] == ["**does not hold**", "1 of 2; clear in 1"]
    assert far[4] == "System A - System B, babble 0 dB and clean: -10.0 [-10.0, -10.0] (asked >= -2)"


@pytest.mark.parametrize(("cells", "message"), [
    ("{pairs: [[a, b]], sets: [clean]}", "cells need pairs, sets, metric"),
    ("{pairs: [[a, b]], on: [clean], metric: wer}", "cells need pairs, sets, metric .* True"),
    ("{pairs: [[a, b]], sets: [clean], metric: wre}", "unknown metric 'wre'"),
    ("{pairs: [[a, b]], sets: [clean], metric: wer, compare: '=='}", "compare must be one of"),
    ("{pairs: [[a]], sets: [clean], metric: wer}", r"\['a'\] must be"),
    ("wer", "cells need pairs, sets, metric"),
])  # fmt: skip
def test_wrong_claims_are_refused_by_number(tmp_path, cells, message):
    with pytest.raises(UsageError, match=rf"mine\.yaml: claim 1: .*{message}"):
        claims(tmp_path, cells)


def test_a_name_without_claims_is_refused():
    with pytest.raises(UsageError, match="there are no claims 'ae_mrs'; there is ae_msr, mhca_avcrn"):
        read_claims("ae_mrs")


def test_the_numbers_of_seeds_are_printed_and_differences_are_of_their_means(tmp_path):
    measured = {("a", "clean"): [1, 1], ("b", "clean"): [4, 4], ("unprocessed", "clean"): [5, 5]}
    made = {key: dict(by_seed) for key, by_seed in results(measured).scores.items()}
    made["a", "clean"][1] = results({("a", "clean"): [3, 3]}).scores["a", "clean"][0]
    (claim,) = claims(tmp_path, "{pairs: [[a, b], [a, unprocessed]], sets: [clean], metric: wer}")
    (judged,) = judge(Results(made), [claim])
    assert judged.seeds == (1, 2)
    assert [round(cell.difference.value, 6) for cell in judged.cells] == [-20.0, -30.0]
    (row,) = claim_table("Claims", [judged], {}).rows
    assert row[-1] == "1 to 2"


def test_the_claims_of_mhca_avcrn_on_its_own_numbers():
    """What is printed agrees with every claim but (b): STOI in natural noise at -5 dB, and a tie by Table 2; (c): PESQ
    of AV(SE)² beside a talker at 0 dB; and a tie by Table 1 at the bottom of the order of Table 2."""
    numbers, against, cells = read_published(), [], 0
    for claim in read_claims("mhca_avcrn"):
        for rule in claim.rules:
            left, right = (numbers.cell(*side).split(" / ") for side in (rule.left, rule.right))
            assert rule.compare == ">" and rule.margin == 0
            cells += 1
            if not all(float(one) > float(other) for one in left for other in right):
                against.append((claim.text.split()[0], *rule.left[1:]))
    assert against == [
        ("(b)", "natural_-5dB", "stoi"), ("(b)", "natural_0dB", "pesq_raw"), ("(c)", "speech_0dB", "pesq_raw"),
        ("Table", "natural_0dB", "pesq_raw"), ("Table", "natural_0dB", "pesq_raw"),
    ]  # fmt: skip
    assert cells == 4 * 10 + 2 * 4 + 3 * 16


def test_the_order_of_the_ablations_is_from_none_to_full():
    """Each part alone is the system without the other; the pairs make one chain, in the same cells for both metrics."""
    claims = [claim for claim in read_claims("mhca_avcrn") if claim.text.startswith("Table 2")]
    assert len(claims) == 4
    for number, claim in enumerate(claims):
        metric, full = ("stoi", "pesq_raw")[number % 2], "mhca_avcrn" + ("_gate" if number > 1 else "")
        chain = ["mhca_avcrn_wo_2stage", f"{full}_wo_balancing", f"{full}_wo_filtering", full]
        found = [(rule.right[0], rule.left[0]) for rule in claim.rules if rule.left[1] == "natural_0dB"]
        assert found == list(zip(chain, chain[1:], strict=False)) and {rule.left[2] for rule in claim.rules} == {metric}
        assert {rule.left[1] for rule in claim.rules} == {f"{kind}_{snr}dB" for kind in ("speech", "natural")
                                                          for snr in (-5, 0)}  # fmt: skip


def test_the_claims_of_ae_msr_hold_on_its_own_numbers():
    """Every cell is printed, and every claim follows from what is printed: a mistyped cell would break one."""
    numbers = read_published()
    for claim in read_claims("ae_msr"):
        for rule in claim.rules:
            left, right = (float(numbers.cell(*side)) for side in (rule.left, rule.right))
            gap = round(left - right, 6)
            assert {"<": gap < rule.margin, "<=": gap <= rule.margin, ">": gap > rule.margin,
                    ">=": gap >= rule.margin}[rule.compare], rule  # fmt: skip
