"""TCD-TIMIT: which clips are in which split, what they say, mended label faults, and what is refused."""

import json
from pathlib import Path

import pytest

from avsr.check import main as check
from avsr.corpora import tcd_timit
from avsr.corpora.htk_labels import read_phones
from avsr.corpora.timit_text import words_of
from avsr.errors import AvsrError, UtteranceError
from avsr.stages import prepare, train_system
from avsr.stages.shards import read_failed
from avsr.stages.units import work_units
from avsr.storage.arrays import finish_store
from avsr.storage.atomic import write_text
from avsr.storage.datadir import read_datadir
from tests.corpora.tcd_layout import FRAMES, LABELS, SENTENCES, make_tcd_timit, master, put_clip
from tests.stages.tiny import one_line

SECONDS = FRAMES * 1001 / 30000


@pytest.fixture
def corpus(tmp_path):
    return make_tcd_timit(tmp_path / "tcd")


def run(corpus, out, *options, protocol="volunteers"):
    return prepare.main(
        ["--corpus=tcd_timit", f"--protocol={protocol}", f"--corpus-dir={corpus}", f"--out={out}", *options]
    )


def tables(out):
    return {name: read_datadir(out / name) for name in prepare.SPLITS}


def test_volunteers_of_the_test_list_test_and_phones_have_times(corpus, tmp_path):
    assert run(corpus, tmp_path / "data", "--nj=2") == 0
    found = tables(tmp_path / "data")
    assert {utt.speaker for utt in found["test"].values()} == {"13F", "21M"}
    (valid,), (train,) = ({utt.speaker for utt in found[name].values()} for name in ("valid", "train"))
    assert {valid, train} == {"01M", "02F"} and [len(rows) for rows in found.values()] == [3, 3, 6]
    utt = found["test"]["13F-si1001"]
    assert (utt.text, utt.speaker, utt.duration) == ("SH IY HH", "13F", pytest.approx(SECONDS, abs=0.001))
    words = [(round(start, 6), round(end, 6), name) for start, end, name in utt.words]
    assert words == [(0.2, 0.4, "SH"), (0.4, 0.6, "IY"), (0.7, 0.9, "HH")]
    assert (tmp_path / "data/test/spk2gender").read_text() == "13F f\n21M m\n"
    assert all(check([str(tmp_path / "data" / name), "--fast"]) == 0 for name in prepare.SPLITS)


def test_who_validates_depends_on_the_seed_and_lip_speakers_train_where_asked(corpus):
    for number in range(3, 10):
        put_clip(corpus, f"0{number}F", "sa1")
    speakers = tcd_timit.find_clips(corpus, "straight")
    valid = set()
    for seed in range(6):
        split = tcd_timit.make_split("all", speakers, 2, seed)
        assert split == tcd_timit.make_split("all", speakers, 2, seed)
        valid.add(frozenset(clip.speaker for clip in split["valid"]))
        assert "Lipspkr1" in {clip.speaker for clip in split["train"]}
    assert len(valid) > 1 and {len(chosen) for chosen in valid} == {2}
    assert not any(clip.speaker == "Lipspkr1" for clip in tcd_timit.make_split("volunteers", speakers, 2, 0)["train"])


def test_one_speaker_with_the_others_as_competing_talkers_and_both_views_in_one_split(corpus, tmp_path):
    for number in range(10):
        put_clip(corpus, "Lipspkr1", f"sx{number}")
        put_clip(corpus, "Lipspkr1", f"sx{number}", "30degcam")
    labels = {f"Lipspkr1/sx{number}": LABELS for number in range(10)}
    (corpus / "lipspeaker_labelfiles.mlf").write_text(master(labels))
    options = ("--set=prepare.camera=both", "--set=prepare.others=2")
    assert run(corpus, tmp_path / "data", *options, protocol="Lipspkr1") == 0
    found = tables(tmp_path / "data")
    assert [len({utt.removesuffix("_30deg") for utt in rows}) for rows in found.values()] == [11, 1, 1]
    assert sum(len(rows) for rows in found.values()) == 23
    said = [{utt.removesuffix("_30deg") for utt in rows} for rows in found.values()]
    assert not said[0] & (said[1] | said[2])
    others = read_datadir(tmp_path / "data/others")
    assert {utt.speaker for utt in others.values()} == {"01M", "02F", "13F", "21M"} and len(others) == 8


