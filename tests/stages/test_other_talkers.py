"""One-speaker protocols: the corpus's other speakers compete, from the files on disk to the lists of stage 4."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr.check import main as check
from avsr.corpora.grid import DIGITS
from avsr.media.audio import read_sound
from avsr.noise.lists import NoiseConf, read_list
from avsr.noise.sampler import MixSampler
from avsr.noise.sources import NoiseSources
from avsr.stages import prepare
from avsr.storage.arrays import Store
from avsr.storage.datadir import read_datadir
from tests.stages.test_extract_mix import SPLITS, make_split, noises, pictures, run_extract, run_mix, voice

CLIPS = [f"bba{letter}{digit}n" for letter in "af" for digit in DIGITS]  # twenty
OTHERS = ("s2", "s4", "s5", "s7", "s10")


def grid_clip(path: Path, seconds: float = 1.0) -> Path:
    """A sound file under a video's name: FFmpeg tells formats by what is in them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"{path.parent.name}-{path.stem}"
    soundfile.write(path, voice(name, int(16000 * seconds)), 16000, format="WAV", subtype="PCM_16")
    return path


@pytest.fixture
def corpus(tmp_path) -> Path:
    """GRID's layout: s1 with twenty clips, five others with three each."""
    for clip in CLIPS:
        grid_clip(tmp_path / "grid/s1" / f"{clip}.mpg")
    for speaker in OTHERS:
        for clip in CLIPS[:3]:
            grid_clip(tmp_path / "grid" / speaker / f"{clip}.mpg")
    return tmp_path / "grid"


def run_prepare(work: Path, corpus: Path, *more: str) -> int:
    return prepare.main(["--corpus=grid", "--protocol=s1", f"--corpus-dir={corpus}", f"--out={work}/data", *more])


def run_to_extract(work: Path, corpus: Path) -> None:
    """Stages 1 to 3, and noise for stage 4."""
    noises(work / "noise")
    assert run_prepare(work, corpus) == 0
    for split in prepare.SPLITS:
        pictures(work / "dump/video" / split / "landmarks", dict.fromkeys(read_datadir(work / "data" / split), 25))
        assert run_extract(work, split) == 0


def talkers(work: Path) -> dict[str, dict]:
    rows = json.loads((work / "data/noise_splits.json").read_text())["recordings"]
    return {key: row for key, row in rows.items() if row["type"] == "speech"}


def test_stage_1_lists_some_clips_of_the_other_speakers(tmp_path, corpus):
    (corpus / "s2" / f"{CLIPS[0]}.align").write_text("a damaged alignment\n")  # theirs are not read
    folder = tmp_path / "data/others"
    assert run_prepare(tmp_path, corpus) == 0
    rows = read_datadir(folder)
    assert set(rows) == {f"{speaker}-{clip}" for speaker in OTHERS for clip in CLIPS[:3]}
    assert check([str(folder), "--fast"]) == 0
    assert (folder / "spk2gender").read_text() == "s10 m\ns2 m\ns4 f\ns5 m\ns7 f\n"
    assert run_prepare(tmp_path, corpus, "--set=prepare.others=2") == 0
    chosen = set(read_datadir(folder))
    assert len(chosen) == 10 and chosen < set(rows)
    assert run_prepare(tmp_path, corpus, "--set=prepare.others=2", "--seed=1") == 0
    assert len(read_datadir(folder)) == 10 and set(read_datadir(folder)) != chosen


def test_without_other_speakers_or_under_other_protocols_there_is_no_such_folder(tmp_path, corpus):
    assert run_prepare(tmp_path, corpus) == 0 and (tmp_path / "data/others").is_dir()
    for clip in CLIPS:  # six speakers, enough for protocol mini
        for speaker in OTHERS:
            grid_clip(corpus / speaker / f"{clip}.mpg")
    assert run_prepare(tmp_path, corpus, "--protocol=mini") == 0
    assert not (tmp_path / "data/others").exists()
    assert run_prepare(tmp_path, corpus) == 0 and (tmp_path / "data/others").is_dir()
    assert run_prepare(tmp_path, corpus, "--set=prepare.others=0") == 0
    assert not (tmp_path / "data/others").exists()
    assert run_prepare(tmp_path, corpus / "s1") == 0
    assert not (tmp_path / "data/others").exists()


