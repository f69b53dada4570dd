"""Windows of pretrain that no training sees: of which videos, how long, and who is left to train."""

import pytest

from avsr.storage.datadir import HELDOUT, read_datadir
from tests.corpora.lrs_layout import make_lrs3, put_clip, spoken
from tests.corpora.test_lrs import run

TEXT = "ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE TEN ELEVEN TWELVE"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """12 clips of 8 s with a pause, each of its own video of pretrain; four of the videos are trainval's too."""
    folder = make_lrs3(tmp_path_factory.mktemp("corpus") / "lrs3")
    names = TEXT.split()
    words = spoken(" ".join(names[:10])) + spoken(" ".join(names[10:]), start=4.0, each=1.2, gap=0.1)
    words += spoken("BYE", start=7.5, each=0.3)
    for video in [f"vid_{k}-{k}" for k in range(4)] + [f"pre_{k}" for k in range(8)]:
        put_clip(folder, f"pretrain/{video}/00002", f"{TEXT} BYE", words, frames=200)
    return folder


def tables(corpus, out, heldout):
    assert run(corpus, out, f"--set=prepare.heldout={heldout}", "--set=prepare.valid_videos=1") == 0
    names = ("train", "valid", "test", *([HELDOUT] if heldout else []))
    assert (out / HELDOUT).exists() == bool(heldout)
    return {name: read_datadir(out / name) for name in names}


def speakers(rows):
    return {row.speaker for row in rows.values()}


def test_videos_that_validate_come_first_and_training_loses_nothing(corpus, tmp_path):
    without = tables(corpus, tmp_path / "without", 0)
    found = tables(corpus, tmp_path / "with", 2)
    assert len(found[HELDOUT]) == 2 and speakers(found[HELDOUT]) == speakers(found["valid"])
    assert found["train"].keys() == without["train"].keys()


def test_then_whole_videos_are_taken_from_training_at_most_a_tenth(corpus, tmp_path, capsys):
    found = tables(corpus, tmp_path / "data", 1000)
    said = capsys.readouterr().out
    assert "heldout: 4 windows of 2 to 6 s (asked: 1000); videos of pretrain that no training sees: 2" in said
    (taken,) = speakers(found[HELDOUT]) - speakers(found["valid"])  # of 11 that train
    assert taken not in speakers(found["train"])
    assert not found[HELDOUT].keys() & set().union(*(found[name] for name in ("train", "valid", "test")))


def test_windows_are_cut_at_pauses_and_none_is_short(corpus, tmp_path):
    rows = tables(corpus, tmp_path / "data", 1000)[HELDOUT].values()
    assert all(2 <= row.duration <= 6 for row in rows)
    assert {row.text for row in rows} == {" ".join(TEXT.split()[:10]), f"{' '.join(TEXT.split()[10:])} BYE"}
    assert all(row.part and row.part[1] - row.part[0] == pytest.approx(row.duration) for row in rows)


def test_without_windows_an_earlier_run_s_are_taken_away(corpus, tmp_path):
    tables(corpus, tmp_path / "data", 2)
    tables(corpus, tmp_path / "data", 0)
