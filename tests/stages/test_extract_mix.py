"""Stages 3 and 4 on a small work folder: sounds on disk, pictures as stage 2 leaves them."""

import hashlib
import json
import os
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr.errors import AvsrError
from avsr.features.mel import mel
from avsr.noise.lists import Condition, NoiseConf, draw_row, read_list
from avsr.noise.sampler import ListMixer, MixSampler
from avsr.noise.sources import NoiseSources
from avsr.stages import extract, mix
from avsr.storage.arrays import ShardWriter, Store, finish_store
from avsr.storage.atomic import write_json
from avsr.storage.datadir import Utterance, read_datadir, write_datadir

SPLITS = {"train": ("s1", "s2", "s3"), "valid": ("s4", "s5"), "test": ("s6", "s7")}


def voice(name: str, samples: int) -> np.ndarray:
    """A buzz with syllables; another one for every name."""
    draw = np.random.default_rng(list(name.encode()))
    time_n = np.arange(samples) / 16000
    buzz = sum(np.sin(2 * np.pi * draw.uniform(90, 250) * k * time_n) / k for k in range(1, 9))
    return 0.1 * buzz * (1.1 + np.sin(2 * np.pi * draw.uniform(2, 5) * time_n)) + 0.001 * draw.standard_normal(samples)


def pictures(folder: Path, counts: dict[str, int]) -> None:
    with ShardWriter(folder, 0) as shard:
        for utt, count in counts.items():
            shard.write(utt, np.zeros((count, 68, 2), np.float32))
    finish_store(folder, "hdf5", {0: shard.index}, {})


def make_split(work: Path, split: str, clips: int = 4, speakers=None) -> list[Utterance]:
    utts, counts = [], {}
    for speaker in speakers or SPLITS[split]:
        for clip in range(clips):
            utt = f"{speaker}-c{clip}"
            counts[utt] = 20 + 3 * clip
            path = work / "corpus" / f"{utt}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, voice(utt, 640 * counts[utt] - 300), 16000, subtype="FLOAT")
            utts.append(Utterance(utt, speaker, "bin blue", None, path, 640 * counts[utt] / 16000))
    write_datadir(work / "data" / split, utts)
    pictures(work / "dump/video" / split / "landmarks", counts)
    return utts


def run_extract(work: Path, split: str, *more: str) -> int:
    places = [f"--data={work}/data/{split}", f"--video={work}/dump/video", f"--out={work}/dump/audio"]
    return extract.main([*places, *more])


def run_mix(work: Path, *more: str) -> int:
    places = [f"--data={work}/data", f"--audio={work}/dump/audio", f"--out={work}/dump"]
    small = [f"--set=mix.babble.{key}" for key in ("seconds=4", "tracks=2", "groups=2")]
    return mix.main([*places, *small, *more])


