"""Stage 2 on small clips: what it writes, what it drops and why, and that nothing is done twice."""

import csv
import hashlib
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avsr.config import load_section
from avsr.media import landmarks
from avsr.media.crops import Cropper, CropShape, FixedCrop, cut, fixed_crop
from avsr.stages import crop
from avsr.storage.arrays import Store
from avsr.storage.datadir import Utterance, write_datadir
from tests.media.clips import face_clip, read_video, tone, write_clip
from tests.media.test_landmarks import two_faces


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict[str, Path]:
    """Clips that are taken, some of them converted on the way."""
    folder = tmp_path_factory.mktemp("clips")
    face, sound = face_clip(25), tone(1, 44100, 2)
    away = face_clip(40)
    away[12:14] = 128  # the face leaves for a moment, between two regular detections
    return {
        "s1-plain": write_clip(folder / "plain.mpg", face, sound=sound),
        "s1-fps30": write_clip(folder / "fps30.mpg", face_clip(30), fps=30, sound=sound),
        "s1-fps2997": write_clip(folder / "fps2997.mpg", face_clip(30), fps=Fraction(30000, 1001), sound=sound),
        "s2-away": write_clip(folder / "away.mpg", away, sound=tone(1.6, 44100)),
        "s2-mute": write_clip(folder / "mute.mpg", face),  # stage 3's business
    }


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> dict[str, tuple[Path | None, str]]:
    """Clips that are dropped, and the words that say why."""
    folder = tmp_path_factory.mktemp("bad clips")
    face = face_clip(25)
    (folder / "zero.mpg").touch()
    sound = write_clip(folder / "sound.mp4", None, sound=tone(1, 44100), sound_codec="aac")
    cut = write_clip(folder / "cut.mpg", face)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    rubbish = face.copy()
    rubbish[8:16] = 128
    return {
        "s3-absent": (folder / "absent.mpg", "no such file"),
        "s3-cut": (cut, "breaks off after"),
        "s3-noface": (write_clip(folder / "noface.mpg", np.full_like(face, 90)), "no face was found"),
        "s3-large": (write_clip(folder / "large.mp4", np.full((6, 1080, 1920, 3), 90, np.uint8)), "no face was found"),
        "s3-nopicture": (sound, "no pictures"),
        "s3-onlysound": (None, "has sound but no video"),
        "s3-oneframe": (write_clip(folder / "one.mpg", face[:1]), "only 1 frames"),
        "s3-rubbish": (write_clip(folder / "rubbish.mpg", rubbish), "the face was lost in 2 of 5 detections"),
        "s3-zero": (folder / "zero.mpg", "is empty"),
    }


def make_data(folder: Path, clips: dict[str, Path | None]) -> Path:
    write_datadir(
        folder,
        [
            Utterance(utt, utt.split("-")[0], "BIN", path, None if path else folder / "a.wav", 1.0)
            for utt, path in clips.items()
        ],
    )
    return folder


def run(data: Path, out: Path, *more: str) -> int:
    return crop.main([f"--data={data}", f"--out={out}", *more])


def info(folder: Path) -> dict[str, dict]:
    return {row["utt"]: row for row in map(json.loads, (folder / "info.jsonl").read_text().splitlines())}


def failures(folder: Path) -> dict[str, str]:
    with open(folder / "failed.tsv", newline="") as file:
        return {row["utterance"]: row["message"] for row in csv.DictReader(file, delimiter="\t")}


