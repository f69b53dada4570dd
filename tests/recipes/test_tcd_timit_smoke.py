"""The TCD-TIMIT recipe at --preset smoke: generated sentences in its layout, through nine stages to a table."""

import json
import shutil

import pytest
import yaml

from avsr.corpora import mini_tcd
from avsr.corpora.tcd_timit import TEST
from avsr.scoring.results import read_csv, read_scores
from avsr.storage.datadir import OTHER_CAMERA
from tests.recipes.test_smoke import run, run_with

CONF = mini_tcd.MiniTcdConf(volunteers=4, tested=2, sentences=4)


@pytest.fixture(scope="module")
def work(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tcd_timit")
    mini_tcd.make_corpus(folder / "corpus", CONF, nj=2)
    options = ("--recipe", "tcd_timit", "--protocol", "all", "--corpus-dir", folder / "corpus")
    done = run(root, "--preset", "smoke", "--nj", 2, "--work-dir", folder / "work", *options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder / "work"


def test_every_system_is_scored(work):
    scored = {(row["system"], row["test_set"], row["metric"]) for row in read_csv(work / "results.csv")}
    assert {
        ("unprocessed", "speech_-5dB", "stoi"),
        ("mhca_avcrn", "natural_-5dB", "stoi"),
        ("ova+audio", "speech_-5dB", "stoi"),
        ("ae_tcn", "babble_-5dB", "energy_linear"),
        ("eg_av", "babble_-5dB", "wer"),
        ("eg_vav_tcn", "clean", "wer"),
        ("p3d50", "words", "top1"),
    } <= scored


def test_what_stage_9_writes_is_called_synthetic(work):
    text = (work / "RESULTS.md").read_text()
    assert all("synthetic" in line for line in text.splitlines() if line.startswith("#"))


def test_phone_errors_are_called_so_and_stand_beside_no_printed_word_errors(work):
    text = (work / "RESULTS.md").read_text()
    table = text.split("### Recognition: phone error rate %, babble (synthetic)")[1].split("###")[0]
    assert "EG-seq2seq AV" in table and "paper:" not in table
    named = [line for line in text.splitlines() if line.startswith(("#", "![", "| condition", "| word", "| System"))]
    assert named and not [line for line in named if "WER" in line or "CER" in line or "word" in line]
    assert "paper:" in text.split("### Enhancement: STOI %")[1].split("###")[0]  # of the same thing


def test_speakers_are_unseen_and_phones_are_what_is_said(work):
    splits = json.loads((work / "data/splits.json").read_text())
    speakers = {name: {utt.split("-")[0] for utt in splits[name]} for name in ("train", "valid", "test")}
    assert splits["protocol"] == "all" and speakers["test"] <= {*TEST}
    assert not speakers["train"] & (speakers["valid"] | speakers["test"])
    assert splits["text"] == "phones"
    said = {phone for line in (work / "data/train/text").read_text().splitlines() for phone in line.split()[1:]}
    assert {"AH", "T", "IY"} <= said and "SIL" not in said


def test_both_cameras_are_in_every_split_and_are_seen(work):
    splits = json.loads((work / "data/splits.json").read_text())
    for name in ("train", "valid", "test"):
        views = {utt.endswith(OTHER_CAMERA) for utt in splits[name]}
        assert views == {True, False}, name
    scores = read_scores(work / "exp/mhca_avcrn/seed0/natural_-5dB/scores.tsv")
    assert {utt.endswith(OTHER_CAMERA) for utt in scores.utts} == {True, False} and not scores.reasons


def test_pictures_of_29_97_are_taken_at_25_and_the_window_grows_with_the_eyes(work):
    rows = [json.loads(line) for line in (work / "dump/video/test/info.jsonl").read_text().splitlines()]
    for row in rows:
        assert (row["fps"], row["width"], row["height"]) == (29.97, 768, 432)
        assert row["frames"] == pytest.approx(row["sound"] * 25, abs=2)
        assert row["eyes"] == pytest.approx(96, rel=0.2)  # px; 64 in GRID


def test_words_are_read_too_and_by_the_other_recogniser(root, work, tmp_path):
    """The same clips with sentences in the place of phones, and TM-seq2seq, which learns to write their characters."""
    shutil.copytree(work, tmp_path / "work")
    systems = {"recognise": ["tm_av"], "enhance": [], "joint": []}
    conf = {"prepare": {"text": "words"}} | {name: {"systems": listed} for name, listed in systems.items()}
    (tmp_path / "words.yaml").write_text(yaml.safe_dump(conf | {"pretrain": {"systems": []}}))
    options = ("--recipe", "tcd_timit", "--protocol", "all", "--corpus-dir", work.parent / "corpus")
    for stage in (1, 4, 7, 9):
        part = ("--stage", stage, "--stop-stage", stage, "--preset", "smoke", "--nj", 2)
        run_with(root, tmp_path / "words.yaml", *options, *part, "--work-dir", tmp_path / "work")
    said = (tmp_path / "work/data/test/text").read_text().splitlines()
    assert all(word.isalpha() or "'" in word for line in said for word in line.split()[1:])
    rows = {(row["system"], row["test_set"], row["metric"]): row for row in read_csv(tmp_path / "work/results.csv")}
    assert rows["tm_av", "babble_-5dB", "wer"]["scored"] == rows["tm_av", "clean", "cer"]["scored"] == "6"
    text = (tmp_path / "work/RESULTS.md").read_text().split("preset words (synthetic)")[1]
    assert "TM-seq2seq AV" in text.split("### Recognition: WER %, babble")[1].split("###")[0] and "phone" not in text