def noises(folder: Path) -> Path:
    for kind in ("car", "rain"):
        for number in range(4):
            path = folder / kind / f"n{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            samples = 5000 + 9000 * number  # shorter and longer than speech
            wave_n = 0.1 * np.random.default_rng(number).standard_normal(samples)
            soundfile.write(path, wave_n, 8000 if number == 2 else 16000)
    soundfile.write(folder / "car/n3.wav", np.full((20000, 2), 0.1) * np.sin(np.arange(20000))[:, None], 44100)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder that another stage reads, logs and markers left out."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and not {"log", ".done"} & set(p.parts))
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A work folder after stages 3 and 4."""
    work = tmp_path_factory.mktemp("work")
    for split in SPLITS:
        make_split(work, split)
        assert run_extract(work, split) == 0
    assert run_mix(work, f"--noise-dir={noises(work / 'noise')}") == 0
    return work


def snr_of(mixture) -> float:
    noisy_n, clean_n = (wave_n.astype(np.float64) for wave_n in mixture)
    return 10 * np.log10(np.var(clean_n) / np.var(noisy_n - clean_n))


def test_waves_and_mels_are_as_long_as_the_pictures(work):
    stores = {name: Store(work / "dump/audio/test" / name) for name in ("wave", "mel_slaney", "mel_htk")}
    assert len(stores["wave"]) == 8
    for utt in stores["wave"].keys():
        count = 20 + 3 * int(utt[-1])
        wave_n = stores["wave"].read(utt)
        assert wave_n.shape == (640 * count,) and wave_n.dtype == np.float32
        expected_n = voice(utt, 640 * count - 300)
        assert np.allclose(wave_n[:-300], expected_n - expected_n.mean(), atol=1e-5) and not wave_n[-300:].any()
        for name in ("mel_slaney", "mel_htk"):
            assert stores[name].shape(utt) == (4 * count, 80)
            assert np.array_equal(stores[name].read(utt), mel(wave_n, name))
    row = json.loads((work / "dump/audio/test/info.jsonl").read_text().splitlines()[0])
    assert row == {"utt": "s6-c0", "padded": 300, "clipped": 0.0, "rate": 16000, "channels": 1}


def test_bad_sounds_are_dropped_by_name_and_the_rest_goes_on(tmp_path, capsys):
    utts = make_split(tmp_path, "test", clips=6)
    soundfile.write(utts[0].audio, voice("x", 640 * 20 + 3201), 16000)
    soundfile.write(utts[1].audio, np.zeros(640 * 23), 16000)
    utts[2].audio.unlink()
    utts[3].audio.write_text("text\n" * 99)
    clipped_n = np.clip(20 * voice("y", 640 * 32), -1, 1)
    soundfile.write(utts[4].audio, np.stack([clipped_n, clipped_n], axis=1), 16000)
    assert run_extract(tmp_path, "test") == 3
    rows = [line.split("\t") for line in (tmp_path / "dump/audio/test/failed.tsv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == [utt.id for utt in utts[:4]]
    words = ("0.200 s longer than its 20", "is silent", "no such file", "not readable")
    for utt, row, word in zip(utts[:4], rows, words, strict=True):
        assert str(utt.audio) in row[3] and word in row[3]
    assert "8 ok, 4 failed, 0 skipped" in capsys.readouterr().out
    assert run_extract(tmp_path, "test", "--max-fail-rate=0.5") == 0
    assert "1 of 8 recordings are clipped" in capsys.readouterr().out
    assert len(Store(tmp_path / "dump/audio/test/wave")) == 8


def test_pictures_missing_are_said_with_their_stage(tmp_path, capsys):
    make_split(tmp_path, "test")
    pictures(tmp_path / "dump/video/test/landmarks", {"s6-c0": 20, "s6-c1": 23})
    assert run_extract(tmp_path, "test") == 0
    assert Store(tmp_path / "dump/audio/test/wave").keys() == ["s6-c0", "s6-c1"]
    shutil.rmtree(tmp_path / "dump/video")
    capsys.readouterr()
    assert run_extract(tmp_path, "test") == 1
    out = capsys.readouterr()
    assert "crop80/store.json is missing: stage 2 (crop) makes it" in out.out + out.err


def test_all_lists_are_there_and_every_mixture_has_its_snr(work):
    names = {path.stem for path in (work / "data/test_noisy").iterdir()}
    assert names == {"clean", *(f"babble_{snr}dB" for snr in (10, 5, 0, -5, -10)),
                     *(f"{kind}_{snr}dB" for kind in ("natural", "speech", "own") for snr in (0, -5))}  # fmt: skip
    utts = Store(work / "dump/audio/test/wave").keys()
    for name in names:
        mixer = ListMixer(work / "data/test_noisy" / f"{name}.jsonl", work, "test")
        assert list(mixer.rows) == utts
        for utt, row in mixer.rows.items():
            noisy_n, clean_n = mixer.mixture(utt)
            assert np.sqrt(np.mean(noisy_n**2)) == pytest.approx(0.05, rel=1e-4)
            if name == "clean":
                assert np.array_equal(noisy_n, clean_n)
            else:
                assert snr_of((noisy_n, clean_n)) == pytest.approx(row.snr, abs=0.01)
                assert name == f"{row.kind}_{row.snr:g}dB"


def test_who_interferes(work):
    """Another talker of the split; another clip of the same talker; noise and babble of this split alone."""
    speaker_of = {utt: utt.split("-")[0] for utt in Store(work / "dump/audio/test/wave").keys()}
    splits = json.loads((work / "data/noise_splits.json").read_text())["recordings"]
    babble = {track["key"]: track for track in Store(work / "dump/babble/test").meta["tracks"]}
    for utt, speaker in speaker_of.items():
        rows = {kind: read_list(work / f"data/test_noisy/{kind}_-5dB.jsonl")[utt]
                for kind in ("natural", "speech", "own", "babble")}  # fmt: skip
        assert splits[rows["natural"].noise]["split"] == "test" and rows["natural"].store == "noise"
        assert speaker_of[rows["speech"].noise] != speaker
        assert speaker_of[rows["own"].noise] == speaker and rows["own"].noise != utt
        assert all(speaker_of[v["key"]] != speaker for v in babble[rows["babble"].noise]["voices"])


def test_men_and_women_interfere_equally_often_in_tests_alone(tmp_path):
    """One woman among four other talkers is heard in half of the test mixtures, and in training in a quarter."""
    make_split(tmp_path, "test", 1, ["s1", "s2", "s3", "s4", "s5"])
    sexes = {"s1": "m", "s2": "m", "s3": "m", "s4": "m", "s5": "f"}
    utts = read_datadir(tmp_path / "data/test").values()
    write_datadir(tmp_path / "data/test", [replace(utt, sex=sexes[utt.speaker]) for utt in utts])
    assert run_extract(tmp_path, "test") == 0
    finish_store(tmp_path / "dump/noise", "hdf5", {}, {})
    finish_store(tmp_path / "dump/babble/test", "hdf5", {}, {"groups": {"by": "speaker", "group": {}}, "tracks": []})
    write_json(tmp_path / "data/noise_splits.json", {"recordings": {}})
    sources = NoiseSources(tmp_path, "test")
    tests = [draw_row(sources, "s1-c0", Condition("speech", 0.0), seed).noise for seed in range(400)]
    draw = np.random.default_rng(1)
    training = [sources.draw("speech", "s1-c0", 3200, draw).key for _ in range(400)]
    assert set(tests) == set(training) == {"s2-c0", "s3-c0", "s4-c0", "s5-c0"}
    assert 160 < tests.count("s5-c0") < 240  # four deviations of a fair coin's 200
    assert 65 < training.count("s5-c0") < 135


def test_validation_lists_are_as_in_training(work):
    rows = read_list(work / "data/valid_noisy/train_like.jsonl")
    assert len(rows) == 8 and all(-10 <= row.snr <= 10 for row in rows.values())
    assert len({row.snr for row in rows.values()}) == 8
    assert {row.kind for row in read_list(work / "data/valid_noisy/babble.jsonl").values()} == {"babble"}


def test_training_mixtures_are_fresh_each_epoch_and_the_same_for_everyone(work):
    sampler, again = (MixSampler(NoiseConf(p_speech=0.5), work, "train", seed=3) for _ in range(2))
    utts = sampler.sources.utterances
    assert len(utts) == 12
    snrs = []
    for epoch in range(20):
        for utt in utts:
            noisy_n, clean_n = sampler.mixture(utt, epoch)
            snrs.append(snr_of((noisy_n, clean_n)))
            assert noisy_n.dtype == np.float32 and len(noisy_n) == len(sampler.sources.wave(utt))
            assert np.sqrt(np.mean(noisy_n**2)) == pytest.approx(0.05, rel=1e-4)
    assert len(set(np.round(snrs, 6))) == len(snrs)
    assert -10.01 < min(snrs) < -8 and 8 < max(snrs) < 10.01
    assert np.histogram(snrs, 4, (-10, 10))[0].min() > 30  # uniform: 60 of 240 in each quarter
    for utt in reversed(utts):
        assert np.array_equal(again.mixture(utt, 7)[0], sampler.mixture(utt, 7)[0])
    other = MixSampler(NoiseConf(p_speech=0.5), work, "train", seed=4)
    assert not np.array_equal(other.mixture(utts[0], 7)[0], sampler.mixture(utts[0], 7)[0])


def test_the_same_list_gives_the_same_waves(work, tmp_path):
    source = work / "data/valid_noisy/babble.jsonl"
    copy = Path(shutil.copy(source, tmp_path / "copy.jsonl"))
    utts = sorted(read_list(source))
    first, again = ListMixer(source, work, "valid"), ListMixer(copy, work, "valid")
    hashes = {utt: hashlib.sha256(first.mixture(utt)[0].tobytes()).hexdigest() for utt in utts}
    assert {utt: hashlib.sha256(again.mixture(utt)[0].tobytes()).hexdigest() for utt in reversed(utts)} == hashes
    assert len(set(hashes.values())) == len(utts) > 1


def test_the_share_of_clean_utterances(work):
    sampler = MixSampler(NoiseConf(p_noise=0.25, natural=0, babble=1, p_speech=0), work)
    pairs = [sampler.mixture(utt, epoch) for epoch in range(30) for utt in sampler.sources.utterances]
    clean = np.mean([np.array_equal(noisy_n, clean_n) for noisy_n, clean_n in pairs])
    assert clean == pytest.approx(0.75, abs=0.08)


def test_memory_does_not_grow_with_the_number_of_mixtures(work):
    sampler = MixSampler(NoiseConf(babble=1), work)
    utts = sampler.sources.utterances
    tracemalloc.start()
    for epoch in range(3):
        [sampler.mixture(utt, epoch) for utt in utts]
    before = tracemalloc.get_traced_memory()[0]
    for epoch in range(3, 23):
        [sampler.mixture(utt, epoch) for utt in utts]
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 100_000  # one wave is already 80 kB


def test_a_row_that_names_missing_noise_is_one_line(work, tmp_path):
    lines = (work / "data/test_noisy/natural_0dB.jsonl").read_text().splitlines()
    row = json.loads(lines[0])
    path = tmp_path / "natural_0dB.jsonl"
    for change in ({"noise": "rain-gone"}, {"store": "wave", "noise": "s9-gone"}, {"store": "attic"}):
        spoilt = {**row, **change}
        path.write_text("\n".join([json.dumps(spoilt), *lines[1:]]) + "\n")
        words = f"natural_0dB.jsonl: s6-c0: noise {spoilt['noise']} is not in the store of {spoilt['store']} of test; "
        with pytest.raises(AvsrError, match=words + r"run stage 4 \(mix\) again"):
            ListMixer(path, work, "test")
    path.write_text(lines[0] + "\n")
    with pytest.raises(AvsrError, match="has no row for s7-c0"):
        ListMixer(path, work, "test").mixture("s7-c0")


@pytest.mark.parametrize("storage", ["hdf5", "ark"])
def test_the_same_bytes_for_any_number_of_processes_and_all_done_after(tmp_path, storage, capsys, monkeypatch):
    monkeypatch.setattr("avsr.stages.common.SHARD_SIZE", 5)
    folders = [tmp_path / "one", tmp_path / "two"]
    noise = noises(tmp_path / "noise")
    shared = tmp_path / "corpus"
    for work, nj in zip(folders, ("1", "2"), strict=True):
        for split in SPLITS:
            make_split(tmp_path, split, clips=2)
            shutil.copytree(tmp_path / "data" / split, work / "data" / split)
            shutil.copytree(tmp_path / "dump/video" / split, work / "dump/video" / split)
        stamp = 1_700_000_000
        for path in shared.iterdir():  # the files are made again: the same time, or their fingerprints differ
            os.utime(path, (stamp, stamp))
        for split in SPLITS:
            assert run_extract(work, split, f"--nj={nj}", f"--storage={storage}") == 0
        assert run_mix(work, f"--noise-dir={noise}", f"--nj={nj}", f"--storage={storage}") == 0
    assert contents(folders[0] / "data") == contents(folders[1] / "data")
    assert contents(folders[0] / "dump") == contents(folders[1] / "dump")
    capsys.readouterr()
    assert run_mix(folders[0], f"--noise-dir={noise}", f"--storage={storage}") == 0
    said = capsys.readouterr().out
    assert said.count(" 0 failed") == said.count("0 ok, 0 failed") == 6
    assert contents(folders[0] / "dump") == contents(folders[1] / "dump")


def test_parts_of_the_work_on_several_machines(work, tmp_path, monkeypatch):
    monkeypatch.setattr("avsr.stages.common.SHARD_SIZE", 5)
    for name in ("data", "dump/audio", "dump/video"):
        shutil.copytree(work / name, tmp_path / name)
    for folder in ("data/test_noisy", "data/valid_noisy"):
        shutil.rmtree(tmp_path / folder)
    option = f"--noise-dir={work}/noise"
    for _ in range(4):  # noise, then babble of three splits, then lists: a part goes on when all parts are there
        for part in ("1/2", "2/2"):
            assert run_mix(tmp_path, option, f"--shard={part}") == 0
    assert run_mix(tmp_path, option) == 0
    assert contents(tmp_path / "data/test_noisy") == contents(work / "data/test_noisy")
    assert contents(tmp_path / "data/valid_noisy") == contents(work / "data/valid_noisy")


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("empty", "no sound files in it"),
        ("text", "bad.wav: is no sound file"),
        ("silent", "bad.wav: is silent; take it out"),
        ("missing", "there is no such folder; --noise-dir names it"),
        ("few", "no noise type has 3 sources"),
        ("split", "data: no split in it"),
        ("extract", "stage 3 (extract) makes it"),
        ("place", "must be DIR/data, DIR/dump/audio and DIR/dump of one work folder"),
        ("key", "unknown key 'test_snr_enhance'; did you mean 'test_snrs_enhance'?"),
    ],
)
def test_what_stage_4_refuses(work, tmp_path, case, message, capsys):
    for name in ("data", "dump/audio"):
        shutil.copytree(work / name, tmp_path / name)
    noise, more = tmp_path / "noise", []
    if case != "missing":
        shutil.copytree(work / "noise", noise)
    if case == "empty":
        shutil.rmtree(noise)
        noise.mkdir()
    elif case == "text":
        (noise / "car/bad.wav").write_text("words\n" * 40)
    elif case == "silent":
        soundfile.write(noise / "car/bad.wav", np.zeros(16000), 16000)
    elif case == "few":
        for path in noise.glob("*/n[23].wav"):
            path.unlink()
    elif case == "split":
        shutil.rmtree(tmp_path / "data")
        (tmp_path / "data").mkdir()
    elif case == "extract":
        shutil.rmtree(tmp_path / "dump/audio")
    elif case == "place":
        more = [f"--audio={work}/dump/audio"]
    elif case == "key":
        more = ["--set=mix.test_snr_enhance=[0]"]
    assert run_mix(tmp_path, f"--noise-dir={noise}", *more) == (2 if case in ("place", "key") else 1)
    out = capsys.readouterr()
    lines = [line for line in (out.out + out.err).splitlines() if message in line]
    assert len(lines) == 1


def test_real_clips_sound_noise_and_talkers(real_data, tmp_path):
    """GRID's sound out of its video files (44.1 kHz stereo, 2.978 s, padded to 75 pictures), real noise and talkers."""
    clips = sorted((real_data / "grid/s1").glob("bb*.mpg"))[:6] + sorted((real_data / "grid/s1").glob("l*.mp4"))[:6]
    for split, part in (("train", clips[::3]), ("valid", clips[1::3]), ("test", clips[2::3])):
        utts = [Utterance(f"s1-{path.stem}", "s1", "bin blue", path, None, 3.0) for path in part]
        write_datadir(tmp_path / "data" / split, utts)
        pictures(tmp_path / "dump/video" / split / "landmarks", {utt.id: 75 for utt in utts})
        assert run_extract(tmp_path, split) == 0
        rows = [json.loads(line) for line in (tmp_path / "dump/audio" / split / "info.jsonl").read_text().splitlines()]
        assert {(row["rate"], row["channels"]) for row in rows} == {(44100, 2)}
        assert all(0 < row["padded"] < 700 for row in rows)
    assert run_mix(tmp_path, f"--noise-dir={real_data / 'noise'}", f"--speech-dir={real_data / 'speech'}") == 0
    lists = list((tmp_path / "data/test_noisy").glob("*.jsonl"))
    assert len(lists) == 12
    for path in lists:
        mixer = ListMixer(path, tmp_path, "test")
        for utt, row in mixer.rows.items():
            if row.snr is not None:
                assert snr_of(mixer.mixture(utt)) == pytest.approx(row.snr, abs=0.01)
    sampler = MixSampler(NoiseConf(p_speech=0.3, babble=0.5), tmp_path)
    for epoch in range(10):
        for utt in sampler.sources.utterances:
            assert -10.01 < snr_of(sampler.mixture(utt, epoch)) < 10.01
