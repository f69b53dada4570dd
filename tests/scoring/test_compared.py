"""Table 3 of MHCA-AVCRN on hand-made scores: what we measured, what is printed and what that implies stay apart."""

import numpy as np

from avsr.scoring.compared import QUANTITIES, compared_table
from avsr.scoring.published import read_published
from avsr.scoring.results import Provenance, Results, Scores
from avsr.scoring.tables import System

ORIGIN = Provenance("G", "small", "cmd", "abc")
OVA, L2L = System("ova", "OVA", "enhance"), System("l2l", "L2L", "enhance")
OVA_AS_PUBLISHED = System("ova_faithful", "OVA (as published)", "enhance")
MHCA, VSE = System("mhca_avcrn", "MHCA-AVCRN", "enhance"), System("vse", "VSE", "enhance")


def results(cells: dict) -> Results:
    """(system, test set) -> PESQ of each utterance."""
    return Results({key: {0: Scores(tuple(f"u{k}" for k in range(len(pesq))), {"pesq_raw": np.array(pesq)}, {}, ORIGIN)}
                    for key, pesq in cells.items()})  # fmt: skip


MEASURED = {
    ("unprocessed", "natural_-5dB"): [1.0, 2.0],
    ("ova", "natural_-5dB"): [1.5, 2.5],
    ("ova_faithful", "natural_-5dB"): [1.25, 2.25],
    ("mhca_avcrn", "natural_-5dB"): [1.75, 2.75],
}


def test_every_quantity_has_columns_of_its_own():
    table = compared_table(" (synthetic)", results(MEASURED), [VSE, OVA, OVA_AS_PUBLISHED, L2L, MHCA], read_published())
    assert table.title.endswith("(MHCA-AVCRN Table 3) (synthetic)")
    assert table.header[1:] == [f"{what}, {snr} dB" for what in QUANTITIES for snr in (-5, 0)]
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows) == ["OVA", "OVA (as published)", "L2L", "MHCA-AVCRN"]  # VSE is of Table 1
    assert rows["OVA"] == ["2.00 [1.50, 2.50]", "–", "+0.50 [+0.50, +0.50]", "–", "+0.25 [+0.25, +0.25]", "–",
                           "0.21", "0.06", "2.51", "3.02"]  # fmt: skip
    assert rows["OVA (as published)"][2] == "+0.25 [+0.25, +0.25]" and rows["OVA (as published)"][6:] == ["–"] * 4
    assert rows["L2L"] == ["–"] * 6 + ["0.26", "0.19", "2.46", "2.89"]
    assert rows["MHCA-AVCRN"][2:] == ["+0.75 [+0.75, +0.75]"] + ["–"] * 7
    assert table.notes[-1] == "Not run: L2L."
    assert "here the row MHCA-AVCRN (gate)" in table.notes[-2]


def test_a_run_without_its_systems_has_no_such_table():
    assert compared_table("", results(MEASURED), [VSE, MHCA], read_published()) is None


def test_systems_that_were_not_run_are_named_without_empty_rows():
    made = compared_table("", results({}), [OVA, L2L], read_published())
    assert not made.rows and made.notes == ["Not run: OVA, L2L."]
