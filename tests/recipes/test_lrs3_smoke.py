"""The LRS3 recipe at --preset smoke, on generated sentences in the layouts of LRS3 and of LRS2."""

import json

import pytest

from avsr.corpora import mini_sentences, mini_words
from avsr.scoring.results import read_csv
from tests.recipes.test_smoke import run

SENTENCES = mini_sentences.MiniSentencesConf(pretrain=6, trainval=14, test=8)
WORDS = mini_words.MiniWordsConf(words=3, train=4, valid=1, test=1)


def run_recipe(root, folder, *more):
    done = run(root, "--preset", "smoke", "--nj", 2, "--work-dir", folder, *more)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def frontend(root, tmp_path_factory):
    """The front-end that the LRW recipe hands on."""
    folder = tmp_path_factory.mktemp("lrw")
    mini_words.make_corpus(folder / "corpus", WORDS, nj=2)
    words = ("--recipe", "lrw", "--corpus-dir", folder / "corpus", "--systems", "p3d50", "--stop-stage", 5)
    run_recipe(root, folder / "work", *words)
    return folder / "work/exp/frontend.pt"


@pytest.fixture(scope="module")
def work(root, tmp_path_factory, frontend):
    folder = tmp_path_factory.mktemp("lrs3")
    mini_sentences.make_corpus(folder / "corpus", SENTENCES, nj=2)
    options = ("--recipe", "lrs3", "--corpus-dir", folder / "corpus", "--frontend", frontend)
    run_recipe(root, folder / "work", *options)
    return folder / "work"


def test_every_system_has_a_row(work):
    rows = {row["system"] for row in read_csv(work / "results.csv")}
    assert rows == {"ae_1drn", "ae_tcn", "tm_a", "tm_av", "eg_a", "eg_av", "eg_gru_v", "eg_large_v", "tm_va_1drn",
                    "eg_vav_tcn", "unprocessed", "oracle", "oracle_mask"}  # fmt: skip


def test_what_stage_9_writes_is_called_synthetic(work):
    text = (work / "RESULTS.md").read_text()
    assert all("synthetic" in line for line in text.splitlines() if line.startswith("#"))


def test_no_video_stands_in_two_splits(work):
    splits = json.loads((work / "data/splits.json").read_text())
    videos = {name: {utt[:11] for utt in splits[name]} for name in ("train", "valid", "test", "heldout")}
    assert not videos["train"] & (videos["test"] | videos["heldout"]) and not videos["valid"] & videos["test"]


def test_energy_errors_are_measured_on_windows_that_no_training_saw_too(work):
    heldout = [row for row in read_csv(work / "results.csv") if row["test_set"].startswith("heldout")]
    assert {row["system"] for row in heldout} == {"ae_1drn", "ae_tcn", "unprocessed", "oracle", "oracle_mask"}
    assert {row["test_set"] for row in heldout} == {f"heldout_babble_{snr}dB" for snr in (-5, 0, 5)}
    count = len(json.loads((work / "data/splits.json").read_text())["heldout"])
    assert 1 <= count <= 3 and {row["total"] for row in heldout} == {str(count)}
    assert "(AE-MSR Table 4), held-out windows (synthetic)" in (work / "RESULTS.md").read_text()


def test_lrs2_runs_by_its_lists(root, tmp_path, frontend):
    conf = mini_sentences.MiniSentencesConf("lrs2", pretrain=4, trainval=6, test=3, valid=3)
    mini_sentences.make_corpus(tmp_path / "corpus", conf, nj=2)
    options = ("--recipe", "lrs3", "--protocol", "lrs2", "--corpus-dir", tmp_path / "corpus", "--frontend", frontend)
    run_recipe(root, tmp_path / "work", *options, "--stop-stage", 5)
    listed = {name: (tmp_path / f"corpus/{name}.txt").read_text().split() for name in ("val", "test")}
    splits = json.loads((tmp_path / "work/data/splits.json").read_text())
    assert splits["protocol"] == "lrs2"
    assert {utt.replace("-", "/") for utt in splits["valid"]} == {*listed["val"]}
    assert {utt.replace("-", "/") for utt in splits["test"]} <= {*listed["test"]} and len(splits["test"]) == 3
    assert (tmp_path / "work/dump/video_feats/test/store.json").exists()
