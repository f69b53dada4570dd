"""Words of lip readers: confusions and extremes against a loop, and the tables of the best one."""

import pytest

from avsr.errors import AvsrError
from avsr.rng import rng
from avsr.scoring.confusions import confused_pairs, read_words, word_tables, words_by_accuracy, write_words
from avsr.scoring.results import Provenance, Results, write_scores
from avsr.scoring.tables import System

P3D, MT = System("p3d50", "C3D-P3D50", "lipread"), System("chung_mt", "MT", "lipread")


def test_words_round_trip(tmp_path):
    heard = {"s2-b.0": ("BIN", "PIN"), "s1-a.3": ("RED", "RED")}
    write_words(tmp_path / "words.tsv", heard)
    assert (tmp_path / "words.tsv").read_text() == "utt\tword\ttaken_for\ns1-a.3\tRED\tRED\ns2-b.0\tBIN\tPIN\n"
    assert read_words(tmp_path / "words.tsv") == [("RED", "RED"), ("BIN", "PIN")]
    for text in ("", "other\n", "utt\tword\ttaken_for\ns1-a.3\tRED\n"):
        (tmp_path / "words.tsv").write_text(text)
        with pytest.raises(AvsrError, match=r"words\.tsv: damaged list of words; delete it"):
            read_words(tmp_path / "words.tsv")


def test_confusions_are_those_of_a_loop_over_all_pairs():
    draw, words = rng("confusions"), list("ABCDEF")
    pairs = [(words[draw.integers(6)], words[draw.integers(6)]) for _ in range(400)]
    expected = []
    for word in words:
        for taken in words:
            times = sum(pair == (word, taken) for pair in pairs)
            if word != taken and times:
                expected.append((word, taken, times, sum(pair[0] == word for pair in pairs)))
    expected.sort(key=lambda row: row[2] / row[3], reverse=True)
    found = confused_pairs(pairs, 30)
    assert sorted(found) == sorted(expected)
    assert [row[2] / row[3] for row in found] == [row[2] / row[3] for row in expected]
    for word, right, clips in words_by_accuracy(pairs):
        assert (right, clips) == (pairs.count((word, word)), sum(pair[0] == word for pair in pairs))


def test_order_where_shares_are_equal():
    pairs = [("B", "A")] * 2 + [("B", "B")] * 2 + [("A", "C"), ("A", "A"), ("C", "A"), ("C", "C"), ("D", "D")]
    assert confused_pairs(pairs) == [("B", "A", 2, 4), ("A", "C", 1, 2), ("C", "A", 1, 2)]
    assert words_by_accuracy(pairs) == [("D", 1, 1), ("A", 1, 2), ("B", 2, 4), ("C", 1, 2)]


def put(exp, system, pairs, seed=0):
    folder = exp / system / f"seed{seed}" / "words"
    rows = {f"u{k:02}": {"top1": int(word == taken), "top5": 1} for k, (word, taken) in enumerate(pairs)}
    write_scores(folder / "scores.tsv", rows, Provenance("mini", "tiny", "./run.sh", "abc"))
    write_words(folder / "words.tsv", {f"u{k:02}": pair for k, pair in enumerate(pairs)})


def test_the_tables_are_of_the_best_lip_reader_and_of_all_its_seeds(tmp_path):
    put(tmp_path, "chung_mt", [("BIN", "LAY"), ("LAY", "BIN")])
    put(tmp_path, "p3d50", [("BIN", "PIN"), ("BIN", "BIN"), ("PIN", "PIN")])
    put(tmp_path, "p3d50", [("BIN", "PIN"), ("BIN", "BIN"), ("PIN", "PIN")], seed=1)
    confused, words = word_tables(tmp_path, Results.read(tmp_path, "mini", "tiny"), [MT, P3D], " (synthetic)")
    assert confused.title.endswith("(synthetic)") and confused.rows == [["BIN", "PIN", "2 of 4"]]
    assert words.rows == [["PIN", "100.0", "2 of 2"], ["BIN", "50.0", "2 of 4"]]
    assert "Of C3D-P3D50, the best" in confused.notes[0] and "chance is 50.0 %" in words.notes[0]


def test_of_many_words_the_ends_are_shown(tmp_path):
    put(tmp_path, "p3d50", [(f"W{k:02}", f"W{k if k < 12 else 0:02}") for k in range(15)])
    _, words = word_tables(tmp_path, Results.read(tmp_path, "mini", "tiny"), [P3D])
    assert [row[0] for row in words.rows] == [f"W{k:02}" for k in (0, 1, 2, 3, 4, 10, 11, 12, 13, 14)]
    assert words.notes[0].endswith("Between the 5 at either end lie 5 more.")


def test_without_a_lip_reader_there_is_no_table(tmp_path):
    assert word_tables(tmp_path, Results.read(tmp_path, "mini", "tiny"), [P3D]) == []
