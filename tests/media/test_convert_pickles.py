"""Other people's pickles of landmarks and mouth pictures become files that stage 2 takes."""

import os
import pickle

import numpy as np
import pytest

from avsr.media.convert_pickles import main
from avsr.media.crops import read_crops
from avsr.media.landmarks import read_npz
from avsr.storage.datadir import Utterance, write_datadir

POINTS = np.random.default_rng(0).normal(100, 20, (20, 68, 2))
MOUTHS = np.random.default_rng(1).integers(0, 256, (12, 96, 88), np.uint8)


def write(folder, contents: dict, protocol: int = 4):
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(content, protocol))
    return folder


def lost_at(*numbers) -> list:
    return [None if k in numbers else points for k, points in enumerate(POINTS)]


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (POINTS, None),
        (POINTS.tolist(), None),
        (list(POINTS), None),
        (tuple(POINTS.astype(np.float32)), None),
        ({"landmarks": POINTS}, None),
        ({"landmarks": list(POINTS), "box": [0, 1]}, "landmarks"),
        ([{"landmarks": points, "score": 0.5} for points in POINTS], "landmarks"),
    ],
)
def test_landmarks_in_their_usual_shapes(tmp_path, content, key):
    folder = write(tmp_path / "in", {"s1/clip.pkl": content})
    assert main([str(folder), str(tmp_path / "out"), *(["--key", key] if key else [])]) == 0
    found, _ = read_npz(tmp_path / "out/s1-clip.npz", 20, 0.2)
    assert np.array_equal(found, POINTS.astype(np.float32))


