"""Printed results of others: in columns of their own, beside our lip readers, on real data alone."""

import pytest

from avsr.errors import UsageError
from avsr.scoring.elsewhere import lip_reading_table, read_rows
from avsr.scoring.published import read_published
from avsr.scoring.report import Run, score_tables
from avsr.scoring.results import Provenance, Results, write_scores
from avsr.scoring.tables import System, order

ORIGIN = Provenance("s1", "real", "cmd", "abc")
V = System("eg_v", "EG-seq2seq V", "recognise", inputs="V")
AV = System("eg_av", "EG-seq2seq AV", "recognise", inputs="AV")


@pytest.fixture()
def results(tmp_path):
    for system in ("eg_v", "eg_av"):
        rows = {f"u{k}": {"words": 6, "word_errors": 3, "chars": 20, "char_errors": 2} for k in range(3)}
        write_scores(tmp_path / "exp" / system / "seed0/clean/scores.tsv", rows, ORIGIN)
    return Results.read(tmp_path / "exp", "s1", "real")


def test_ours_and_theirs_never_share_a_column(results):
    table = lip_reading_table("grid", "s1", "", results, [V, AV])
    assert table.header[2:] == ["WER %", "CER %", "paper: WER %", "paper: CER %"]
    (ours, *theirs) = table.rows
    assert ours[0] == "EG-seq2seq V" and ours[2:] == ["50.0 [50.0, 50.0]", "10.0 [10.0, 10.0]", "–", "–"]
    assert len(theirs) == len(read_rows("grid")) and all(row[2:4] == ["–", "–"] and row[1] for row in theirs)
    lipnet = next(row for row in theirs if row[0].startswith("LipNet"))
    assert lipnet[4] == "4.8" and "speakers" in lipnet[1]


def test_nothing_of_it_where_no_lips_were_read_or_nothing_is_listed(results):
    assert lip_reading_table("grid", "s1", "", results, [AV]) is None
    assert lip_reading_table("lrs3", "lrs3", "", results, [V]) is None


@pytest.mark.parametrize("synthetic", [True, False])
def test_results_of_generated_faces_do_not_stand_beside_them(results, synthetic):
    run = Run("grid", "s1", "real", synthetic, (V, AV))
    tables = score_tables(run, results, order(results, run.systems), read_published())
    found = [table.title for table in tables if table is not None and "in print" in table.title]
    assert len(found) == (not synthetic)


def test_a_wrong_key_is_named(tmp_path):
    (tmp_path / "grid.yaml").write_text("rows: [{name: A, source: B, protocol: C, word_errors: '1'}]\n")
    with pytest.raises(UsageError, match="word_errors"):
        read_rows("grid", tmp_path)