def test_words_are_those_of_a_text_beside_the_clip_or_of_the_prompts(corpus, tmp_path):
    video = put_clip(corpus, "13F", "sa2")
    video.with_suffix(".txt").write_text("0 46797 Don't ask\n46797 60000 me twice.\n")
    for path in corpus.glob("*.mlf"):
        path.unlink()  # labels are not needed
    assert run(corpus, tmp_path / "data", "--set=prepare.text=words") == 0
    test = tables(tmp_path / "data")["test"]
    assert test["13F-sa1"].text == "SHE HAD YOUR DARK BLUE SUIT" and test["13F-sa1"].words == ()
    assert test["13F-sa2"].text == "DON'T ASK ME TWICE" and test["21M-sa2"].text == "DON'T ASK ME"
    assert words_of("“Well--now,” he said; it’s 5.") == "WELL NOW HE SAID IT'S 5"


def test_stage_1_says_whether_phones_or_words_are_read(corpus, tmp_path):
    """Stage 9 asks splits.json; another choice makes the tables anew."""
    said = []
    for text in ("phones", "words", "phones"):
        assert run(corpus, tmp_path / "data", f"--set=prepare.text={text}") == 0
        splits = json.loads((tmp_path / "data/splits.json").read_text())
        first = next(iter(tables(tmp_path / "data")["test"].values())).text
        said.append((splits.get("text", "words"), first))
    assert said == [("phones", "SH IY HH"), ("words", "SHE HAD YOUR DARK BLUE SUIT"), ("phones", "SH IY HH")]


def test_recognisers_of_words_start_with_whole_sentences(corpus, tmp_path, monkeypatch):
    """Stage 7 of the preset words behind its stage 1; the stores between are empty, and nothing is trained."""
    conf, trained = Path(__file__).parents[2] / "egs/tcd_timit/conf", []
    config = [f"--config={conf}/recipe.yaml", f"--config={conf}/words.yaml"]
    assert run(corpus, tmp_path / "data", *config) == 0
    groups = {"groups": {"by": "speaker", "group": {}}, "tracks": []}
    for split in ("train", "valid"):
        finish_store(tmp_path / "dump/audio" / split / "wave", "hdf5", {}, {})
        finish_store(tmp_path / "dump/video_feats" / split, "hdf5", {}, {})
        finish_store(tmp_path / "dump/babble" / split, "hdf5", {}, groups)
    finish_store(tmp_path / "dump/noise", "hdf5", {}, {})
    write_text(tmp_path / "data/noise_splits.json", "{}")
    for name in ("clean", "babble"):
        write_text(tmp_path / f"data/valid_noisy/{name}.jsonl", "")
    monkeypatch.setattr(train_system, "train_many", lambda jobs, nj: trained.extend(jobs))
    monkeypatch.setattr(train_system, "NoiseSources", lambda *args: None)
    assert train_system.train_stage("recognise", "recognise", "", [f"--work-dir={tmp_path}", *config]) == 0
    assert len(trained) == 6 and {job.args["described"]["id"][:3] for job in trained} == {"tm_", "eg_"}
    for job in trained:
        phases = job.args["train"]["phases"]
        assert [(one["name"], one["options"]["words"]) for one in phases] == [("sentences", None), ("noisy", None)]
    units, texts = work_units(tmp_path, "characters", 0), tables(tmp_path / "data")["train"]
    sentences = {utt.text for utt in texts.values()}
    assert sentences == {"SHE HAD YOUR DARK BLUE SUIT", "DON'T ASK ME", "OFTEN HE READS"}
    assert {units.clean(text)[0] for text in sentences} == sentences  # nothing of them is lost


