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
    rubbish = pictures(25)
    rubbish[:4] = 130
    rubbish[2:4, 20:24, 20:24] = 200  # what moved
    write_clip(folder / "rubbish.mp4", rubbish, codec="mpeg4", sound=tone(1.0, 44100), sound_codec="aac")
    write_clip(folder / "silent.mp4", pictures(25), codec="mpeg4", sound=tone(1.0, 44100) * 0, sound_codec="aac")
    whole = write_clip(folder / "whole.mpg", pictures(25), sound=tone(1.0, 44100)).read_bytes()
    (folder / "half.mpg").write_bytes(whole[: len(whole) // 2])
    write_clip(folder / "shorter.mpg", pictures(15), sound=tone(0.6, 44100))
    return folder


def utterance(clips, utt: str, clip: str = "good.mp4", seconds: float = 1.0) -> Utterance:
    return Utterance(utt, utt.split("-")[0], "BIN BLUE", clips / clip, None, seconds, sex="m")


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
        ("few.mp4", "few.mp4: 3 frames at 25 a second; 5 are needed"),
        ("late.mp4", "sound lasts 1.5"),
        ("mute.mp4", "mute.mp4: has no sound"),
        ("silent.mp4", "silent.mp4: is silent"),
        ("text.mp4", "text.mp4: "),
        ("empty.mp4", "empty.mp4: is empty"),
        ("gone.mp4", "gone.mp4: "),
        ("rubbish.mp4", "rubbish.mp4: 4 of 25 pictures are grey rubbish"),
        ("half.mpg", "half.mpg: the video breaks off after "),
        ("shorter.mpg", "lasts 0.60 s, in utt2dur 1.00 s"),
    ],
)
def test_files(clips, tmp_path, capsys, clip, line):
    seconds = 0.12 if clip == "few.mp4" else 1.0
    write_datadir(tmp_path, [utterance(clips, "s1-a"), utterance(clips, "s1-b", clip, seconds)])
    head, found = said(tmp_path, capsys)
    assert head == f"{tmp_path}: 2 utterances, 1 problems"
    assert found.startswith("s1-b: ") and line in found
    assert said(tmp_path, capsys, "--fast") == [f"{tmp_path}: 2 utterances, 0 problems"]


def test_sound_without_video(clips, tmp_path, capsys):
    sound = replace(utterance(clips, "s1-a"), video=None, audio=clips / "good.mp4")
    write_datadir(tmp_path, [sound])
    assert said(tmp_path, capsys)[1:] == ["s1-a: has no video in video.scp"]


def test_an_assumed_length_is_no_fault(clips, tmp_path, capsys):
    """Stage 1 writes 3 s where there is no alignment; with word times 3 s are meant so."""
    long = utterance(clips, "s1-a", seconds=3.0)
    write_datadir(tmp_path, [long])
    line = "s1-a: lasts 1.00 s, in utt2dur 3.00 s; copy it again or mend utt2dur"
    assert check.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path}: 1 utterances, 0 problems", f"remark: {line}"]
    write_datadir(tmp_path, [replace(long, words=((0.1, 0.5, "BIN"),))])
    assert said(tmp_path, capsys) == [f"{tmp_path}: 1 utterances, 1 problems", line]


