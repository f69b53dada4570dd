"""The corpus of single words: LRW's layout, the same bytes every time, the mouth where its fixed crop looks for it."""

from collections import Counter

import av
import numpy as np
import pytest

from avsr.corpora import lrw
from avsr.corpora.mini_words import WORDS, MiniWordsConf, listing, make_corpus, make_word
from avsr.corpora.synthesis.cast import SPLITS
from avsr.errors import UsageError
from avsr.media import crops
from avsr.media.landmarks import MOUTH, DetectConf, FaceFinder, detect
from tests.corpora.test_mini import files

SMALL = MiniWordsConf(words=2, train=2, valid=1, test=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words") / "corpus"
    make_corpus(folder, SMALL, seed=3)
    return folder


def test_speakers_of_the_splits_are_apart_and_words_equally_frequent():
    clips = listing(MiniWordsConf(50, 20, 2, 4))
    assert Counter(clip.split for clip in clips) == {"train": 1000, "valid": 100, "test": 200}
    assert set(Counter(clip.word for clip in clips).values()) == {26}
    speakers = [{clip.talker.name for clip in clips if clip.split == split} for split in SPLITS]
    assert [len(found) for found in speakers] == [20, 2, 4] and len(set().union(*speakers)) == 26


def test_same_bytes_with_two_processes(corpus, tmp_path):
    make_corpus(tmp_path / "again", SMALL, seed=3, nj=2)
    assert files(tmp_path / "again") == files(corpus)
    assert "synthetic" in (corpus / "README.txt").read_text()


def test_the_reader_of_lrw_reads_it(corpus):
    found = {split: lrw.read_split(corpus, split) for split in SPLITS}
    assert [len(found[split]) for split in SPLITS] == [4, 2, 2]
    assert {utt.text for utt in found["test"]} <= set(WORDS)


def test_clips_have_29_pictures_with_the_word_in_the_middle(corpus):
    for utt in lrw.read_split(corpus, "train"):
        with av.open(str(utt.video)) as container:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            assert container.streams.video[0].average_rate == 25
        with av.open(str(utt.video)) as container:
            sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        assert len(pictures) == lrw.FRAMES and pictures[0].shape == (256, 256, 3)
        assert abs(len(sound) / 16_000 - lrw.SECONDS) < 0.13  # whole AAC frames
        power = np.convolve(sound**2, np.ones(1600), "same")
        assert abs(np.average(np.arange(len(power)) / 16_000, weights=power) - lrw.SECONDS / 2) < 0.2


def test_the_mouth_lies_in_the_middle_of_lrw_s_fixed_crop():
    (top, bottom), (left, right) = crops.LRW.rows, crops.LRW.columns
    for clip in listing(MiniWordsConf(2, 4, 1, 1))[::3]:
        grey = make_word(SMALL, 0, clip).frames_thwc.mean(axis=-1).astype(np.uint8)
        points_tpx, _ = detect(grey, FaceFinder(DetectConf()), DetectConf(), clip.id)
        x, y = points_tpx[:, MOUTH].mean(axis=(0, 1))
        assert abs(x - (left + right) / 2) < 10 and abs(y - (top + bottom) / 2) < 12


@pytest.mark.parametrize("options, words", [({"words": 1}, "words must be 2 to"), ({"test": 0}, "at least 1 clip")])
def test_counts_that_cannot_be_made(options, words):
    with pytest.raises(UsageError, match=words):
        listing(MiniWordsConf(**options))
