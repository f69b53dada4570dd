"""Utterances that are parts of a long clip: stages 2 and 3 see what lies there in the whole clip, and nothing else."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from avsr.check import main as check
from avsr.stages import crop, extract, prepare
from avsr.stages.shards import read_failed
from avsr.storage import plan
from avsr.storage.arrays import Store
from avsr.storage.datadir import Utterance, read_datadir, write_datadir
from tests.corpora.lrs_layout import make_lrs3, put_clip, spoken
from tests.media.clips import face_clip, write_clip
from tests.stages.tiny import one_line

BOX = ("--set=crop.detect.backend=box", "--set=crop.box=[72,184,56,168]")
PARTS = {"v-1-00": (0.4, 1.4), "v-1-01": (1.64, 2.4)}


def utterance(utt, clip, part=None):
    return Utterance(utt, "v", "A B", clip, None, part[1] - part[0] if part else 2.4, part=part)


def run(work, utts, *options):
    write_datadir(work / "data/train", utts)
    places = [f"--data={work}/data/train"]
    code = crop.main([*places, f"--out={work}/dump/video", *options])
    return code or extract.main([*places, f"--video={work}/dump/video", f"--out={work}/dump/audio"])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    face = face_clip(60)
    sound = (0.1 * np.random.default_rng(0).standard_normal((38400, 1))).astype(np.float32)
    return write_clip(
        tmp_path_factory.mktemp("clips") / "long.mp4", face, codec="libx264", sound=sound, rate=16000, sound_codec="aac"
    )


@pytest.fixture(scope="module")
def made(clip, tmp_path_factory):
    """The stores of the whole clip and of its parts, with fixed crops and with landmarks."""
    works = {}
    for name, options in (("box", BOX), ("faces", ())):
        works[name] = tmp_path_factory.mktemp(name)
        utts = [utterance("v-1", clip), *(utterance(utt, clip, part) for utt, part in PARTS.items())]
        assert run(works[name], utts, *options) == 0
    return works


@pytest.mark.parametrize("utt", PARTS)
def test_pictures_and_sound_are_those_of_the_part(made, utt):
    first, end = (round(25 * seconds) for seconds in PARTS[utt])
    crops = Store(made["box"] / "dump/video/train/crop112")
    assert np.array_equal(crops.read(utt), crops.read("v-1")[first:end])
    wave = Store(made["box"] / "dump/audio/train/wave")
    expected = wave.read("v-1")[640 * first : 640 * end]
    assert wave.shape(utt) == (640 * (end - first),)
    np.testing.assert_allclose(wave.read(utt), expected - expected.mean(), atol=1e-3)
    assert Store(made["box"] / "dump/audio/train/mel_htk").shape(utt) == (4 * (end - first), 80)


@pytest.mark.parametrize("utt", PARTS)
def test_landmarks_are_those_of_the_part(made, utt):
    first, end = (round(25 * seconds) for seconds in PARTS[utt])
    store = Store(made["faces"] / "dump/video/train/landmarks")
    apart = np.abs(store.read(utt) - store.read("v-1")[first:end])
    assert len(apart) == end - first and np.median(apart) < 1.5  # detected at other pictures


def test_nothing_is_done_twice_and_a_moved_part_is_made_again(clip, tmp_path, capsys):
    parts = [utterance(utt, clip, part) for utt, part in PARTS.items()]
    assert run(tmp_path, parts, *BOX) == 0
    assert run(tmp_path, parts, *BOX) == 0 and "0 ok, 0 failed, 2 skipped" in capsys.readouterr().out
    before = Store(tmp_path / "dump/video/train/crop112").read("v-1-00")
    moved = replace(parts[0], part=(0.48, 1.48))  # as long as before
    assert run(tmp_path, [moved, parts[1]], *BOX) == 0
    after = Store(tmp_path / "dump/video/train/crop112").read("v-1-00")
    assert np.array_equal(after[:-2], before[2:]) and not np.array_equal(after, before)


def test_a_part_behind_the_end_is_dropped_and_the_check_says_so(clip, tmp_path, capsys):
    utts = [utterance("v-1-00", clip, (0.4, 1.4)), utterance("v-1-01", clip, (1.6, 2.8))]
    assert run(tmp_path, utts, *BOX) == 0
    (row,) = read_failed(tmp_path / "dump/video/train")
    assert row["utterance"] == "v-1-01" and row["message"].startswith(f"{clip}: has no picture 60 at 25 fps")
    assert Store(tmp_path / "dump/audio/train/wave").keys() == ["v-1-00"]
    capsys.readouterr()
    assert check([str(tmp_path / "data/train")]) == 1
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.endswith("2 utterances, 1 problems") and lines[0].startswith(f"v-1-01: {clip}: has no picture 60")


def test_a_disk_without_room_is_refused_before_anything_is_made(clip, tmp_path, capsys, monkeypatch):
    def free(bytes_):
        monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: SimpleNamespace(free=bytes_))

    parts = [utterance(utt, clip, part) for utt, part in PARTS.items()]
    seconds = sum(end - start for start, end in PARTS.values())
    needed = round(seconds * (160_000 + 313_600 + 64_000 + 64_000 + 51_200)) + 2 * 6 * plan.EACH
    free(needed - 1)
    assert run(tmp_path, parts, *BOX) == 1
    said = one_line(capsys)
    assert f"{tmp_path}/dump: stages 2, 3 and 5 store 1.2 MB more, 1.2 MB are free" in said
    assert not (tmp_path / "dump/video/train").exists()
    free(needed)
    assert run(tmp_path, parts, *BOX) == 0
    assert "1.2 MB in all, of which 1.2 MB are not there yet" in capsys.readouterr().out
    free(round(seconds * 51_200) + 2 * plan.EACH)  # features are still to come
    assert run(tmp_path, parts, *BOX) == 0
    assert run(tmp_path, parts, *BOX, "--set=pretrain.features=null") == 0
    assert "1.1 MB in all, of which 0.0 MB are not there yet" in capsys.readouterr().out


def test_words_of_a_part_are_heard_and_seen_when_its_table_says(tmp_path):
    """LRS3 from its folder on: a clip that is loud and bright while a word is spoken."""
    corpus = make_lrs3(tmp_path / "lrs3")
    words = spoken("A LONG ONE", 0.56, 0.48, 0.12) + spoken("AND MORE", 4.2, 0.48, 0.12)
    path = put_clip(corpus, "pretrain/vid_long/00007", "A LONG ONE AND MORE", words, frames=200)
    bright = np.full((200, 32, 32, 3), 60, np.uint8)
    loud = 1e-3 * np.random.default_rng(0).standard_normal((8 * 16000, 1)).astype(np.float32)
    for _, start, end in words:
        bright[round(start * 25) : round(end * 25)] = 180
        loud[round(start * 16000) : round(end * 16000)] *= 100
    write_clip(path, bright, codec="libx264", sound=loud, rate=16000, sound_codec="aac")
    options = ["--corpus=lrs", "--protocol=lrs3", f"--corpus-dir={corpus}", f"--out={tmp_path}/data"]
    assert prepare.main([*options, "--set=prepare.longest=4"]) == 0
    box = ("--set=crop.detect.backend=box", "--set=crop.box=[0,32,0,32]")
    assert run(tmp_path, read_datadir(tmp_path / "data/train").values(), *box) == 0
    parts = {utt: row for utt, row in read_datadir(tmp_path / "data/train").items() if row.speaker == "vid_long"}
    assert [row.text for row in parts.values()] == ["A LONG ONE", "AND MORE"]
    crops, waves = (Store(tmp_path / f"dump/{name}") for name in ("video/train/crop112", "audio/train/wave"))
    for utt, row in parts.items():
        shown, heard = crops.read(utt).mean(axis=(1, 2)), waves.read(utt).reshape(-1, 640).std(axis=1)
        spoken_t = np.zeros(len(shown), bool)
        for start, end, _ in row.words:
            spoken_t[round(start * 25) : round(end * 25)] = True
        assert len(shown) == len(heard) == round(row.duration * 25)
        assert shown[spoken_t].min() > 150 > 100 > shown[~spoken_t].max()
        edge = np.convolve(spoken_t, np.ones(3))[1:-1] % 3 != 0  # AAC smears over the ends of words
        assert heard[spoken_t & ~edge].min() > 0.05 > 0.01 > heard[~spoken_t & ~edge].max()
