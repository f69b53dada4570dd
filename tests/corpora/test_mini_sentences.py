"""The corpus of sentences: LRS3's and LRS2's layouts, the same bytes every time, word times that are those spoken."""

import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import av
import numpy as np
import pytest

from avsr.corpora import mini_sentences
from avsr.corpora.mini_sentences import MiniSentencesConf, files_of, listing, make_corpus, make_sentences
from avsr.corpora.synthesis.motion import GLIDES, VISEMES, base_phone
from avsr.corpora.synthesis.sentences import CLASSES, TEMPLATES, spoken
from avsr.corpora.synthesis.voice import speak
from avsr.errors import UsageError
from avsr.media import crops
from avsr.media.landmarks import MOUTH, DetectConf, FaceFinder, detect
from tests.corpora.test_mini import files

SMALL = MiniSentencesConf("lrs3", 1, 2, 1)
SEED = 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sentences") / "corpus"
    make_corpus(folder, SMALL, SEED)
    return folder


@pytest.fixture(scope="module")
def talk():
    """The pretrain clip of the small corpus, before it is encoded."""
    clip = next(clip for clip in listing(SMALL, SEED) if clip.split == "pretrain")
    return clip, make_sentences(SMALL, SEED, clip)


@pytest.mark.parametrize("layout", ["lrs3", "lrs2"])
def test_talkers_and_sentences_of_the_splits_are_apart(layout):
    clips = listing(MiniSentencesConf(layout), 0)
    counts = {"pretrain": 400, "trainval": 300, "test": 100} | ({"valid": 40} if layout == "lrs2" else {})
    assert Counter(clip.split for clip in clips) == counts
    talkers = {part: {clip.talker.name for clip in clips if clip.split == part} for part in counts}
    assert len(talkers["test"]) == 4 and not talkers["test"] & set().union(*(talkers[p] for p in counts if p != "test"))
    assert not talkers.get("valid", set()) & (talkers["pretrain"] | talkers["trainval"])
    said = [words for clip in clips for words in clip.sentences]
    assert len(set(said)) == len(said)
    assert {len(words) for words in said} == {3, 4, 5, 6, 7}
    assert {len(clip.sentences) for clip in clips if clip.split == "pretrain"} == {2, 3, 4}
    assert {len(clip.sentences) for clip in clips if clip.split != "pretrain"} == {1}
    assert clips == listing(MiniSentencesConf(layout), 0) and clips != listing(MiniSentencesConf(layout), 1)


@pytest.mark.parametrize("conf", [MiniSentencesConf(), MiniSentencesConf("lrs3", 4, 12, 8)])
def test_videos_are_of_one_talker_each_and_talkers_have_several(conf):
    clips = listing(conf, 0)
    owners = {}
    for clip in clips:
        assert len(clip.video) == 11 and set(clip.video) <= set(mini_sentences.DIGITS["lrs3"])
        assert owners.setdefault(clip.video, (clip.split, clip.talker)) == (clip.split, clip.talker)
    for part, least in (("trainval", 12), ("test", 8)):
        videos = Counter(talker.name for split, talker in owners.values() if split == part)
        assert videos.total() >= least and set(videos.values()) == {2}
    assert len({clip.id for clip in clips}) == len(clips)


