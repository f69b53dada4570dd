"""LRS3 and LRS2: which clips are in which split, ids, parts of long clips, and what is refused."""

import re

import pytest

from avsr.check import main as check
from avsr.corpora import lrs
from avsr.errors import AvsrError
from avsr.stages import prepare
from avsr.stages.shards import read_failed
from avsr.storage.datadir import SAFE_ID, read_datadir
from tests.corpora.lrs_layout import make_lrs2, make_lrs3, put_clip, spoken, transcript
from tests.stages.tiny import one_line


def run(corpus, out, *options, protocol="lrs3"):
    return prepare.main(
        ["--corpus=lrs", f"--protocol={protocol}", f"--corpus-dir={corpus}", f"--out={out}", *map(str, options)]
    )


def tables(out):
    return {name: read_datadir(out / name) for name in prepare.SPLITS}


def test_lrs3_splits(tmp_path, capsys):
    corpus = make_lrs3(tmp_path / "lrs3")
    assert run(corpus, tmp_path / "data", "--nj=2") == 0
    found = tables(tmp_path / "data")
    held_out = {utt.speaker for utt in found["valid"].values()}
    assert len(held_out) == 1 and len(found["valid"]) == 2  # a tenth of four videos, and one at least
    assert {utt.speaker for utt in found["train"].values()} == {f"vid_{k}-{k}" for k in range(4)} - held_out
    assert sorted(found["test"]) == ["_-test_one-00001", "test_two-00001"]
    clip = found["test"]["_-test_one-00001"]
    assert (clip.speaker, clip.text, clip.words, clip.duration) == ("_-test_one", "WHAT IS SAID", (), 1.0)
    pretrain = {utt for utt in found["train"] if re.search("-p[0-9]{5}$", utt)}
    kept = {"vid_0-0", "vid_1-1"} - held_out
    assert pretrain == {f"{video}-p00001" for video in kept}
    one = found["train"][min(pretrain)]
    assert (one.text, one.part, one.words) == ("ONE TWO", None, ((0.2, 0.4, "ONE"), (0.45, 0.65, "TWO")))
    assert f"1 of 4 videos of trainval validate; {2 - len(kept)} clips of pretrain" in capsys.readouterr().out
    for name in prepare.SPLITS:
        assert check([str(tmp_path / "data" / name), "--fast"]) == 0
        assert not (tmp_path / "data" / name / "segments").exists()


def test_lrs2_splits_are_its_lists(tmp_path):
    corpus = make_lrs2(tmp_path / "lrs2")
    assert run(corpus, tmp_path / "data", protocol="lrs2") == 0
    found = {name: sorted(rows) for name, rows in tables(tmp_path / "data").items()}
    assert found == {
        "train": ["5535-00001", "5535-00002", "5535-p00001", "5535-p00002"],
        "valid": ["5536-00001", "5536-00002"],
        "test": ["5537-00001", "5537-00002"],
    }
    assert tables(tmp_path / "data")["train"]["5535-p00001"].video == corpus / "pretrain/5535/00001.mp4"


def test_who_validates_depends_on_the_seed_and_limits_keep_so_many(tmp_path):
    corpus = make_lrs3(tmp_path / "lrs3", videos=6)
    chosen = set()
    for seed in range(6):
        split = lrs.find_splits(corpus, "lrs3", 2, seed)
        assert split == lrs.find_splits(corpus, "lrs3", 2, seed)
        videos = frozenset(clip.video for clip in split["valid"])
        assert len(videos) == 2 and not videos & {clip.video for clip in split["train"]}
        chosen.add(videos)
    assert len(chosen) > 1
    limits = ["--set=prepare.train=3", "--set=prepare.test=1", "--set=prepare.valid_videos=1"]
    assert run(corpus, tmp_path / "data", *limits) == 0
    assert [len(rows) for rows in tables(tmp_path / "data").values()] == [3, 2, 1]


def test_of_thousands_of_videos_a_few_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(prepare, "NAMED", 2)
    assert run(make_lrs2(tmp_path / "lrs2"), tmp_path / "few", protocol="lrs2") == 0
    assert "train: 4 utterances of 1 speakers: 5535\n" in capsys.readouterr().out
    assert run(make_lrs3(tmp_path / "lrs3"), tmp_path / "data") == 0
    some = r"train: [0-9]+ utterances of 3 speakers: vid_\S+ vid_\S+ \.\.\. vid_\S+\n"
    assert re.search(some, capsys.readouterr().out)


@pytest.mark.parametrize("count, expected", [(9, 1), (40, 4), (4004, 200)])
def test_a_tenth_of_the_videos_at_most_200_validate(tmp_path, monkeypatch, count, expected):
    def clips(corpus, folder):
        return [lrs.Clip(folder, f"{folder}{k}", "00001", corpus / f"{k}") for k in range(count)]

    monkeypatch.setattr(lrs, "_clips", clips)
    (tmp_path / "test").mkdir()
    split = lrs.find_splits(tmp_path, "lrs3", None, 0)
    assert [len(split[name]) for name in ("train", "valid", "test")] == [2 * count - expected, expected, count]