def test_lost_faces_are_interpolated_when_the_file_is_read(tmp_path, capsys):
    objects = np.empty(20, object)
    objects[:] = lost_at(4)
    contents = {"s1-a.pkl": lost_at(4), "s1-b.pickle": objects, "s1-mouth.pkl": POINTS[:, 48:]}
    assert main([str(write(tmp_path / "in", contents)), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/out: 3 ok, 0 failed\n"
    for name in ("s1-a", "s1-b"):
        found, counts = read_npz(tmp_path / f"out/{name}.npz", 20, 0.2)
        assert counts["interpolated"] == 1 and np.allclose(found[4], (POINTS[3] + POINTS[5]) / 2, atol=1e-4)
    assert np.allclose(read_npz(tmp_path / "out/s1-mouth.npz", 20, 0.2)[0][:, 48:], POINTS[:, 48:], atol=1e-4)


@pytest.mark.parametrize("content", [MOUTHS, list(MOUTHS), {"crops": MOUTHS}, [{"roi": mouth} for mouth in MOUTHS]])
def test_mouth_pictures(tmp_path, content):
    folder = write(tmp_path / "in", {"video-00001.pkl": content}, 5)
    assert main([str(folder), str(tmp_path / "out")]) == 0
    assert np.array_equal(read_crops(tmp_path / "out/video-00001.npz"), MOUTHS)


def test_what_is_refused_is_said_and_the_others_are_converted(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "it was run"),)

    bad = {
        "s1-code.pkl": ([POINTS, Evil()], "refused, it holds posix.mkdir, which could run code"),
        "s1-dict.pkl": ({"a": POINTS, "b": POINTS}, "holds a dict of a, b: name one with --key"),
        "s1-colour.pkl": (np.zeros((3, 8, 8, 3), np.uint8), r"shape (8, 8, 3) and type uint8, not (68, 2)"),
        "s1-float.pkl": (MOUTHS / 255, "and type float64, not (68, 2)"),
        "s1-gap.pkl": ([None, *MOUTHS], "1 of 13 mouth pictures are None"),
        "s1-lost.pkl": ([None, None], "no entry but None"),
        "s1-ragged.pkl": ([POINTS[0], POINTS[0][:5]], "its pictures have several shapes"),
        "s1-text.pkl": (["a", "b"], "an entry is no array of numbers"),
        "s1-uneven.pkl": ([[[1, 2], [3]]], "an entry is no array of numbers"),
        "s1-number.pkl": (3.5, "holds no list or array"),
        "s1-nothing.pkl": ([], "holds no list or array"),
        "s1 space.pkl": (POINTS, "use only letters, digits"),
        "s1/twice.pkl": (POINTS, "s1-twice.pkl is named s1-twice too; rename one"),
    }
    good = {"s1-good.pkl": POINTS, "s1-twice.pkl": POINTS}
    folder = write(tmp_path / "in", {**good, **{name: content for name, (content, _) in bad.items()}})
    assert main([str(folder), str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    lines = {line.split(": ")[1]: line for line in said.err.splitlines()}
    assert len(lines) == len(bad) and f"2 ok, {len(bad)} failed" in said.out
    for name, (_, words) in bad.items():
        if name != "s1/twice.pkl":
            assert words in lines[str(folder / name)], name
    assert any("is named s1-twice too" in line for line in lines.values())
    assert not (tmp_path / "it was run").exists()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["s1-good.npz", "s1-twice.npz"]


def test_the_same_bytes_again_and_a_folder_without_pickles(tmp_path, capsys):
    folder = write(tmp_path / "in", {"s1-a.pkl": POINTS})
    for out in ("one", "two"):
        assert main([str(folder), str(tmp_path / out)]) == 0
    assert (tmp_path / "one/s1-a.npz").read_bytes() == (tmp_path / "two/s1-a.npz").read_bytes()
    capsys.readouterr()
    assert main([str(tmp_path / "one"), str(tmp_path / "out")]) == 2
    assert "holds no .pkl or .pickle file" in capsys.readouterr().err


def words_and_parts(folder):
    """A clip of LRW, and two parts of a long one of LRS3."""
    word, talk = folder / "lipread_mp4/ABOUT/train/ABOUT_00001.mp4", folder / "pretrain/vid/00001.mp4"
    rows = [Utterance("ABOUT_train_00001", "ABOUT_train_00001", "ABOUT", word, None, 0.48)]
    parts = ((0.0, 0.2), (0.24, 0.44))
    rows += [Utterance(f"vid-p00001-0{k}", "vid", "A", talk, None, 0.2, part=part) for k, part in enumerate(parts)]
    write_datadir(folder / "data", rows)
    return folder / "data"


def test_with_tables_files_are_named_as_their_utterances_and_parts_are_cut(tmp_path, capsys):
    contents = {"ABOUT/train/ABOUT_00001.pkl": MOUTHS, "vid/00001.pkl": MOUTHS}
    folder, data = write(tmp_path / "in", contents), words_and_parts(tmp_path)
    assert main([str(folder), str(tmp_path / "out"), "--data", str(data)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/out: 3 ok, 0 failed\n"
    found = {path.stem: np.load(path)["crops"] for path in (tmp_path / "out").iterdir()}
    assert sorted(found) == ["ABOUT_train_00001", "vid-p00001-00", "vid-p00001-01"]
    for name, (first, end) in zip(sorted(found), ((0, 12), (0, 5), (6, 11)), strict=True):
        assert np.array_equal(found[name], MOUTHS[first:end])


def test_with_tables_what_belongs_to_no_clip_or_is_too_short_is_refused(tmp_path, capsys):
    contents = {"train/ABOUT_00002.pkl": MOUTHS, "vid/00001.pkl": MOUTHS[:10]}
    folder, data = write(tmp_path / "in", contents), words_and_parts(tmp_path)
    assert main([str(folder), str(tmp_path / "out"), "--data", str(data)]) == 1
    said = capsys.readouterr()
    assert said.out == f"{tmp_path}/out: 0 ok, 2 failed\n"
    assert "ABOUT_00002.pkl: no video of --data ends so" in said.err
    assert "holds 10 pictures, vid-p00001-01 ends with 11" in said.err
    (two := tmp_path / "two").mkdir()
    same = [Utterance(f"{name}-00001", name, "A", tmp_path / name / "vid/00001.mp4", None, 0.48) for name in "ab"]
    write_datadir(two, same)
    assert main([str(folder), str(tmp_path / "out"), "--data", str(two)]) == 1
    assert "a/vid/00001.mp4 and others end so" in capsys.readouterr().err
