"""The mini corpus: the same bytes every time, true to GRID's layout, and a mouth that shows what is said."""

import dataclasses
import errno
import importlib.util
import json
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from avsr.corpora import grid, mini
from avsr.corpora.mini import MiniConf, listing, make_corpus, make_utterance
from avsr.corpora.synthesis.cast import SEXES, SPLITS, VOICES, WOMEN
from avsr.corpora.synthesis.clip import Picture
from avsr.corpora.synthesis.contact import CELL, COLUMNS, contact_sheet
from avsr.errors import AvsrError, UsageError
from avsr.storage.atomic import HOST

SMALL = MiniConf(2, 1, 2, train_speakers=1, picture=Picture(width=160, height=128))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("mini") / "corpus", SMALL, seed=3)


@pytest.fixture(scope="module")
def clip():
    """One utterance at full size."""
    utt = next(utt for utt in listing(MiniConf(), 0) if utt.split == "test" and utt.name[3] == "a")
    return make_utterance(MiniConf(), 0, utt)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def decode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, h, w, 3) and samples (2, n) as a plain decoder gives them."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        sound = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.stack(frames), np.concatenate(sound, 1) / 32768


def test_listing_is_balanced_and_its_speakers_apart():
    utterances = listing(MiniConf(), 0)
    assert Counter(utt.split for utt in utterances) == {"train": 600, "valid": 60, "test": 100}
    assert len({utt.name for utt in utterances}) == 760
    speakers = {split: {u.talker.name for u in utterances if u.split == split} for split in SPLITS}
    assert [len(speakers[split]) for split in SPLITS] == [20, 2, 4]
    assert len(set().union(*speakers.values())) == 26
    assert len({u.talker.voice for u in utterances}) == 16 and len({u.talker.face for u in utterances}) == 26
    assert not {u.talker.voice for u in utterances if u.split == "train"} & set(VOICES["valid"] + VOICES["test"])
    assert set(Counter(u.talker.name for u in utterances if u.split == "train").values()) == {30}
    for place, words in enumerate(grid.GRAMMAR):
        counts = Counter(u.name[place] for u in utterances if u.split == "train")
        assert set(counts) == set(words)
        assert max(counts.values()) - min(counts.values()) <= (4 if place == 3 else 0)
    assert [u.id for u in utterances] == sorted(u.id for u in utterances)
    assert utterances[0].text == grid.sentence(utterances[0].name)
    assert utterances != listing(MiniConf(), 1)


def test_small_listing_uses_fewer_speakers_and_keeps_them():
    few = listing(MiniConf(3, 1, 1), 0)
    assert [utt.talker.name for utt in few] == ["m01", "m02", "m03", "m21", "m23"]


def test_same_bytes_with_two_processes_and_in_another_order(corpus, tmp_path):
    make_corpus(tmp_path / "again", SMALL, seed=3, nj=2)
    assert files(tmp_path / "again") == files(corpus.folder)


def test_run_again_makes_only_what_is_missing(corpus):
    before, videos = files(corpus.folder), sorted(corpus.folder.rglob("*.mpg"))
    times = {path: path.stat().st_mtime_ns for path in videos}
    videos[0].unlink()
    (corpus.folder / "splits.json").unlink()
    leftover = videos[1].with_name(f".tmp-{HOST}-999999999-half.mpg")
    leftover.write_bytes(b"half")
    make_corpus(corpus.folder, SMALL, seed=3)
    assert files(corpus.folder) == before  # the half-written file is gone, the missing one is back
    assert all(path.stat().st_mtime_ns == times[path] for path in videos[1:])


def test_the_reader_of_grid_reads_it(corpus):
    speakers = grid.find_clips(corpus.folder)
    found = {clip.utt: clip for clips in speakers.values() for clip in clips}
    lists = json.loads((corpus.folder / "splits.json").read_text())
    assert sorted(found) == sorted(utt for split in SPLITS for utt in lists[split])
    assert "synthetic" in (corpus.folder / "README.txt").read_text()
    alignments = grid.Alignments(corpus.folder)
    for utt in corpus.utterances:
        words = grid.utterance(found[utt.id], alignments.find(found[utt.id])).words
        assert SEXES[found[utt.id].speaker] == ("f" if utt.talker.voice in WOMEN else "m")
        assert [word.lower() for _, _, word in words] == utt.text.split()
        made = make_utterance(SMALL, 3, utt)
        np.testing.assert_allclose([w[:2] for w in words], [w[:2] for w in made.words], atol=1 / grid.ALIGN_UNIT)