def digests(folder: Path) -> dict[str, str]:
    """Of all results; the markers and the log hold times and paths."""
    files = [p for p in folder.rglob("*") if p.is_file() and ".done" not in p.parts]
    return {str(p.relative_to(folder)): hashlib.blake2b(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def work(tmp_path_factory, good, bad) -> Path:
    """A finished work folder with all clips, good and bad."""
    folder = tmp_path_factory.mktemp("work")
    data = make_data(folder / "data" / "test", {**good, **{utt: path for utt, (path, _) in bad.items()}})
    assert run(data, folder / "video", "--max-fail-rate=0.9") == 0
    return folder


def test_stores_hold_landmarks_and_crops(work, good):
    out = work / "video" / "test"
    points, small, large = (Store(out / name) for name in ("landmarks", "crop80", "crop112"))
    assert points.keys() == small.keys() == large.keys() == sorted(good)
    pictures = read_video(good["s1-plain"])
    assert points.read("s1-plain").shape == (25, 68, 2) and points.read("s1-plain").dtype == np.float32
    cropper = Cropper(points.read("s1-plain"), (CropShape(128, 80, 128), CropShape(96, 112)))
    for k in (0, 11, 24):
        expected80, expected112 = cropper.crop(k, pictures[k])
        assert (small.read("s1-plain")[k] == expected80).all() and (large.read("s1-plain")[k] == expected112).all()
    assert small.read("s1-plain").dtype == np.uint8 and small.shape("s2-away") == (40, 80, 80)


def test_info_says_what_was_found(work):
    rows = info(work / "video" / "test")
    assert {utt: row["frames"] for utt, row in rows.items()} == {
        "s1-plain": 25, "s1-fps30": 25, "s1-fps2997": 25, "s2-away": 40, "s2-mute": 25,
    }  # fmt: skip
    assert rows["s1-fps30"]["fps"] == 30 and rows["s1-fps2997"]["fps"] == pytest.approx(29.97, abs=0.001)
    assert rows["s2-away"]["found"]["interpolated"] == 2 and rows["s1-plain"]["found"]["interpolated"] == 0
    assert rows["s2-mute"]["sound"] is None and rows["s1-plain"]["sound"] == pytest.approx(1, abs=0.06)
    assert (rows["s1-plain"]["width"], rows["s1-plain"]["height"]) == (360, 288)
    assert 20 < rows["s1-plain"]["mouth"] < 50 and 40 < rows["s1-plain"]["eyes"] < 80


def test_bad_clips_are_listed_with_the_reason_and_the_file(work, bad):
    found = failures(work / "video" / "test")
    assert sorted(found) == sorted(bad)
    for utt, (path, words) in bad.items():
        assert words in found[utt] and str(path or "a.wav") in found[utt]
        assert "\n" not in found[utt] and ";" in found[utt]  # one line, with the cure


def test_the_log_says_what_was_converted(work):
    log = (work / "video" / "log" / "crop.log").read_text()
    assert "2 utterances were not at 25 fps and were converted" in log
    assert "1 utterances lost the face for a moment" in log and "5 ok, 9 failed, 0 skipped" in log


def test_clips_of_a_second_corpus_have_any_number_of_pictures(tmp_path, good, root):
    """Protocol GT: GRID's are cut or filled to as many as all have, TCD-TIMIT's at 29.97 a second are as they are."""
    clips = {"s1-plain": good["s1-plain"], "s2-away": good["s2-away"], "01M-sa1": good["s1-fps2997"]}
    clips["02F-sa2"] = good["s2-away"]
    data = make_data(tmp_path / "data" / "train", clips)
    options = ["--set=crop.frames=26", "--set=crop.min_frames=24", r"--set=crop.any_length='\d\d[MF]'"]
    assert run(data, tmp_path / "video", *options) == 0
    store = Store(tmp_path / "video/train/crop80")
    assert {utt: len(store.read(utt)) for utt in clips} == {
        "s1-plain": 26, "s2-away": 26, "01M-sa1": 25, "02F-sa2": 40,
    }  # fmt: skip
    recipe = load_section(crop.CropConf, [root / "egs/grid/conf/recipe.yaml"], "crop", [])
    tcd = load_section(crop.CropConf, [root / "egs/tcd_timit/conf/recipe.yaml"], "crop", [])
    assert recipe.of("s1").pictures == recipe.of("u01").pictures == {"exact": 75, "least": 72}
    assert recipe.of("01M") == recipe.of("59F") == replace(tcd, any_length=recipe.any_length)


def test_crops_are_not_made_again_for_a_second_corpus_that_is_not_there(tmp_path, good):
    data = make_data(tmp_path / "data" / "train", {"s1-plain": good["s1-plain"]})
    assert run(data, tmp_path / "video", "--set=crop.frames=25") == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "video/train").rglob("shard-*")}
    assert run(data, tmp_path / "video", "--set=crop.frames=25", r"--set=crop.any_length='\d\d[MF]'") == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "video/train").rglob("shard-*")} == before != {}


def test_a_pattern_of_speakers_that_is_none_is_refused(tmp_path, good, capsys):
    data = make_data(tmp_path / "data" / "train", {"s1-plain": good["s1-plain"]})
    assert run(data, tmp_path / "video", "--set=crop.any_length='[MF'") == 2
    assert "any_length '[MF' is no regular expression" in capsys.readouterr().err


