"""The LRW recipe at --preset smoke, on generated words in LRW's layout."""

import pytest

from avsr.corpora.mini_words import MiniWordsConf, make_corpus
from avsr.scoring.results import read_csv
from tests.recipes.test_smoke import run


@pytest.fixture(scope="module")
def work(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lrw")
    make_corpus(folder / "corpus", MiniWordsConf(words=3, train=4, valid=1, test=2), nj=2)
    short = folder / "corpus/lipread_mp4/ABOUT/train/ABOUT_00002.mp4"
    short.write_bytes(short.read_bytes()[: short.stat().st_size // 2])
    options = ("--recipe", "lrw", "--corpus-dir", folder / "corpus", "--preset", "smoke", "--nj", 2)
    done = run(root, *options, "--work-dir", folder / "work")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert [f"=== stage {number} " in done.stdout for number in range(1, 10)] == [True] * 9
    assert "=== stage 3 extract: no work in this recipe, which hears nothing ===" in done.stdout
    return folder / "work"


def test_all_word_classifiers_have_a_row(work):
    rows = {row["system"]: row for row in read_csv(work / "results.csv") if row["metric"] == "top1"}
    assert set(rows) == {"p3d50", "stafylakis", "petridis", "chung_mt"}
    assert all((row["scored"], row["total"]) == ("6", "6") for row in rows.values())
    text = (work / "RESULTS.md").read_text()
    assert all("synthetic" in line for line in text.splitlines() if line.startswith("#"))
    assert "12 train, of which 1 dropped, 3 valid, 6 test: " in text and "Natural interference" not in text


def test_a_clip_cut_short_is_listed(work):
    (line,) = (work / "dump/video/train/failed.tsv").read_text().splitlines()[1:]
    assert line.startswith("ABOUT_train_00002\t") and "ABOUT_00002.mp4" in line
