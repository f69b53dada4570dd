"""The validator of data directories: each kind of damage gets its line, by name."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from avsr import check
from avsr.storage.datadir import Utterance, write_datadir
from tests.media.clips import tone, write_clip


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "good.mp4", pictures(25), codec="mpeg4", sound=tone(1.0, 44100), sound_codec="aac")
    write_clip(folder / "few.mp4", pictures(3), codec="mpeg4", sound=tone(0.12, 44100), sound_codec="aac")
    write_clip(folder / "late.mp4", pictures(25), codec="mpeg4", sound=tone(1.5, 44100), sound_codec="aac")
    write_clip(folder / "mute.mp4", pictures(25), codec="mpeg4")
    (folder / "text.mp4").write_text("this is no video\n")
    (folder / "empty.mp4").touch()
    return folder


def utterance(clips, utt: str, clip: str = "good") -> Utterance:
    return Utterance(utt, utt.split("-")[0], "BIN BLUE", clips / f"{clip}.mp4", None, 1.0, sex="m")


def said(folder, capsys, *options) -> list[str]:
    code = check.main([str(folder), *options])
    lines = capsys.readouterr().out.splitlines()
    assert code == int(not lines[-1].endswith(" 0 problems"))
    return lines


def test_nothing_is_wrong(clips, tmp_path, capsys):
    write_datadir(tmp_path, [utterance(clips, utt) for utt in ("s1-a", "s1-b", "s10-a", "s2-a")])
    assert said(tmp_path, capsys) == [f"{tmp_path}: 4 utterances, 0 problems"]


@pytest.mark.parametrize(
    ("clip", "line"),
    [
        ("few", "few.mp4: 3 frames at 25 a second; 5 are needed"),
        ("late", "sound lasts 1.5"),
        ("mute", "mute.mp4: has no sound"),
        ("text", "text.mp4: "),
        ("empty", "empty.mp4: is empty"),
        ("gone", "gone.mp4: "),
    ],
)
def test_files(clips, tmp_path, capsys, clip, line):
    write_datadir(tmp_path, [utterance(clips, "s1-a"), utterance(clips, "s1-b", clip)])
    head, found = said(tmp_path, capsys)
    assert head == f"{tmp_path}: 2 utterances, 1 problems"
    assert found.startswith("s1-b: ") and line in found
    assert said(tmp_path, capsys, "--fast") == [f"{tmp_path}: 2 utterances, 0 problems"]


def test_sound_without_video(clips, tmp_path, capsys):
    sound = replace(utterance(clips, "s1-a"), video=None, audio=clips / "good.mp4")
    write_datadir(tmp_path, [sound])
    assert said(tmp_path, capsys)[1:] == ["s1-a: has no video in video.scp"]


@pytest.mark.parametrize(
    ("table", "change", "line"),
    [
        ("text", lambda text: text.replace("s1-b BIN BLUE\n", ""), "text: s1-b is missing"),
        ("text", lambda text: text + "s3-a BIN\n", "text: s3-a is not in utt2spk"),
        ("text", lambda text: text.replace("s1-b BIN BLUE", "s1-b "), "text: s1-b has no words"),
        ("wav.scp", lambda text: text + text.splitlines()[-1] + "\n", "wav.scp line 4: s2-a is doubled"),
        ("wav.scp", lambda text: "".join(sorted(text.splitlines(True), reverse=True)), "is out of order"),
        ("wav.scp", lambda text: text.replace("\n", " |\n"), "has a pipe"),
        ("utt2dur", lambda text: text.replace("s1-b 1.000", "s1-b 0"), "utt2dur: s1-b lasts '0'"),
        ("utt2dur", lambda text: text.replace("s1-b 1.000", "s1-b long"), "utt2dur: s1-b lasts 'long'"),
        (
            "utt2spk",
            lambda text: text.replace("s1-b s1", "s1-b s2"),
            "utt2spk: s1-b does not start with its speaker s2",
        ),
        ("spk2utt", lambda text: text.replace("s1-a s1-b", "s1-a"), "spk2utt: does not agree with utt2spk"),
        ("spk2gender", lambda text: text.replace("s2 m", "s2 male"), "spk2gender: s2 male"),
    ],
)
def test_tables(clips, tmp_path, capsys, table, change, line):
    write_datadir(tmp_path, [utterance(clips, utt) for utt in ("s1-a", "s1-b", "s2-a")])
    path = tmp_path / table
    path.write_text(change(path.read_text()))
    assert any(line in one for one in said(tmp_path, capsys, "--fast"))


@pytest.mark.parametrize("table", ["text", "wav.scp", "utt2dur", "spk2utt", "utt2spk"])
def test_a_table_that_is_not_there(clips, tmp_path, capsys, table):
    write_datadir(tmp_path, [utterance(clips, "s1-a")])
    (tmp_path / table).unlink()
    assert any(f"{tmp_path / table} is missing" in line for line in said(tmp_path, capsys, "--fast"))


def test_several_folders_are_checked_and_one_is_enough_to_fail(clips, tmp_path, capsys):
    for name in ("good", "bad"):
        write_datadir(tmp_path / name, [utterance(clips, "s1-a" if name == "good" else "s2-a")])
    shutil.rmtree(tmp_path / "bad")
    assert check.main(["--fast", str(tmp_path / "bad"), str(tmp_path / "good")]) == 1
    assert f"{tmp_path / 'good'}: 1 utterances, 0 problems" in capsys.readouterr().out