def test_of_two_faces_the_largest_is_followed_and_that_is_said(tmp_path, capsys):
    pictures = two_faces(0.9, 1.1, 15)[..., None].repeat(3, axis=-1)
    clip = write_clip(tmp_path / "two.mpg", pictures, sound=tone(0.6, 44100))
    assert run(make_data(tmp_path / "data" / "test", {"s1-two": clip}), tmp_path / "video") == 0
    assert "1 utterances show more than one face; the largest was followed" in capsys.readouterr().out
    points = Store(tmp_path / "video" / "test" / "landmarks").read("s1-two")
    assert points.shape == (15, 68, 2) and (points[:, :, 0] > pictures.shape[2] / 2).all()


def test_too_many_failures_end_the_stage_but_leave_the_page(tmp_path, good, bad, capsys):
    clips = {"s1-plain": good["s1-plain"], "s3-zero": bad["s3-zero"][0], "s3-cut": bad["s3-cut"][0]}
    data = make_data(tmp_path / "data" / "test", clips)
    assert run(data, tmp_path / "video") == 3
    assert "2 of 3 utterances failed" in capsys.readouterr().err
    assert "s3-zero" in (tmp_path / "video" / "test" / "qa.html").read_text()


def test_the_page_shows_every_utterance(work, good, bad):
    page = (work / "video" / "test" / "qa.html").read_text()
    assert page.count("data:image/jpeg") == len(good) and "http" not in page
    assert all(utt in page for utt in (*good, *bad))


def test_a_second_run_does_nothing(work, monkeypatch):
    before = digests(work / "video" / "test")
    monkeypatch.setattr(crop, "Cropping", None)  # cannot be called
    assert run(work / "data" / "test", work / "video", "--max-fail-rate=0.9") == 0
    assert digests(work / "video" / "test") == before


def test_other_crops_need_no_detection(tmp_path, good, monkeypatch):
    clips = {utt: good[utt] for utt in ("s1-plain", "s2-away")}
    data = make_data(tmp_path / "data" / "test", clips)
    assert run(data, tmp_path / "video") == 0
    out = tmp_path / "video" / "test"
    before = digests(out)
    monkeypatch.setattr(landmarks, "FaceFinder", None)
    assert run(data, tmp_path / "video", "--set=crop.window80=100") == 0
    after = digests(out)
    changed = {name.split("/")[0] for name in before if before[name] != after[name] and "store.json" not in name}
    assert changed == {"crop80", "qa.html"}
    assert info(out)["s2-away"]["found"]["interpolated"] == 2
    points, crops = Store(out / "landmarks").read("s1-plain"), Store(out / "crop80").read("s1-plain")
    expected = Cropper(points, (CropShape(100, 80, 128),)).crop(3, read_video(good["s1-plain"])[3])[0]
    assert (crops[3] == expected).all()


def test_larger_pictures_where_asked_for(tmp_path, work, good):
    """The same window, before it becomes 80x80; what is asked for no more is taken away."""
    data = make_data(tmp_path / "data" / "test", {"s1-plain": good["s1-plain"]})
    asked = "--set=crop.stores=[crop80, crop128]"
    assert run(data, tmp_path / "video", asked) == 0
    out = tmp_path / "video" / "test"
    crops, points = Store(out / "crop128"), Store(out / "landmarks").read("s1-plain")
    assert crops.read("s1-plain").shape == (25, 128, 128) and not (out / "crop112").exists()
    expected = Cropper(points, (CropShape(128, 128),)).crop(3, read_video(good["s1-plain"])[3])[0]
    assert (crops.read("s1-plain")[3] == expected).all()
    assert (Store(out / "crop80").read("s1-plain") == Store(work / "video/test/crop80").read("s1-plain")).all()
    assert run(data, tmp_path / "video") == 0
    assert not (out / "crop128").exists() and (out / "crop112").exists()


def test_other_detection_detects_again(tmp_path, good):
    data = make_data(tmp_path / "data" / "test", {"s1-plain": good["s1-plain"]})
    assert run(data, tmp_path / "video") == 0
    assert info(tmp_path / "video" / "test")["s1-plain"]["found"]["detections"] == 5
    assert run(data, tmp_path / "video", "--set=crop.detect.every=8") == 0
    assert info(tmp_path / "video" / "test")["s1-plain"]["found"]["detections"] == 4