def test_a_clip_without_words_is_dropped(corpus, tmp_path):
    (corpus / "prompts.txt").write_text("She had. (sa1)\nOften. (si1001)\n")
    put_clip(corpus, "13F", "si1001").with_suffix(".txt").write_text("0 5 .\n")
    assert run(corpus, tmp_path / "data", "--set=prepare.text=words", "--max-fail-rate=0.9") == 0
    failed = {row["utterance"]: row["message"] for row in read_failed(tmp_path / "data")}
    assert "no .txt beside it, no prompts.txt names sa2" in failed["21M-sa2"]
    assert "says nothing" in failed["13F-si1001"]


def test_a_clip_folder_without_labels_is_dropped_and_none_at_all_refused(corpus, tmp_path, capsys):
    for sentence in SENTENCES:
        put_clip(corpus, "15F", sentence)
    assert run(corpus, tmp_path / "data") == 3
    assert run(corpus, tmp_path / "data", "--max-fail-rate=0.5") == 0
    failed = {row["utterance"]: row["message"] for row in read_failed(tmp_path / "data")}
    assert sorted(failed) == [f"15F-{sentence}" for sentence in SENTENCES]
    assert "straightcam/sa1.mp4: no label file names 15F/sa1; leave the clip out" in failed["15F-sa1"]
    (corpus / "volunteer_labelfiles.mlf").unlink()
    capsys.readouterr()
    assert run(corpus, tmp_path / "none") == 1
    assert f"{corpus}: has no *labelfiles.mlf" in one_line(capsys)


def test_a_phone_written_twice_is_one_in_the_six_known_files(corpus):
    twice = "0 1000000 d\n1000000 3000000 d\n3000000 4000000 iy\n"
    put_clip(corpus, "28M", "sx337")
    (corpus / "volunteer_labelfiles.mlf").write_text(master({"28M/sx337": twice, "28M/sx338": twice}))
    labels = tcd_timit.Labels(corpus)
    known, other = (tcd_timit.Clip("28M", name, "straight", corpus) for name in ("sx337", "sx338"))
    assert labels.of(known) == ((0.0, 0.3, "d"), (0.3, 0.4, "iy"))
    assert labels.of(other) == ((0.0, 0.1, "d"), (0.1, 0.3, "d"), (0.3, 0.4, "iy"))  # "and did"


def test_a_row_written_twice_is_one_and_61_phones_are_folded(tmp_path):
    rows = ["0 100 h#", "100 200 ax-h", "200 300 bcl", "300 400 b", "300 450 b", "450 500 IX -12.5", "500 600 pau"]
    found = read_phones(tmp_path / "a.mlf", list(enumerate(rows, 1)))
    assert [phone[2] for phone in found] == ["ah", "b", "ih"] and found[1][1] == pytest.approx(450e-7)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["0 100"], "line 1: must read 'start end phone'"),
        (["0 1.5 aa"], "line 1: must read"),
        (["0 100 aa", "200 100 b"], "line 2: b goes from"),
        (["0 100 aa", "50 200 b"], "line 2: b starts before the phone above has ended"),
    ],
)
def test_damaged_labels_are_named_with_their_line(tmp_path, rows, words):
    with pytest.raises(UtteranceError, match=words):
        read_phones(tmp_path / "a.mlf", list(enumerate(rows, 1)))