def test_files_hold_what_was_made(corpus):
    utt = corpus.utterances[0]
    made = make_utterance(SMALL, 3, utt)
    path = corpus.folder / utt.talker.name / f"{utt.name}.mpg"
    frames, sound = decode(path)
    assert frames.shape == made.frames_thwc.shape and len(frames) % 5 == 0 and 40 <= len(frames) <= 95
    assert np.abs(frames.astype(int) - made.frames_thwc).mean() < 5
    with av.open(str(path)) as container:
        video, audio = container.streams
        assert (video.codec_context.name, float(video.average_rate)) == ("mpeg1video", 25)
        assert (audio.codec_context.name, audio.rate, audio.channels) == ("mp2", 44100, 2)
        assert video.start_time == audio.start_time
    assert 0 <= sound.shape[1] / 44100 - len(frames) / 25 < 0.027
    assert np.corrcoef(*sound)[0, 1] > 0.999  # the channels are alike, as in GRID
    inner = slice(5000, len(made.wave) - 1200)
    assert np.corrcoef(sound[0][: len(made.wave)][inner], made.wave[inner])[0, 1] > 0.98  # a shift of 1 ms would not
    rows = [line.split() for line in path.with_suffix(".align").read_text().splitlines()]
    assert (rows[0][0], rows[0][2], rows[-1][2]) == ("0", "sil", "sil")
    assert all(a[1] == b[0] for a, b in zip(rows, rows[1:], strict=False))
    assert int(rows[-1][1]) == len(frames) * 1000


def test_speech_lies_within_the_word_times(clip):
    def power(start: float, end: float) -> float:
        return float(np.mean(clip.wave[round(start * clip.rate) : round(end * clip.rate)] ** 2))

    first, last = clip.words[0][0], clip.words[-1][1]
    assert first >= 0.2 and clip.seconds - last >= 0.2
    silence = max(power(0, first - 0.01), power(last + 0.01, clip.seconds))
    for start, end, word in clip.words:
        assert power(start, end) > 50 * silence, word  # the room is 26 dB below speech
    assert [word for _, _, word in clip.words] == clip.text.split()
    assert [phone for _, _, phone in clip.phones if phone.startswith(("eI", "'eI"))]  # the letter a, not the article
    assert np.abs(clip.wave).max() < 0.95 and clip.wave.shape == (round(clip.seconds * clip.rate),)
    assert max(clip.opening_t[0], clip.opening_t[-1]) < 0.01 and clip.opening_t.max() > 3


def test_landmarks_follow_the_mouth(clip):
    dlib = pytest.importorskip("dlib")
    folder = importlib.util.find_spec("face_recognition_models").submodule_search_locations[0]
    predictor = dlib.shape_predictor(f"{folder}/models/shape_predictor_68_face_landmarks.dat")
    detector = dlib.get_frontal_face_detector()
    opening, width, noses = [], [], []
    for number, frame in enumerate(clip.frames_thwc):
        frame = np.ascontiguousarray(frame)
        if number % 5 == 0:
            boxes = detector(frame, 0)
            assert len(boxes) == 1, f"frame {number}"
        shape = predictor(frame, boxes[0])
        points = np.array([(shape.part(k).x, shape.part(k).y) for k in range(68)])
        opening.append(np.linalg.norm(points[62] - points[66]))
        width.append(np.linalg.norm(points[48] - points[54]))
        noses.append(points[27:31].mean(0))
    assert np.corrcoef(opening, clip.opening_t)[0, 1] > 0.8
    assert np.corrcoef(width, clip.width_t)[0, 1] > 0.6
    moved = np.ptp(noses, axis=0).max()
    assert 1 < moved < 20  # pixels that the head wanders


def test_another_seed_is_another_corpus(corpus):
    utt = corpus.utterances[0]
    one, other = make_utterance(SMALL, 3, utt), make_utterance(SMALL, 4, utt)
    assert not np.array_equal(one.opening_t[:40], other.opening_t[:40])
    assert not np.array_equal(one.wave[:70000], other.wave[:70000])
    assert not np.array_equal(one.frames_thwc[:40], other.frames_thwc[:40])


def test_refusals(corpus, tmp_path, monkeypatch):
    with pytest.raises(AvsrError, match="another seed or configuration; delete it or name"):
        make_corpus(corpus.folder, SMALL, seed=4)
    with pytest.raises(AvsrError, match="another seed or configuration"):
        make_corpus(corpus.folder, dataclasses.replace(SMALL, test=1), seed=3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").touch()
    with pytest.raises(AvsrError, match="not empty and holds no generated corpus"):
        make_corpus(tmp_path / "full", SMALL)
    with pytest.raises(AvsrError, match="cannot be written .*name a folder that can"):
        make_corpus(tmp_path / "full/thesis.tex/corpus", SMALL)
    with pytest.raises(UsageError, match="train must be at least 1"):
        listing(MiniConf(train=0), 0)
    with pytest.raises(UsageError, match="test_speakers must be 1 to 4"):
        listing(MiniConf(test_speakers=5), 0)
    with pytest.raises(UsageError, match="layout 'lrx' is unknown"):
        listing(MiniConf(layout="lrx"), 0)

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(mini.LAYOUTS, "grid", (full, mini.LAYOUTS["grid"][1]))
    with pytest.raises(AvsrError, match="the disk is full; free"):
        make_corpus(tmp_path / "disk", SMALL)
    assert not (tmp_path / "disk/splits.json").exists()


def test_command(corpus, tmp_path, capsys):
    (tmp_path / "here").write_text("")
    assert mini.main(["--out", str(tmp_path / "here"), "--train", "1", "--valid", "1", "--test", "1"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert mini.main(["--out", str(tmp_path / "new"), "--train", "0"]) == 2
    assert not (tmp_path / "new").exists()


def test_contact_sheet(clip):
    sheet = contact_sheet([clip])
    assert sheet.shape == (CELL, COLUMNS * CELL, 3) and sheet.std() > 20