def test_whole_videos_are_not_called_rubbish(clips):
    """A fade, a dark clip and a plain background are no damage."""
    fade = (pictures(40) * np.minimum(np.arange(40) / 5, 1)[:, None, None, None]).astype(np.uint8)
    plain = np.full((25, 48, 64, 3), 60, np.uint8)
    plain[:, 16:32, 20:40] = pictures(25)[:, 16:32, 20:40]
    for name, shown in (("fade", fade), ("dark", pictures(25) // 8), ("plain", plain)):
        clip = write_clip(clips / f"{name}.mp4", shown, codec="mpeg4", sound=tone(len(shown) / 25, 44100))
        assert check.look_at_clip(str(clip), str(clip)) == ([], len(shown) / 25), name
    grey = write_clip(clips / "grey.mp4", np.full((25, 48, 64, 3), 128, np.uint8), codec="mpeg4")
    assert check.look_at(grey) == (25, 25)


def test_all_faults_are_said_and_the_files_looked_at_all_the_same(clips, tmp_path, capsys):
    write_datadir(
        tmp_path, [utterance(clips, f"s1-{name}") for name in "abcd"] + [utterance(clips, "s2-a", "mute.mp4")]
    )
    good = clips / "good.mp4"
    (tmp_path / "wav.scp").write_text(
        f"s1-a {good}\ns1-c touch {tmp_path}/ran; cat x |\ns1-b {good}\ns1-d\ns1-d {good}\ns2-a {clips}/mute.mp4\n"
    )
    (tmp_path / "text").write_bytes(b"s1-a BIN\ns1-b \xff\n../x BIN\ns1-c BIN\ns1-d BIN\ns2-a BIN\n")
    (tmp_path / "ctm").write_text("s1-a 1 0.1 0.2 BIN\ns1-a 1 soon 0.2 BIN\ns1-b 1 0.1\n")
    (tmp_path / "spk2utt").unlink()
    head, *lines = said(tmp_path, capsys)
    wav, text, ctm = (tmp_path / name for name in ("wav.scp", "text", "ctm"))
    expected = [
        f"{text} line 2: is not UTF-8",
        f"{text} line 3: utterance id '../x'",
        f"{wav} line 2: s1-c has a pipe",
        f"{wav} line 3: s1-b is out of order",
        f"{wav} line 4: s1-d names no file",
        f"{wav} line 5: s1-d is doubled",
        f"{tmp_path}/spk2utt is missing",
        f"{ctm} line 2: must read",
        f"{ctm} line 3: must read",
        f"{text}: s1-b is missing",
        f"s2-a: {clips}/mute.mp4: has no sound",
    ]
    assert head == f"{tmp_path}: 5 utterances, {len(expected)} problems"
    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected
    assert not (tmp_path / "ran").exists()


def test_files_are_looked_at_where_utt2spk_is_not_there(clips, tmp_path, capsys):
    write_datadir(tmp_path, [utterance(clips, "s1-a", "empty.mp4")])
    (tmp_path / "utt2spk").unlink()
    head, missing, empty = said(tmp_path, capsys)
    assert head == f"{tmp_path}: 1 utterances, 2 problems"
    assert "utt2spk is missing" in missing and empty.startswith(f"s1-a: {clips}/empty.mp4: is empty")


def test_a_folder_without_utterances(tmp_path, capsys):
    write_datadir(tmp_path, [])
    assert said(tmp_path, capsys)[1:] == [f"{tmp_path}: holds no utterance"]


def test_a_speaker_in_two_folders_is_remarked_upon_and_an_utterance_is_a_fault(clips, tmp_path, capsys):
    folders = [tmp_path / name for name in ("train", "valid", "test")]
    for folder, utts in zip(folders, (("s1-a", "s2-a", "s3-a"), ("s1-b", "s2-b"), ("s3-b", "s4-a")), strict=True):
        write_datadir(folder, [utterance(clips, utt) for utt in utts])
    assert check.main(["--fast", *map(str, folders)]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "remark" in line] == [
        f"remark: {folder}: {found} stand in {folders[0]} too, as one-speaker protocols have it: {names}"
        for folder, found, names in ((folders[1], "2 speakers", "s1 s2"), (folders[2], "1 speakers", "s3"))
    ]
    write_datadir(folders[2], [utterance(clips, "s1-b"), utterance(clips, "s4-a")])
    assert check.main(["--fast", *map(str, folders)]) == 1
    assert f"{folders[2]}/utt2spk: s1-b stands in {folders[1]} too" in capsys.readouterr().out


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