def test_words_are_many_and_as_frequent_as_in_natural_language():
    words = Counter(word for clip in listing(MiniSentencesConf(), 0) for said in clip.sentences for word in said)
    assert len(words) >= 300
    frequent = [count for _, count in words.most_common()]
    assert sum(frequent[:60]) > 0.5 * words.total()
    assert sum(count <= 5 for count in frequent) > 50
    assert max(frequent) < 0.1 * words.total()
    assert any("'" in word for word in words) and any(word.isdigit() for word in words)
    assert set("".join(words)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'")
    said = [" ".join(said) for clip in listing(MiniSentencesConf(), 0) for said in clip.sentences]
    assert not any(f" A {vowel}" in f" {text}" for text in said for vowel in "AEIOU")


def test_every_word_is_spoken_as_one_and_shown():
    words = {word for name in CLASSES for word in CLASSES[name]}
    words = sorted(words | {word for text in TEMPLATES for word in text.split() if word not in CLASSES})
    known = {phone for phones in VISEMES for phone in phones.split()} | set(GLIDES)
    for at in range(0, len(words), 30):
        speech = speak(spoken(tuple(words[at : at + 30])), "m1")  # refuses where the count of words differs
        assert {base_phone(phone) for _, _, phone in speech.phones} <= known
    melting = tuple("THERE WAS A BOOK IN THE HOUSE OF THE MAN AND DID NOT WANT TO BE AT A TABLE".split())
    assert [word for _, _, word in speak(spoken(melting), "m1").words] == list(melting)


def test_same_bytes_with_two_processes(corpus, tmp_path):
    make_corpus(tmp_path / "again", SMALL, SEED, nj=2)
    assert files(tmp_path / "again") == files(corpus)
    assert "synthetic" in (corpus / "README.txt").read_text() and (corpus / "whole.json").exists()


def test_lrs3_layout(corpus):
    clips = listing(SMALL, SEED)
    expected = {f"{clip.split}/{clip.video}/{clip.number:05d}" for clip in clips}
    assert {str(p.relative_to(corpus).with_suffix("")) for p in corpus.rglob("*.mp4")} == expected
    for clip in clips:
        video, text = files_of(corpus, "lrs3", clip)
        with av.open(str(video)) as container:
            stream, sound = container.streams.video[0], container.streams.audio[0]
            assert (stream.codec_context.name, sound.codec_context.name, sound.rate) == ("h264", "aac", 16_000)
            assert (stream.average_rate, stream.width, stream.height) == (25, 224, 224)
            pictures = sum(1 for _ in container.decode(video=0))
        lines = text.read_text().splitlines()
        said = " ".join(word for words in clip.sentences for word in words)
        assert lines[:4] == [f"Text:  {said}", "Conf:  5", f"Ref:   {clip.video}", ""]
        assert lines[4].split() == ["FRAME", "X", "Y", "W", "H"]
        rows = [line.split() for line in lines[5 : 5 + pictures]]
        assert [row[0] for row in rows] == [f"{number:06d}" for number in range(pictures)]
        assert all(0 <= float(value) <= 1 for row in rows for value in row[1:])
        if clip.split == "pretrain":
            assert lines[5 + pictures : 7 + pictures] == ["", "WORD START END ASDSCORE"]
        else:
            assert len(lines) == 5 + pictures and len(said) <= 100 and pictures <= 150


def test_word_table_is_what_was_spoken(corpus, talk):
    clip, made = talk
    lines = files_of(corpus, "lrs3", clip)[1].read_text().splitlines()
    rows = [line.split() for line in lines[lines.index("WORD START END ASDSCORE") + 1 :]]
    assert [row[0] for row in rows] == made.text.split() == [word for words in clip.sentences for word in words]
    times = np.array([[float(value) for value in row[1:3]] for row in rows])
    np.testing.assert_allclose(times, [word[:2] for word in made.words], atol=0.0051)
    assert (times[:, 0] < times[:, 1]).all() and times[-1, 1] <= made.seconds


def test_pauses_between_sentences_are_silent_and_the_mouth_is_shut(talk):
    clip, made = talk
    ends = set(np.cumsum([len(words) for words in clip.sentences])[:-1])
    for number, ((_, end, _), (start, _, _)) in enumerate(pairwise(made.words), 1):
        if number not in ends:
            assert start == pytest.approx(end, abs=1e-3)
            continue
        assert 0.49 < start - end < 0.85
        middle = (start + end) / 2
        room = made.wave[round((middle - 0.15) * made.rate) : round((middle + 0.15) * made.rate)]
        assert np.sqrt(np.mean(room**2)) == pytest.approx(0.004, rel=0.1)
        assert made.opening_t[round(middle * 25)] < 0.5 < made.opening_t.max()
    assert ends


def test_lrs2_layout(tmp_path, monkeypatch, talk):
    monkeypatch.setattr(mini_sentences, "make_sentences", lambda conf, seed, clip: talk[1])
    monkeypatch.setattr(mini_sentences, "encode_mp4", lambda made, preset: b"video")
    conf = MiniSentencesConf("lrs2", 1, 1, 1, 1)
    clips = make_corpus(tmp_path / "corpus", conf, 0)
    for part, name in (("pretrain", "pretrain"), ("trainval", "train"), ("valid", "val"), ("test", "test")):
        (clip,) = [clip for clip in clips if clip.split == part]
        mark = " NF" if part == "test" else ""
        assert (tmp_path / f"corpus/{name}.txt").read_text() == f"{clip.video}/00001{mark}\n"
        assert len(clip.video) == 19 and clip.video.isdigit()
        place = tmp_path / "corpus" / ("pretrain" if part == "pretrain" else "main") / clip.video
        assert (place / "00001.mp4").read_bytes() == b"video"
        lines = (place / "00001.txt").read_text().splitlines()
        assert lines[0] == f"Text:  {talk[1].text}"
        assert lines[1:4] == (["Conf:  5", "", "WORD START END ASDSCORE"] if part == "pretrain" else ["Conf:  5"])


def test_the_mouth_lies_in_the_middle_of_lrs3_s_fixed_crop(talk):
    (top, bottom), (left, right) = crops.LRS3.rows, crops.LRS3.columns
    grey = talk[1].frames_thwc[:25].mean(axis=-1).astype(np.uint8)
    points_tpx, _ = detect(grey, FaceFinder(DetectConf()), DetectConf(), "clip")
    x, y = points_tpx[:, MOUTH].mean(axis=(0, 1))
    assert abs(x - (left + right) / 2) < 12 and abs(y - (top + bottom) / 2) < 14


@pytest.mark.parametrize(
    "options, words",
    [
        ({"layout": "lrs4"}, "layout 'lrs4' is unknown"),
        ({"test": 0}, "test must be at least 1 clip"),
        ({"valid": 3}, "LRS3 has no validation clips"),
        ({"pretrain": 20_000}, "at most 20000 clips"),
    ],
)
def test_what_cannot_be_made(options, words):
    with pytest.raises(UsageError, match=words):
        listing(MiniSentencesConf(**options), 0)


def test_command(tmp_path, capsys):
    arguments = ["--out", str(tmp_path / "new"), "--layout", "lrs3", "--valid", "1"]
    assert mini_sentences.main(arguments) == 2 and capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_bytes_do_not_depend_on_what_memory_held():
    """glibc fills memory with a given byte before it is used: encoders that read what nothing has set are found."""
    code = (
        "import hashlib\n"
        "from avsr.corpora.mini_sentences import MiniSentencesConf, listing, make_sentences\n"
        "from avsr.corpora.synthesis.write import encode_mp4\n"
        "conf = MiniSentencesConf('lrs3', 1, 1, 1)\n"
        "clip = make_sentences(conf, 0, listing(conf, 0)[1])\n"
        "print([hashlib.sha256(encode_mp4(clip, preset)).hexdigest() for preset in ('veryfast', 'medium')])\n"
    )
    said = set()
    for byte in ("1", "170"):
        env = os.environ | {"MALLOC_PERTURB_": byte, "MALLOC_MMAP_THRESHOLD_": str(2**30)}
        said.add(subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True).stdout)
    assert len(said) == 1