def test_damaged_labels_and_those_beyond_the_clip_drop_their_clip(corpus, tmp_path):
    labels = {f"{speaker}/{name}": LABELS for speaker in ("01M", "02F", "13F", "21M") for name in SENTENCES}
    late, broken, silent = "0 16000000 aa\n", "0 x aa\n", "0 1000000 sil\n"
    labels |= {"13F/sa1": late, "13F/sa2": broken, "13F/si1001": silent}
    (corpus / "volunteer_labelfiles.mlf").write_text(master(labels))
    assert run(corpus, tmp_path / "data", "--max-fail-rate=0.5") == 0
    failed = {row["utterance"]: row["message"] for row in read_failed(tmp_path / "data")}
    assert "its last label ends at 1.60 s, the clip after 1.20 s" in failed["13F-sa1"]
    assert "volunteer_labelfiles.mlf line" in failed["13F-sa2"] and "has no phone" in failed["13F-si1001"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 1 aa\n", "line 1: a clip is a quoted path"),
        ('#!MLF!#\n"a/01M/sa1.rec"\n0 1 aa\n', "ends within a/01M/sa1.rec"),
        ('"a/01M/sa1.rec"\n"a/01M/sa2.rec"\n', "line 2: a clip is a quoted path"),
    ],
)
def test_a_damaged_master_label_file_is_refused(corpus, text, words):
    (corpus / "volunteer_labelfiles.mlf").write_text(text)
    with pytest.raises(AvsrError, match=words):
        tcd_timit.Labels(corpus)


def test_the_volunteer_of_two_names_is_one_woman(corpus):
    put_clip(corpus, "30M", "SA1")
    (corpus / "volunteer_labelfiles.mlf").write_text(master({"30F/sa1": LABELS}))
    (clip,) = tcd_timit.find_clips(corpus, "straight")["30F"]
    assert (clip.utt, clip.sex) == ("30F-sa1", "f") and tcd_timit.Labels(corpus).of(clip)


def test_speakers_without_the_camera_are_left_out_and_named(corpus, tmp_path, caplog, capsys):
    assert list(tcd_timit.find_clips(corpus, "30deg")) == ["01M"]
    assert f"{corpus}: no clip in 30degcam of: 02F 13F 21M Lipspkr1" in caplog.text
    (utt,) = (clip.utt for clip in tcd_timit.find_clips(corpus, "30deg")["01M"])
    assert utt == "01M-sa1_30deg"
    assert run(corpus, tmp_path / "data", "--set=prepare.camera=30deg") == 1
    said = one_line(capsys)
    assert "0 test speakers and 1 other volunteers, of whom 1 shall validate, have clips in 30degcam: not" in said
    assert "take another prepare.camera" in said
    next(corpus.rglob("30degcam/*.mp4")).unlink()
    assert run(corpus, tmp_path / "data", "--set=prepare.camera=30deg") == 1
    assert f"{corpus}: holds no clip as volunteers/01M/Clips/30degcam/sa1.mp4" in one_line(capsys)


def test_usage(corpus, tmp_path, capsys):
    assert prepare.main(["--corpus=tcd_timit", "--protocol=all", f"--out={tmp_path}/data"]) == 1
    assert "--corpus-dir is missing" in one_line(capsys)
    assert run(tmp_path / "none", tmp_path / "data") == 1 and "there is no such folder" in one_line(capsys)
    assert run(corpus, tmp_path / "data", protocol="60M") == 2
    assert "choose one of: volunteers all 01M 02F 13F 21M Lipspkr1" in capsys.readouterr().err
    assert run(corpus, tmp_path / "data", protocol="01M") == 1
    assert "01M: 3 sentences" in capsys.readouterr().err
    assert run(corpus, tmp_path / "data", "--set=prepare.valid_speakers=0") == 2
    assert "valid_speakers must be 1 at least" in capsys.readouterr().err


def test_a_clip_that_is_there_twice_is_used_once_and_that_is_said(corpus, caplog):
    path = put_clip(corpus, "01M", "sa1")
    path.with_name("SA1.MP4").write_bytes(path.read_bytes())
    assert len(tcd_timit.find_clips(corpus, "straight")["01M"]) == 3
    assert "01M-sa1 is there twice" in caplog.text