def test_same_bytes_for_any_number_of_processes_and_parts(tmp_path, good, monkeypatch):
    from avsr.stages import common

    monkeypatch.setattr(common, "SHARD_SIZE", 2)
    data = make_data(tmp_path / "data" / "test", good)
    assert run(data, tmp_path / "one") == 0
    assert run(data, tmp_path / "two", "--nj=2") == 0
    assert run(data, tmp_path / "parts", "--shard=2/2") == 0
    assert not (tmp_path / "parts" / "test" / "qa.html").exists()
    assert run(data, tmp_path / "parts", "--shard=1/2") == 0
    expected = digests(tmp_path / "one" / "test")
    assert any(name.startswith("crop112/shard-00002") for name in expected)
    assert digests(tmp_path / "two" / "test") == expected == digests(tmp_path / "parts" / "test")


def test_ark_holds_the_same(tmp_path, work, good):
    data = make_data(tmp_path / "data" / "test", {"s2-away": good["s2-away"]})
    assert run(data, tmp_path / "video", "--storage=ark") == 0
    for name in ("landmarks", "crop80", "crop112"):
        found, expected = (Store(f / "test" / name).read("s2-away") for f in (tmp_path / "video", work / "video"))
        assert found.dtype == expected.dtype and (found == expected).all()


def test_every_clip_as_long_as_the_corpus_says(tmp_path, good):
    data = make_data(tmp_path / "data" / "test", {utt: good[utt] for utt in ("s1-plain", "s2-away")})
    options = ["--set=crop.frames=42", "--set=crop.min_frames=39", "--max-fail-rate=0.5"]
    assert run(data, tmp_path / "video", *options) == 0
    crops = Store(tmp_path / "video" / "test" / "crop80")
    assert crops.keys() == ["s2-away"] and crops.shape("s2-away") == (42, 80, 80)
    assert "only 25 frames at 25 fps, at least 39" in failures(tmp_path / "video" / "test")["s1-plain"]


def test_landmarks_made_elsewhere(tmp_path, work, good):
    expected = Store(work / "video" / "test" / "crop80").read("s1-plain")
    points = Store(work / "video" / "test" / "landmarks").read("s1-plain")
    (tmp_path / "points").mkdir()
    np.savez(tmp_path / "points" / "s1-plain.npz", landmarks=points)
    np.savez(tmp_path / "points" / "s2-mute.npz", landmarks=points[:9])
    data = make_data(tmp_path / "data" / "test", {utt: good[utt] for utt in ("s1-plain", "s1-fps30", "s2-mute")})
    options = ["--set=crop.detect.backend=npz", f"--set=crop.detect.folder={tmp_path / 'points'}"]
    assert run(data, tmp_path / "video", *options, "--max-fail-rate=0.9") == 0
    out = tmp_path / "video" / "test"
    assert (Store(out / "crop80").read("s1-plain") == expected).all()
    found = failures(out)
    assert "s1-fps30.npz: there is no such file" in found["s1-fps30"]
    assert "not (25, 68, 2)" in found["s2-mute"]


def test_a_fixed_box(tmp_path, good):
    data = make_data(tmp_path / "data" / "test", {"s1-plain": good["s1-plain"]})
    options = ["--set=crop.detect.backend=box", "--set=crop.box=[100, 212, 120, 232]"]
    assert run(data, tmp_path / "video", *options) == 0
    out = tmp_path / "video" / "test"
    pictures = read_video(good["s1-plain"])
    assert (Store(out / "crop112").read("s1-plain") == pictures[:, 100:212, 120:232]).all()
    expected = fixed_crop(pictures[4], FixedCrop((100, 212), (120, 232), 80))
    assert (Store(out / "crop80").read("s1-plain")[4] == expected).all()
    assert not (out / "landmarks").exists() and (out / "qa.html").exists()