def test_no_two_videos_have_one_id_and_all_are_safe():
    videos = ["-a", "_-a", "__-a", "_a", "a", "a-", "--a", "_--a", "___a"]
    speakers = [lrs.Clip("test", video, "00001", None).speaker for video in videos]
    assert len(set(speakers)) == len(videos)
    assert all(SAFE_ID.fullmatch(speaker) and speaker[0] != "-" for speaker in speakers)
    back = [re.sub("^_(?=_*-)", "", speaker) for speaker in speakers]
    assert back == videos


def long_clip(corpus, video="vid_long", words=True):
    """8 s: two sentences with a pause of 2 s between."""
    table = spoken("A LONG ONE", 0.5, 0.5, 0.1) + spoken("AND MORE", 4.2, 0.5, 0.1)
    return put_clip(corpus, f"pretrain/{video}/00007", "A LONG ONE AND MORE", table if words else None, frames=200)


def test_long_clips_of_pretrain_become_parts(tmp_path):
    corpus = make_lrs3(tmp_path / "lrs3")
    path = long_clip(corpus)
    assert run(corpus, tmp_path / "data", "--set=prepare.longest=4") == 0
    parts = {utt: row for utt, row in tables(tmp_path / "data")["train"].items() if row.speaker == "vid_long"}
    assert sorted(parts) == ["vid_long-p00007-00", "vid_long-p00007-01"]
    first, second = parts["vid_long-p00007-00"], parts["vid_long-p00007-01"]
    assert (first.text, first.part, first.duration) == ("A LONG ONE", (0.28, 2.4), 2.12)
    assert (second.text, second.part, second.video) == ("AND MORE", (4.0, 5.52), path)
    assert second.words == ((0.2, 0.7, "AND"), (0.8, 1.3, "MORE"))
    assert check([str(tmp_path / "data/train"), "--fast"]) == 0
    assert run(corpus, tmp_path / "whole") == 0
    assert tables(tmp_path / "whole")["train"]["vid_long-p00007"].part is None


def test_a_part_of_which_only_a_tag_is_said_is_dropped(tmp_path):
    corpus = make_lrs3(tmp_path / "lrs3")
    words = spoken("A LONG ONE", 0.5, 0.5, 0.1) + spoken("{NS}", 6.0)
    put_clip(corpus, "pretrain/vid_tag/00001", "A LONG ONE {NS}", words, frames=200)
    assert run(corpus, tmp_path / "data", "--set=prepare.longest=3") == 0
    train = tables(tmp_path / "data")["train"]
    assert [row.text for row in train.values() if row.speaker == "vid_tag"] == ["A LONG ONE"]


def test_without_word_times_short_clips_are_whole_and_long_ones_left_out_and_counted(tmp_path, capsys):
    corpus = make_lrs3(tmp_path / "lrs3")
    long_clip(corpus, words=False)
    put_clip(corpus, "pretrain/vid_short/00001", "NO TABLE HERE")
    assert run(corpus, tmp_path / "data", "--set=prepare.longest=4") == 0
    train = tables(tmp_path / "data")["train"]
    assert train["vid_short-p00001"].words == () and train["vid_short-p00001"].text == "NO TABLE HERE"
    assert not any(utt.startswith("vid_long") for utt in train)
    said = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert len(said) == 1 and re.match("train: 1 of [0-9]+ clips last more than 4 s and have no word times", said[0])


def test_a_damaged_clip_costs_itself_alone(tmp_path):
    corpus = make_lrs3(tmp_path / "lrs3", videos=2)
    bad = {
        "00011": ("Conf:  5\n", "has no line 'Text: ...'"),
        "00012": (transcript("A", [("A", 0.5, 0.4)]), "A goes from 0.5 to 0.4 s"),
        "00013": (transcript("A", [("A", 0.5, 1.3)]), "A ends at 1.30 s, the clip after 1.00 s"),
        "00014": (None, "cannot be read"),
        "00015": (transcript("A"), "is empty (0 bytes)"),
    }
    for number, (text, _) in bad.items():
        path = put_clip(corpus, f"pretrain/vid_bad/{number}", "A")
        if text is None:
            path.with_suffix(".txt").unlink()
        else:
            path.with_suffix(".txt").write_text(text)
    path.write_bytes(b"")
    put_clip(corpus, "pretrain/vid_bad/00016", "A", [("A", 0.5, 1.2)])  # as far beyond as sound may be
    assert run(corpus, tmp_path / "data", "--max-fail-rate=0.9") == 0
    failed = {row["utterance"]: row["message"] for row in read_failed(tmp_path / "data")}
    assert sorted(failed) == [f"vid_bad-p{number}" for number in bad]
    for number, (_, words) in bad.items():
        assert words in failed[f"vid_bad-p{number}"] and f"pretrain/vid_bad/{number}." in failed[f"vid_bad-p{number}"]
    kept = [utt for utt in tables(tmp_path / "data")["train"] if utt.startswith("vid_bad")]
    assert kept == ["vid_bad-p00016"]
    assert run(corpus, tmp_path / "data") == 3


