"""The corpus in TCD-TIMIT's layout: the same bytes every time, two cameras at 29.97, phones that are those spoken."""

from collections import Counter

import av
import numpy as np
import pytest

from avsr.corpora import mini_tcd, tcd_timit
from avsr.corpora.mini_tcd import MiniTcdConf, files_of, listing, make_corpus, make_sentence
from avsr.corpora.synthesis.motion import GLIDES, VISEMES
from avsr.corpora.synthesis.tcd_files import PHONES, label_rows, turned
from avsr.corpora.timit_text import Prompts
from avsr.errors import UsageError
from avsr.media.crops import eye_distance
from avsr.media.landmarks import DetectConf, FaceFinder, detect
from avsr.media.video import read_frames
from tests.corpora.test_mini import files

SMALL = MiniTcdConf(volunteers=2, tested=1, sentences=3)
SEED = 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tcd") / "corpus"
    make_corpus(folder, SMALL, SEED)
    return folder


def test_speakers_are_named_as_the_corpus_names_them_and_all_say_sa1_and_sa2():
    sentences = listing(MiniTcdConf(), 0)
    speakers = {sentence.speaker: sentence for sentence in sentences}
    tested = {name for name, sentence in speakers.items() if sentence.split == "tested"}
    assert len(speakers) == 25 and tested == {"21M", "13F", "23M", "15F"} <= {*tcd_timit.TEST}
    assert not {*tcd_timit.TEST} & {name for name in speakers if name not in tested}
    assert {name for name in speakers if not tcd_timit.VOLUNTEER.fullmatch(name)} == {"Lipspkr1"}
    assert set(Counter(sentence.speaker for sentence in sentences).values()) == {20}
    said = Counter(sentence.words for sentence in sentences)
    assert sorted(said.values()) == [1] * (25 * 18) + [25, 25]
    assert sentences == listing(MiniTcdConf(), 0) and sentences != listing(MiniTcdConf(), 1)
    assert len({sentence.talker for sentence in sentences}) == 25


def test_same_bytes_with_two_processes(corpus, tmp_path):
    make_corpus(tmp_path / "again", SMALL, SEED, nj=2)
    assert files(tmp_path / "again") == files(corpus)
    assert "synthetic" in (corpus / "README.txt").read_text() and (corpus / "whole.json").exists()


def test_both_cameras_see_29_97_large_pictures_a_second(corpus):
    straight, other, _ = files_of(corpus, listing(SMALL, SEED)[0])
    eyes = []
    for path in (straight, other):
        with av.open(str(path)) as container:
            stream, sound = container.streams.video[0], container.streams.audio[0]
            assert (stream.codec_context.name, sound.codec_context.name, sound.rate) == ("h264", "aac", 48_000)
            assert (float(stream.average_rate), stream.width, stream.height) == (30_000 / 1001, 768, 432)
            pictures = sum(1 for _ in container.decode(video=0))
        grey = list(read_frames(path))
        assert len(grey) == round(pictures * 1001 / 30_000 * 25)
        points_tpx, counts = detect(grey, FaceFinder(DetectConf()), DetectConf(), "clip")
        assert counts["missed"] == 0
        eyes.append(eye_distance(points_tpx))
    assert eyes[0] == pytest.approx(96, rel=0.15) and eyes[1] / eyes[0] == pytest.approx(np.cos(np.pi / 6), rel=0.05)


def test_the_reader_reads_it(corpus):
    speakers = tcd_timit.find_clips(corpus, "both")
    assert {name: len(clips) for name, clips in speakers.items()} == {"01M": 6, "02F": 6, "21M": 6, "Lipspkr1": 6}
    split = tcd_timit.make_split("all", speakers, None, 0)
    assert {clip.speaker for clip in split["test"]} == {"21M"} and len(split["train"]) == 12
    labels, prompts = tcd_timit.Labels(corpus), Prompts(corpus)
    said = {(sentence.speaker, sentence.name): " ".join(sentence.words) for sentence in listing(SMALL, SEED)}
    for clips in speakers.values():
        for clip in clips:
            utt = tcd_timit.utterance(clip, "", labels.of(clip))
            assert utt.words[-1][1] < utt.duration and len(utt.text.split()) > 3
            assert prompts.of(clip.path, clip.sentence) == said[clip.speaker, clip.sentence]


def test_labels_are_the_phones_that_were_spoken_without_a_gap():
    sentence = listing(SMALL, SEED)[2]
    clip = make_sentence(SMALL, SEED, sentence)
    rows = [line.split() for line in label_rows(clip).splitlines()]
    times = np.array([[int(start), int(end)] for start, end, _ in rows])
    assert times[0, 0] == 0 and (times[1:, 0] == times[:-1, 1]).all() and (times[:, 0] < times[:, 1]).all()
    assert times[-1, 1] / 1e7 == pytest.approx(clip.seconds, abs=0.01)
    assert rows[0][2] == rows[-1][2] == "sil"
    spoken = [row for row in rows if row[2] != "sil"]
    assert int(spoken[0][0]) / 1e7 == pytest.approx(clip.phones[0][0], abs=0.006)
    assert int(spoken[-1][1]) / 1e7 == pytest.approx(clip.phones[-1][1], abs=0.006)
    assert len(spoken) >= len(clip.phones)


def test_every_phoneme_of_the_voices_has_a_label():
    assert {phone for phones in VISEMES for phone in phones.split()} | {*GLIDES} == {*PHONES}


def test_the_other_camera_shows_a_narrower_face():
    clip = make_sentence(SMALL, SEED, listing(SMALL, SEED)[0])
    frames, narrow = clip.frames_thwc[:1], turned(clip).frames_thwc[:1]
    assert narrow.shape == frames.shape
    assert (narrow[..., 384, :] == frames[..., 384, :]).all() and (narrow[..., 0, :] == frames[..., 0, :]).all()
    assert (turned(clip, 0.0).frames_thwc == clip.frames_thwc).all()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"volunteers": 21}, "volunteers must be 2 to 20, not 21"),
        ({"tested": 0}, "tested must be 1 to 4"),
        ({"sentences": 2}, "sentences must be 3 to 1000"),
    ],
)
def test_what_cannot_be_made(options, words):
    with pytest.raises(UsageError, match=words):
        listing(MiniTcdConf(**options), 0)


def test_command(tmp_path, capsys):
    assert mini_tcd.main(["--out", str(tmp_path / "new"), "--tested", "5"]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "new").exists()