def test_mouth_pictures_made_elsewhere(tmp_path, good, monkeypatch):
    """They are resized and nothing is detected; a clip of which there is only sound will do."""
    monkeypatch.setattr(landmarks, "FaceFinder", None)
    mouths = np.random.default_rng(0).integers(0, 256, (25, 112, 112), np.uint8)
    (tmp_path / "mouths").mkdir()
    np.savez_compressed(tmp_path / "mouths" / "s1-plain.npz", crops=mouths)
    np.savez(tmp_path / "mouths" / "s2-mute.npz", crops=mouths[:4])
    np.savez(tmp_path / "mouths" / "s2-sound.npz", crops=mouths[:, :96, :90])
    clips = {utt: good[utt] for utt in ("s1-plain", "s1-fps30", "s2-mute")} | {"s2-sound": None}
    data = make_data(tmp_path / "data" / "test", clips)
    options = ["--set=crop.detect.backend=crops", f"--set=crop.detect.folder={tmp_path / 'mouths'}"]
    assert run(data, tmp_path / "video", *options, "--max-fail-rate=0.9") == 0
    out = tmp_path / "video" / "test"
    small, large = Store(out / "crop80"), Store(out / "crop112")
    assert small.keys() == large.keys() == ["s1-plain", "s2-sound"] and not (out / "landmarks").exists()
    assert (large.read("s1-plain") == mouths).all()  # they had the right size
    resized = np.asarray(Image.fromarray(mouths[7, :96, :90]).resize((80, 80), Image.Resampling.BILINEAR))
    inner = (slice(2, -2), slice(2, -2))  # Pillow does not repeat edges
    assert np.abs(small.read("s2-sound")[7][inner].astype(int) - resized[inner]).max() <= 1
    assert large.read("s2-sound").shape == (25, 112, 112) and info(out)["s2-sound"]["width"] == 90
    found = failures(out)
    assert "s1-fps30.npz: there is no such file" in found["s1-fps30"]
    assert "s2-mute.npz: only 4 pictures, at least 5" in found["s2-mute"]
    assert "qa.html" in {path.name for path in out.iterdir()}


def test_mouth_pictures_are_as_long_as_the_corpus_says(tmp_path, good):
    mouths = np.random.default_rng(0).integers(0, 256, (27, 20, 20), np.uint8)
    (tmp_path / "mouths").mkdir()
    for name, count in (("s1-plain", 24), ("s1-fps30", 27)):
        np.savez(tmp_path / "mouths" / f"{name}.npz", crops=mouths[:count])
    data = make_data(tmp_path / "data" / "test", {utt: good[utt] for utt in ("s1-plain", "s1-fps30")})
    options = ["--set=crop.detect.backend=crops", f"--set=crop.detect.folder={tmp_path / 'mouths'}"]
    assert run(data, tmp_path / "video", *options, "--set=crop.frames=25") == 0
    crops = Store(tmp_path / "video" / "test" / "crop80")
    assert crops.shape("s1-plain") == crops.shape("s1-fps30") == (25, 80, 80)
    assert (crops.read("s1-plain")[24] == crops.read("s1-plain")[23]).all()
    assert (crops.read("s1-fps30")[24] == cut(mouths[24], 0, 0, 20, 20, 80)).all()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("crop.windw80=3", "did you mean 'window80'"),
        ("crop.detect.every=0", "detect.every must be"),
        ("crop.detect.backend=box", "box belongs to"),
        ("crop.frames=3", "min_frames <= frames"),
        ("crop.detect.backend=crops", "detect.folder belongs to"),
        ("crop.detect.backend=magic", "none of 'dlib'"),
    ],
)
def test_wrong_options_are_usage_errors(tmp_path, good, capsys, option, words):
    data = make_data(tmp_path / "data" / "test", {"s1-plain": good["s1-plain"]})
    assert run(data, tmp_path / "video", f"--set={option}") == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_real_clips_and_real_rubbish(tmp_path, real_data):
    folder = real_data / "grid"
    names = ("s1/bbaf5a.mpg", "s1/bbaf2n.mp4", "s1/lrae3s.mpg", "s1/lrarzn.mp4")
    data = make_data(tmp_path / "data" / "test", {f"s1-{Path(name).stem}": folder / name for name in names})
    options = ["--set=crop.frames=75", "--set=crop.min_frames=72", "--max-fail-rate=0.3"]
    assert run(data, tmp_path / "video", *options) == 0
    out = tmp_path / "video" / "test"
    assert list(failures(out)) == ["s1-lrarzn"]  # known to begin with grey pictures
    crops = Store(out / "crop112")
    assert {crops.shape(utt) for utt in crops.keys()} == {(75, 112, 112)}
    assert all(38 <= row["mouth"] <= 45 and 60 <= row["eyes"] <= 70 for row in info(out).values())
