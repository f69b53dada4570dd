"""What every stage refuses before it works, with one line and its exit code: tables, YAML, devices, folders."""

import ctypes
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from avsr import check
from avsr.stages import crop, enhance, extract, joint, mix, prepare, pretrain, recognise, score
from avsr.storage.atomic import write_json
from avsr.storage.datadir import UNSEEN
from tests.stages.tiny import SPEAKERS, contents, make_tables, make_work, one_line, run_extract

MAINS = (prepare, crop, extract, mix, pretrain, enhance, recognise, joint, score)
ROOT = Path(__file__).resolve().parents[2]
UTT = "s5-c0"  # the first of the test split


@pytest.fixture
def work(tmp_path):
    return make_tables(tmp_path / "work", clips=2, frames=5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A work folder after stage 4, which nobody changes."""
    return make_work(tmp_path_factory.mktemp("finished"), clips=2, frames=5)


def arguments(work, *more):
    """The options of all nine stages."""
    splits = ["--data", *(str(work / "data" / split) for split in SPEAKERS)]
    audio = ["--data", f"{work}/data", "--audio", f"{work}/dump/audio", "--out", f"{work}/dump"]
    own = [
        ["--corpus", "mini", "--out", f"{work}/data"],
        [*splits, "--out", f"{work}/dump/video"],
        [*splits, "--video", f"{work}/dump/video", "--out", f"{work}/dump/audio"],
        audio,
        *[["--work-dir", str(work)]] * 5,
    ]
    return [[*words, *more] for words in own]


def edited(path, old, new):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


TABLES = {
    "transcript missing": ("text", b"s5-c0 BIN BLUE AT F TWO NOW\n", b"", f"text: {UTT} is missing"),
    "transcript not UTF-8": ("text", b"BIN", b"B\xcdN", "text: is not UTF-8 text; convert it"),
    "id with ../": ("text", b"s5-c0", b"../s5-c0", "text line 1: utterance id '../s5-c0': use only letters"),
    "id with a space": ("wav.scp", b"s5-c0", b" s5 c0", "wav.scp line 1: utterance id '': use only letters"),
    "id doubled": ("utt2spk", b"s5-c1 s5\n", b"s5-c0 s5\n", f"utt2spk line 2: {UTT} is doubled; each id stands once"),
    "scp unsorted": ("wav.scp", b"s5-c0", b"s5-c3", "wav.scp line 2: s5-c1 is out of order; sort with LC_ALL=C sort"),
    "length no number": ("utt2dur", b"0.200", b"short", f"utt2dur: {UTT} lasts 'short'"),
    "word times not UTF-8": ("ctm", b"BIN", b"B\xcdN", "ctm: is not UTF-8 text; convert it"),
    "word times cut short": ("ctm", b" BIN", b"", "ctm line 1: must read 'utterance channel start duration word'"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_bad_table_ends_the_stage_and_nothing_is_lost(work, case, capsys):
    name, old, new, message = TABLES[case]
    assert run_extract(work) == 0
    before = contents(work / "dump")
    edited(work / "data/test" / name, old, new)
    capsys.readouterr()
    for main, words in zip((crop, extract), arguments(work)[1:], strict=False):
        assert main.main(words) == 1
        said = one_line(capsys)
        assert f"{work}/data/test/{message}" in said
    assert contents(work / "dump") == before
    assert check.main(["--fast", str(work / "data/test")]) == 1  # the validator finds it too
    assert f"{work}/data/test/{name}" in capsys.readouterr().out


def test_an_scp_with_a_pipe_is_refused_and_not_run(work, capsys):
    for name in ("wav.scp", "video.scp"):
        path = work / "data/test" / name
        before = path.read_bytes()
        path.write_text(f"{UTT} touch {work}/ran; cat {work}/corpus/s5-c0.wav |\n")
        for main, words in zip((crop, extract), arguments(work)[1:], strict=False):
            assert main.main(words) == 1
            assert f"{name} line 1: {UTT} has a pipe; commands are refused, name a file" in one_line(capsys)
        path.write_bytes(before)
    assert not (work / "ran").exists()


def test_an_utterance_in_two_splits_is_refused_by_every_stage_that_sees_both(work, capsys):
    assert run_extract(work) == 0
    before = contents(work / "dump")
    for path in (work / "data/train").iterdir():
        if path.name != "spk2utt":
            lines = [line for line in path.read_text().splitlines(True) if line.startswith("s2-c1")]
            table = work / "data/test" / path.name
            table.write_text("".join(lines) + table.read_text())
    (work / "data/test/spk2utt").write_text("s2 s2-c1\ns5 s5-c0 s5-c1\ns6 s6-c0 s6-c1\n")
    capsys.readouterr()
    for main, words in zip((crop, extract, mix), arguments(work)[1:], strict=False):
        assert main.main(words) == 1
        said = one_line(capsys)
        assert f"{work}/data/test/utt2spk: s2-c1 stands in {work}/data/train too; an utterance has one split" in said
    assert contents(work / "dump") == before
    folders = [str(work / "data" / split) for split in SPEAKERS]
    assert check.main(["--fast", *folders]) == 1
    assert f"{work}/data/test/utt2spk: s2-c1 stands in {work}/data/train too" in capsys.readouterr().out


@pytest.mark.parametrize("unseen", [True, False])
def test_a_tested_speaker_in_training_is_refused_where_the_protocol_tests_unseen_ones(work, capsys, unseen):
    write_json(work / "data/splits.json", {"protocol": "toy", UNSEEN: True} if unseen else {"protocol": "s1"})
    path = work / "data/train/utt2spk"
    before = path.read_text()
    path.write_text(before.replace("s2-c1 s2", "s2-c1 s5"))
    for main, words in zip((crop, extract, mix), arguments(work)[1:], strict=False):
        code = main.main(words)
        said = capsys.readouterr().err
        where = f"{path}: s2-c1 is of s5, who is tested in {work}/data/test; this protocol tests unseen speakers"
        assert (where in said) == unseen and (code == 1 or not unseen) and said.count("\n") <= 1
    path.write_text(before)


YAML = {
    "unknown key": ("crop: {windw80: 3}", "r.yaml: crop: unknown key 'windw80'; did you mean 'window80'?"),
    "unknown key, deep": (
        "crop: {detect: {evry: 3}}",
        "r.yaml: crop.detect: unknown key 'evry'; did you mean 'every'?",
    ),
    "unknown section": ("crp: {}", "r.yaml: unknown key 'crp'; did you mean 'crop'?"),
    "wrong type": ("crop: {window80: wide}", "r.yaml: crop.window80: must be a number, not 'wide'"),
    "no mapping": ("crop: []", "r.yaml: crop: must be a mapping of keys, not []"),
    "not YAML": ("crop: {", "r.yaml: not valid YAML"),
    "not UTF-8": ("crop: \udcff", "r.yaml: not valid YAML"),
    "an object": ("crop: !!python/object/apply:os.mkdir [ran]", "r.yaml: not valid YAML"),
    "missing file": (None, "r.yaml: there is no such configuration file"),
}


@pytest.mark.parametrize("case", YAML)
def test_a_bad_configuration_is_a_usage_error_that_names_the_file(work, case, capsys, monkeypatch):
    monkeypatch.chdir(work)
    text, message = YAML[case]
    if text is not None:
        (work / "r.yaml").write_text(text, errors="surrogateescape")
    assert crop.main([*arguments(work)[1], "--config", str(work / "r.yaml")]) == 2
    assert f"{work}/{message}" in one_line(capsys)
    assert not (work / "ran").exists()


CRN = "systems: [audio_only_crn]"
SYSTEMS = {
    "unknown system": ("systems: [mhca_avcrm]", "no system 'mhca_avcrm'; near names: mhca_avcrn"),
    "unknown preset": (f"{CRN}, preset: huge", "no preset 'huge'; there is base, small, tiny"),
    "unknown key of a training": (CRN + ", train: {avse: {bach: 1}}", "unknown key 'bach'; did you mean 'batch'"),
    "wrong type of a training": (CRN + ", train: {avse: {lr: fast}}", "avse.yaml.lr: must be a number, not 'fast'"),
    "wrong value of a noise": (CRN + ", noise: {avse: {p_noise: 2}}", "p_noise, p_speech and p_own must lie between 0"),
}


@pytest.mark.parametrize("case", SYSTEMS)
def test_a_bad_configuration_of_a_training_is_found_before_it_starts(finished, tmp_path, case, capsys):
    text, message = SYSTEMS[case]
    (tmp_path / "r.yaml").write_text(f"enhance: {{{text}}}")
    assert enhance.main(["--work-dir", str(finished), "--config", str(tmp_path / "r.yaml")]) == 2
    assert message in one_line(capsys)
    assert not (finished / "exp/audio_only_crn").exists()


@pytest.mark.parametrize("stage", [enhance, recognise, joint, score])
def test_systems_with_a_name_that_is_none(finished, stage, capsys):
    assert stage.main(["--work-dir", str(finished), "--systems", "audio_only_crn eg_aw"]) == 2
    assert one_line(capsys).startswith(f"{stage.__name__.split('.')[-1]}: no system 'eg_aw'; near names: eg_a")


def test_claims_that_are_not_there_are_refused_before_anything_is_scored(finished, capsys):
    assert score.main(["--work-dir", str(finished), "--set=score.claims=[ae_mrs]"]) == 2
    assert one_line(capsys) == "score: score.claims: there are no claims 'ae_mrs'; there is ae_msr, mhca_avcrn\n"


def test_every_stage_refuses_a_device_that_is_not_there(finished, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = contents(finished)
    for main, words in zip(MAINS, arguments(finished, "--device", "cuda"), strict=True):
        assert main.main(words) == 2, main.__name__
        assert one_line(capsys).endswith("--device cuda: no such CUDA device is there; use --device cpu\n")
    for device in ("cud", "cpu:x", "cuda:", "cuda:x", "cuda0"):
        assert enhance.main(["--work-dir", str(finished), "--device", device]) == 2
        assert f"--device {device}: must be cpu or cuda" in one_line(capsys)
    assert contents(finished) == before


def test_a_device_with_a_number_that_is_not_there(finished, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    words = ["--work-dir", str(finished), "--set=enhance.systems=[]"]
    assert enhance.main([*words, "--device", "cuda:1"]) == 0
    assert enhance.main([*words, "--device", "cuda:2"]) == 2
    assert "--device cuda:2: no such CUDA device" in one_line(capsys)


ALL = """import importlib, json, sys
for name, words in json.loads(sys.argv[1]):
    print("code", importlib.import_module("avsr.stages." + name).main(words), flush=True)
"""


def as_ordinary_user():
    """For a child process: without the right of root to write where permissions forbid it.

    Like an ordinary user's process, but it can still read root's own files (this checkout, the interpreter)."""
    drop_from_bounding_set, may_write_anywhere = 24, 1
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(drop_from_bounding_set, may_write_anywhere)


def ordinary(*command):
    return subprocess.run(command, preexec_fn=as_ordinary_user, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture
def locked(finished):
    """The finished work folder, all of it read-only."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (finished, *finished.rglob("*"))}
    for path, mode in modes.items():
        path.chmod(mode & 0o555)
    try:
        if ordinary("touch", str(finished / "x")).returncode == 0:
            pytest.skip("permissions do not bind here, and the right to pass them over cannot be given up")
        yield finished
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def test_a_read_only_work_folder_is_one_line_of_every_stage(locked):
    before = contents(locked)
    names = [main.__name__.rpartition(".")[2] for main in MAINS]
    jobs = json.dumps(list(zip(names, arguments(locked), strict=True)))
    done = ordinary(sys.executable, "-c", ALL, jobs)
    assert [line for line in done.stdout.splitlines() if line.startswith("code")] == ["code 1"] * 9
    lines = done.stderr.splitlines()
    assert len(lines) == 9, done.stderr
    for name, line in zip(names, lines, strict=True):
        assert line.startswith(f"{name}: {locked}") and line.endswith("; free space or rights, then run again")
        assert "Permission denied" in line
    assert contents(locked) == before