def refused(capsys, corpus, out, protocol="lrs3", *options):
    capsys.readouterr()
    assert run(corpus, out, *options, protocol=protocol) == 1
    assert not (out / "train").exists()
    return one_line(capsys)


@pytest.mark.parametrize(
    ("protocol", "words"),
    [("lrs3", "the folders of LRS3 (pretrain, trainval, test)"), ("lrs2", "the folders of LRS2 (pretrain, main)")],
)
def test_a_folder_of_another_layout(tmp_path, capsys, protocol, words):
    (tmp_path / "empty").mkdir()
    said = refused(capsys, tmp_path / "empty", tmp_path / "data", protocol)
    assert f"{tmp_path}/empty: has not {words}; see --corpus-dir" in said
    other = {"lrs3": make_lrs2, "lrs2": make_lrs3}[protocol](tmp_path / "other")
    cure = f"use --protocol {'lrs2' if protocol == 'lrs3' else 'lrs3'}"
    assert cure in refused(capsys, other, tmp_path / "data", protocol)
    assert "there is no such folder" in refused(capsys, tmp_path / "none", tmp_path / "data", protocol)


def test_a_video_of_test_in_training(tmp_path, capsys):
    corpus = make_lrs3(tmp_path / "lrs3")
    put_clip(corpus, "pretrain/test_two/00009", "A")
    said = refused(capsys, corpus, tmp_path / "data")
    assert f"{corpus}: speaker test_two stands in both train and test" in said and "video id" in said


def test_sets_without_clips_and_too_few_videos(tmp_path, capsys):
    corpus = make_lrs3(tmp_path / "lrs3", videos=2)
    said = refused(capsys, corpus, tmp_path / "data", "lrs3", "--set=prepare.valid_videos=2")
    assert "trainval: has 2 videos, of which 2 shall validate; see prepare.valid_videos" in said
    for path in (corpus / "test").rglob("*.mp4"):
        path.rename(path.with_name("clip.mp4"))
    assert f"{corpus}/test: holds no clip" in refused(capsys, corpus, tmp_path / "data")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("5535/00003", "line 3: .*main/5535/00003.mp4 is not there"),
        ("../5535/00001", "line 3: '../5535/00001' must read '<video id>/<5 digits>'"),
        ("5535/00001", "line 3: '5535/00001' must read .* each once"),
        ("5535", "line 3: '5535' must read"),
    ],
)
def test_a_line_of_a_split_list_that_names_no_clip(tmp_path, capsys, line, words):
    corpus = make_lrs2(tmp_path / "lrs2")
    with open(corpus / "train.txt", "a") as file:
        file.write(f"{line}\n")
    assert re.search(f"{corpus}/train.txt {words}", refused(capsys, corpus, tmp_path / "data", "lrs2"))


def test_a_split_list_that_is_missing_or_empty_or_shares_a_clip(tmp_path, capsys):
    corpus = make_lrs2(tmp_path / "lrs2")
    (corpus / "val.txt").write_text("5537/00001\n")
    assert "5537-00001 stands in both valid and test" in refused(capsys, corpus, tmp_path / "data", "lrs2")
    (corpus / "val.txt").write_text("\n")
    assert f"{corpus}/val.txt: names no clip" in refused(capsys, corpus, tmp_path / "data", "lrs2")
    (corpus / "val.txt").unlink()
    assert f"{corpus}/val.txt: cannot be read" in refused(capsys, corpus, tmp_path / "data", "lrs2")


def test_pretrain_may_be_missing(tmp_path, caplog):
    corpus = make_lrs2(tmp_path / "lrs2")
    (corpus / "pretrain").rename(tmp_path / "away")
    split = lrs.find_splits(corpus, "lrs2", None, 0)
    assert {clip.folder for clip in split["train"]} == {"main"} and "pretrain: is not there" in caplog.text


def test_usage(tmp_path, capsys):
    assert prepare.main(["--corpus=lrs", "--protocol=lrs3", f"--out={tmp_path}/data"]) == 1
    assert "--corpus-dir is missing" in one_line(capsys)
    assert run(tmp_path, tmp_path / "data", protocol="lrs4") == 2
    assert "--protocol lrs4: there is no such one; choose one of: lrs3 lrs2" in one_line(capsys)
    assert run(tmp_path, tmp_path / "data", "--set=prepare.pause=20") == 2
    assert "must be 0 < pause < longest" in one_line(capsys)


def test_damaged_lists_are_an_error_of_their_own(tmp_path):
    corpus = make_lrs2(tmp_path / "lrs2")
    (corpus / "test.txt").write_bytes(b"\xff\n")
    with pytest.raises(AvsrError, match="test.txt: is not UTF-8 text"):
        lrs.find_splits(corpus, "lrs2", None, 0)
