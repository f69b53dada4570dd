"""Two trainings of the same rows, compared by their scores."""

import pytest

from avsr.scoring.results import Provenance, write_scores
from avsr.stages import agree, gather
from avsr.storage.markers import mark

ORIGIN = Provenance("s1", "tiny", "./run.sh", "abc1234", "best.pt", "0123456789ab", tested="asked")


def put(exp, row, stoi, test_set="speech_-5dB", tested="asked", seed=0):
    rows = {f"u{k}": {"stoi": value, "wer": 1.0} for k, value in enumerate(stoi)}
    origin = Provenance(**{**ORIGIN.__dict__, "tested": tested})
    path = exp / row / f"seed{seed}" / test_set / "scores.tsv"
    write_scores(path, rows, origin)
    mark(path.with_name("scores.done.json"), "asked", [path])


@pytest.fixture
def folders(tmp_path):
    put(tmp_path / "a/exp", "crn", [60, 70, 80])
    put(tmp_path / "b/exp", "crn", [60, 70.1, 80])
    return tmp_path / "a", tmp_path / "b" / "exp"


def test_the_same_digits_and_values_within_the_interval(folders, capsys):
    work, other = folders
    put(work / "exp", "mhca", [50, 60, 70])
    put(other, "mhca", [50, 60, 76])  # 62 in [50, 70]
    put(other, "vse", [1, 2, 3])  # is not here
    assert agree.main([f"--work-dir={work}", f"--with={other}"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| `")]
    assert lines == ["| `crn` | 0 | STOI % | 1 | 0 | 0 | 0.0333 |", "| `mhca` | 0 | STOI % | 0 | 1 | 0 | 2 |"]


def test_a_value_outside_ends_with_one_line(folders, capsys):
    work, other = folders
    put(work / "exp", "crn", [60, 61, 62], "own_0dB")
    put(other, "crn", [70, 71, 72], "own_0dB")
    assert agree.main([f"--work-dir={work}", f"--with={other}"]) == 1
    said = capsys.readouterr()
    assert "| `crn` | 0 | STOI % | 1 | 0 | 1 | 10 |" in said.out
    assert "1 values lie outside the interval (first: crn, seed 0, own_0dB, stoi, 61 here, 71 there)" in said.err


def test_what_was_asked_something_else_is_not_compared(folders, tmp_path, capsys):
    work, other = folders
    put(other, "crn", [60, 70, 80], tested="other mixtures")
    assert agree.main([f"--work-dir={work}", f"--with={other}"]) == 1
    said = capsys.readouterr()
    assert "was asked something else" in said.out and "no row and test set in common" in said.err


def test_what_was_gathered_is_no_second_training(folders, capsys):
    work, other = folders
    for row in ("mhca", "mhca+shuffled"):
        put(other, row, [50, 60, 70])
    assert gather.main([f"--work-dir={work}", f"--from={other}"]) == 0
    assert (work / "exp" / "mhca+shuffled" / "seed0" / "speech_-5dB" / "scores.tsv").exists()
    assert agree.main([f"--work-dir={work}", f"--with={other}"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| `")]
    assert lines == ["| `crn` | 0 | STOI % | 1 | 0 | 0 | 0.0333 |"]