def test_they_are_heard_each_talker_in_one_split(tmp_path, corpus, capsys):
    run_to_extract(tmp_path, corpus)
    capsys.readouterr()
    assert run_mix(tmp_path, f"--noise-dir={tmp_path / 'noise'}") == 0
    said = capsys.readouterr().out
    assert "talkers from the corpus: s10 s2 s4 s5 s7\n" in said
    assert "speech: 5 talkers in 15 recordings: 3 train, 1 valid, 1 test" in said
    rows = talkers(tmp_path)
    split_of = {row["source"]: row["split"] for row in rows.values()}
    assert set(split_of) == set(OTHERS) and all(split_of[row["source"]] == row["split"] for row in rows.values())
    store = Store(tmp_path / "dump/noise")
    for key, row in rows.items():
        assert np.array_equal(store.read(key), read_sound(Path(row["path"]))[0])
    heard = read_list(tmp_path / "data/test_noisy/speech_-5dB.jsonl")
    assert len(heard) == 2 and {rows[row.noise]["split"] for row in heard.values()} == {"test"}
    sources = MixSampler(NoiseConf(p_speech=1.0), tmp_path).sources
    draw = np.random.default_rng(0)
    keys = {sources.draw("speech", sources.utterances[0], 3200, draw).key for _ in range(200)}
    assert keys == {key for key, row in rows.items() if row["split"] == "train"}
    for split in prepare.SPLITS:
        voices = [v for track in Store(tmp_path / "dump/babble" / split).meta["tracks"] for v in track["voices"]]
        assert {rows[v["key"]]["split"] for v in voices if v["store"] == "noise"} == {split}


def test_they_stand_beside_those_of_speech_dir(tmp_path, corpus):
    for talker in range(5):
        path = tmp_path / "talkers" / f"t{talker}-a.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, voice(path.stem, 30_000), 16000)
    run_to_extract(tmp_path, corpus)
    assert run_mix(tmp_path, f"--noise-dir={tmp_path / 'noise'}", f"--speech-dir={tmp_path / 'talkers'}") == 0
    split_of = {row["source"]: row["split"] for row in talkers(tmp_path).values()}
    assert set(split_of) == {*OTHERS, *(f"t{n}" for n in range(5))}
    assert sorted(split_of.values()) == ["test"] * 2 + ["train"] * 7 + ["valid"]


def test_men_and_women_among_them_are_heard_alike_in_tests(tmp_path, corpus):
    """All five in the test split: two women, three men."""
    run_to_extract(tmp_path, corpus)
    assert run_mix(tmp_path, f"--noise-dir={tmp_path / 'noise'}") == 0
    path = tmp_path / "data/noise_splits.json"
    path.write_text(path.read_text().replace('"train"', '"test"').replace('"valid"', '"test"'))
    sources, draw = NoiseSources(tmp_path, "test"), np.random.default_rng(1)
    heard = [sources.draw("speech", sources.utterances[0], 3200, draw, by_sex=True).key for _ in range(400)]
    women = sum(key.startswith(("speech-s4-", "speech-s7-")) for key in heard)
    assert 160 < women < 240 and len({key.split("-")[1] for key in heard}) == 5  # four deviations of a fair coin's 200


def test_a_broken_clip_among_them_is_left_out_and_listed(tmp_path, corpus, capsys):
    run_to_extract(tmp_path, corpus)
    broken = corpus / "s5" / f"{CLIPS[1]}.mpg"
    broken.write_bytes(b"no video at all " * 99)
    assert run_mix(tmp_path, f"--noise-dir={tmp_path / 'noise'}") == 0
    assert " 1 failed" in capsys.readouterr().out
    rows = [line.split("\t") for line in (tmp_path / "dump/failed.tsv").read_text().splitlines()[1:]]
    key = f"speech-s5-{CLIPS[1]}"
    assert [row[0] for row in rows] == [key] and str(broken) in rows[0][3]
    assert len(talkers(tmp_path)) == 14 and key not in talkers(tmp_path)
    grid_clip(broken)  # mended: it is heard
    assert run_mix(tmp_path, f"--noise-dir={tmp_path / 'noise'}") == 0
    assert key in talkers(tmp_path) and key in Store(tmp_path / "dump/noise")


