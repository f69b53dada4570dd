"""Stages 2 to 4 run again with other options: nothing of the earlier run passes for the new one."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from avsr.media.landmarks import find_predictor
from avsr.storage.arrays import Store
from tests.media.clips import face_clip, tone, write_clip
from tests.stages.test_crop_stage import failures, make_data
from tests.stages.test_crop_stage import run as run_crop
from tests.stages.test_extract_mix import SPLITS, make_split, noises, pictures, run_extract, run_mix


@pytest.fixture
def face(tmp_path) -> Path:
    return write_clip(tmp_path / "face.mpg", face_clip(25), sound=tone(1, 44100))


@pytest.fixture
def faceless(tmp_path) -> Path:
    return write_clip(tmp_path / "none.mpg", np.full_like(face_clip(25), 90), sound=tone(1, 44100))


def test_a_box_after_landmarks_takes_their_place(tmp_path, face, faceless):
    """What the search for faces dropped is there with a box; and back again, no crop of the box is left."""
    data = make_data(tmp_path / "data" / "test", {"s1-face": face, "s1-none": faceless})
    out = tmp_path / "video" / "test"
    box = ["--set=crop.detect.backend=box", "--set=crop.box=[100, 212, 120, 232]"]
    assert run_crop(data, tmp_path / "video", "--max-fail-rate=0.5") == 0
    found = Store(out / "crop80").read("s1-face")
    assert Store(out / "crop80").keys() == ["s1-face"] and list(failures(out)) == ["s1-none"]
    assert run_crop(data, tmp_path / "video", *box) == 0
    boxed = Store(out / "crop80").read("s1-face")
    assert Store(out / "crop80").keys() == ["s1-face", "s1-none"] and failures(out) == {}
    assert not (out / "landmarks").exists() and (boxed != found).any()
    assert run_crop(data, tmp_path / "video", "--max-fail-rate=0.5") == 0
    assert (Store(out / "crop80").read("s1-face") == found).all() and list(failures(out)) == ["s1-none"]
    assert run_crop(data, tmp_path / "video", *box) == 0
    assert (Store(out / "crop80").read("s1-face") == boxed).all() and failures(out) == {}


def test_another_predictor_under_the_same_name_is_noticed(tmp_path, face, capsys):
    data, predictor = make_data(tmp_path / "data" / "test", {"s1-face": face}), tmp_path / "predictor.dat"
    option = f"--set=crop.detect.predictor={predictor}"
    assert run_crop(data, tmp_path / "video", option) == 2
    said = capsys.readouterr().err
    assert f"{predictor}: there is no such file" in said and said.count("\n") == 1
    shutil.copyfile(find_predictor(), predictor)
    assert run_crop(data, tmp_path / "video", option) == 0
    predictor.write_text("no model\n")
    capsys.readouterr()
    assert run_crop(data, tmp_path / "video", option) == 1
    said = capsys.readouterr().err
    assert f"{predictor}: is no 68-point shape predictor" in said and said.count("\n") == 1


def test_the_crops_say_which_pictures_there_are(tmp_path):
    """Landmarks of an earlier run may hold fewer clips."""
    make_split(tmp_path, "test", clips=1)
    pictures(tmp_path / "dump/video/test/landmarks", {"s6-c0": 20})
    pictures(tmp_path / "dump/video/test/crop80", {"s6-c0": 20, "s7-c0": 20})
    assert run_extract(tmp_path, "test") == 0
    assert Store(tmp_path / "dump/audio/test/wave").keys() == ["s6-c0", "s7-c0"]


def test_lists_of_another_configuration_go_when_lists_are_written(tmp_path):
    for split in SPLITS:
        make_split(tmp_path, split, clips=2)
        assert run_extract(tmp_path, split) == 0
    option = f"--noise-dir={noises(tmp_path / 'noise')}"
    assert run_mix(tmp_path, option) == 0
    kept = (tmp_path / "data/test_noisy/speech_0dB.jsonl").read_bytes()
    assert run_mix(tmp_path, option, "--set=mix.test_snrs_enhance=[0]", "--set=mix.test_snrs_recognise=[3]") == 0
    names = {path.name for path in (tmp_path / "data/test_noisy").iterdir()}
    assert names == {"natural_0dB.jsonl", "speech_0dB.jsonl", "own_0dB.jsonl", "babble_3dB.jsonl"}
    assert (tmp_path / "data/test_noisy/speech_0dB.jsonl").read_bytes() == kept
    assert {path.stem for path in (tmp_path / "data/valid_noisy").iterdir()} == {"train_like", "babble", "clean"}
