"""Gains over a reference on hand-made scores: paired over utterances, and how many seeds agree."""

import numpy as np

from avsr.scoring.differences import difference_tables, gains
from avsr.scoring.figures import gains as draw
from avsr.scoring.figures import save
from avsr.scoring.results import Provenance, Results, Scores
from avsr.scoring.tables import System

ORIGIN = Provenance("s1", "study", "cmd", "abc")
ROWS = [System("ref", "REF", "enhance"), System("a", "A", "enhance"), System("eg_v", "V", "recognise")]


def results(cells: dict) -> Results:
    """(system, test set) -> seed -> STOI of each utterance."""
    return Results({
        key: {seed: Scores(tuple(f"u{k}" for k in range(len(stoi))), {"stoi": np.array(stoi)}, {}, ORIGIN)
              for seed, stoi in by_seed.items()}
        for key, by_seed in cells.items()
    })  # fmt: skip


# Seed by seed a is 3 above and 1 below; utterance by utterance, over the seeds, 1 above everywhere.
MEASURED = {
    ("ref", "own_-5dB"): {0: [50.0, 60.0, 70.0], 1: [52.0, 62.0, 72.0]},
    ("a", "own_-5dB"): {0: [53.0, 63.0, 73.0], 1: [51.0, 61.0, 71.0]},
    ("a", "natural_-5dB"): {0: [1.0, 2.0, 3.0]},
    ("eg_v", "own_-5dB"): {0: [0.0, 0.0, 0.0]},
}


def test_a_gain_is_paired_and_says_which_seeds_agree():
    found = gains(results(MEASURED), ROWS, "ref", "stoi")
    assert list(found) == ["own_-5dB"] and list(found["own_-5dB"]) == ["a"]
    gain = found["own_-5dB"]["a"]
    assert (gain.difference.value, gain.difference.low, gain.difference.high) == (1.0, 1.0, 1.0)
    assert (gain.agree, gain.seeds) == (1, 2)


def test_tables_of_what_was_measured():
    (table,) = difference_tables(" (synthetic)", results(MEASURED), ROWS, ["ref", "never_run"])
    assert table.title == "Enhancement: STOI, points above REF (synthetic)"
    assert (table.header, table.rows) == (["System", "own -5 dB"], [["A", "+1.0 [+1.0, +1.0] (1/2)"]])
    backwards = difference_tables("", results(MEASURED), ROWS, ["a"])[0]
    assert backwards.rows == [["REF", "-1.0 [-1.0, -1.0] (1/2)"]]


def test_the_figure_is_small_and_the_same_each_time(tmp_path):
    panels = {"own -5 dB": [("A", 1.0, 0.5, 1.5), ("B", -1.0, -2.0, 0.0)], "speech -5 dB": [("B", 0.0, -1.0, 1.0)]}
    for name in ("one.png", "two.png"):
        save(draw(panels, "STOI, points above REF"), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").stat().st_size < 40_000