def test_one_speaker_of_the_synthetic_corpus(tmp_path):
    """The list of splits that such a corpus has is that of the protocol mini alone; who is a woman is known."""
    from avsr.corpora.mini import MiniConf, make_corpus

    few = MiniConf(train=12, valid=2, test=2, train_speakers=1, valid_speakers=1, test_speakers=2)
    make_corpus(tmp_path / "mini", few)
    assert run_prepare(tmp_path, tmp_path / "mini", "--protocol=m01") == 0
    speakers = [row.speaker for row in read_datadir(tmp_path / "data/test").values()]
    assert speakers == ["m01"]
    others = read_datadir(tmp_path / "data/others")
    assert len(others) == 4 and "m01" not in {row.speaker for row in others.values()}
    assert {row.sex for row in others.values()} == {"m", "f"}
    assert check([str(tmp_path / "data/others")]) == 0


@pytest.mark.parametrize("alone", [True, False])
def test_ten_clips_of_one_speaker_have_all_lists_of_validation(tmp_path, corpus, alone, capsys):
    """One clip validates: alone, its babble is clips of training; with other talkers it is theirs as before."""
    for clip in CLIPS[10:]:
        (corpus / "s1" / f"{clip}.mpg").unlink()
    run_to_extract(tmp_path, corpus / "s1" if alone else corpus)
    train, valid = (Store(tmp_path / "dump/audio" / split / "wave").keys() for split in ("train", "valid"))
    assert (len(train), len(valid)) == (8, 1)
    capsys.readouterr()
    option = f"--noise-dir={tmp_path / 'noise'}"
    assert run_mix(tmp_path, option) == 0
    said = capsys.readouterr().out
    assert ("babble of valid: nobody else to be heard there, so it is clips of train" in said) == alone
    for name in ("train_like", "babble", "clean"):
        assert list(read_list(tmp_path / f"data/valid_noisy/{name}.jsonl")) == valid
    store = Store(tmp_path / "dump/babble/valid")
    voices = [voice for track in store.meta["tracks"] for voice in track["voices"]]
    assert {voice["store"] for voice in voices} == {"train" if alone else "noise"}
    if alone:
        assert {voice["key"] for voice in voices} == set(train)
        first = store.read(store.keys()[0])
        assert abs(np.sqrt(np.mean(first**2)) - 0.05) < 1e-4
        assert "babble of test: none" in said
        assert run_mix(tmp_path, option) == 0
        assert capsys.readouterr().out.count("0 ok, 0 failed") == 5  # noise, two of babble, two of lists: done before


def test_one_speaker_and_other_talkers(tmp_path, capsys):
    """No other talker: no such lists, and that is said. With --speech-dir: talkers of this split alone."""
    for number, split in enumerate(SPLITS):
        make_split(tmp_path, split, speakers=("s1",))
        data = tmp_path / "data" / split
        for path in data.iterdir():  # other clips of the same speaker
            text = path.read_text().replace("s1-c", f"s1-{number}c")
            path.write_text(text.replace(f"corpus/s1-{number}c", "corpus/s1-c"))
        shutil.rmtree(tmp_path / "dump/video" / split)
        pictures(tmp_path / "dump/video" / split / "landmarks", {f"s1-{number}c{n}": 20 + 3 * n for n in range(4)})
        assert run_extract(tmp_path, split) == 0
    assert run_mix(tmp_path) == 0
    said = capsys.readouterr().out
    assert "noise: synthetic" in said and "speech_-5dB of test: no list" in said
    assert "2 voices (not 30: the split has no more), none with the target's own utterance" in said
    assert not (tmp_path / "data/test_noisy/speech_-5dB.jsonl").exists()
    assert MixSampler(NoiseConf(p_speech=1.0), tmp_path).mixture("s1-0c0", 0)[0].shape == (640 * 20,)
    for talker in range(5):
        path = tmp_path / "talkers" / f"t{talker}-a.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, voice(path.stem, 30_000), 16000)
    assert run_mix(tmp_path, f"--speech-dir={tmp_path / 'talkers'}") == 0
    rows = json.loads((tmp_path / "data/noise_splits.json").read_text())["recordings"]
    for row in read_list(tmp_path / "data/test_noisy/speech_-5dB.jsonl").values():
        assert row.store == "noise" and rows[row.noise]["type"] == "speech" and rows[row.noise]["split"] == "test"
    meta = Store(tmp_path / "dump/babble/train").meta
    for track in meta["tracks"]:
        assert any(rows[v["key"]]["split"] == "train" for v in track["voices"] if v["store"] == "noise")
