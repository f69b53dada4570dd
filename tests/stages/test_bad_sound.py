"""Stages 3 and 4 on sound that is taken, converted or dropped: rates, channels, lengths, silence, short noise."""

import csv
import json

import numpy as np
import pytest
import soundfile

from avsr.noise.lists import NoiseConf
from avsr.noise.sampler import ListMixer, MixSampler
from avsr.stages import extract
from avsr.storage.arrays import Store
from avsr.storage.datadir import Utterance, write_datadir
from tests.media.clips import face_clip, tone, write_clip
from tests.stages.tiny import make_noises, make_tables, run_extract, run_mix, write_store

FRAMES = 25
SECOND = 640 * FRAMES


def extracted(work, sounds, *more):
    """Stage 3 on sounds of utterances with 25 pictures each: its code, failed.tsv by utterance, info by utterance."""
    utts = [Utterance(utt, "s1", "BIN", None, path, 1.0) for utt, path in sounds.items()]
    write_datadir(work / "data/test", utts)
    write_store(work / "video/test/crop80", {utt: np.zeros((FRAMES, 1, 1), np.uint8) for utt in sounds})
    places = [f"--data={work}/data/test", f"--video={work}/video", f"--out={work}/audio"]
    code = extract.main([*places, "--max-fail-rate=0.9", *more])
    with open(work / "audio/test/failed.tsv", newline="") as file:
        failed = {row["utterance"]: row["message"] for row in csv.DictReader(file, delimiter="\t")}
    lines = (work / "audio/test/info.jsonl").read_text().splitlines()
    return code, failed, {row["utt"]: row for row in map(json.loads, lines)}


def wav(path, wave, rate=16000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype="FLOAT")
    return path


def test_every_rate_and_channel_is_converted_and_clipping_is_said(tmp_path, capsys):
    loud = np.clip(tone(1, 16000, level=2.0), -1, 1)
    sounds = {
        "s1-48k": wav(tmp_path / "wav/48k.wav", tone(1, 48000), 48000),
        "s1-8k": wav(tmp_path / "wav/8k.wav", tone(1, 8000), 8000),
        "s1-clipped": wav(tmp_path / "wav/clipped.wav", loud),
        "s1-stereo": wav(tmp_path / "wav/stereo.wav", np.hstack([tone(1, 16000), 0.5 * tone(1, 16000)])),
    }
    code, failed, info = extracted(tmp_path, sounds)
    assert code == 0 and not failed
    assert {utt: (row["rate"], row["channels"]) for utt, row in info.items()} == {
        "s1-48k": (48000, 1), "s1-8k": (8000, 1), "s1-clipped": (16000, 1), "s1-stereo": (16000, 2),
    }  # fmt: skip
    store = Store(tmp_path / "audio/test/wave")
    expected = np.sin(2 * np.pi * 440 * np.arange(SECOND) / 16000)
    for utt, level in (("s1-48k", 0.3), ("s1-8k", 0.3), ("s1-stereo", 0.225)):
        assert np.abs(store.read(utt) - level * expected)[400:-400].max() < 3e-3
    assert info["s1-clipped"]["clipped"] == pytest.approx(np.mean(np.abs(loud) >= 0.999), abs=1e-4)
    assert "1 of 4 recordings are clipped" in capsys.readouterr().out


def test_a_fifth_of_a_second_is_mended_and_one_sample_more_is_not(tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal(SECOND + 4000)
    lengths = {"s1-a": -3200, "s1-b": 3200, "s1-c": -3201, "s1-d": 3201}
    sounds = {utt: wav(tmp_path / f"wav/{utt}.wav", noise[: SECOND + more]) for utt, more in lengths.items()}
    code, failed, info = extracted(tmp_path, sounds)
    assert code == 0
    assert {utt: row["padded"] for utt, row in info.items()} == {"s1-a": 3200, "s1-b": -3200}  # said
    store = Store(tmp_path / "audio/test/wave")
    assert store.keys() == ["s1-a", "s1-b"] and store.shape("s1-a") == store.shape("s1-b") == (SECOND,)
    assert not store.read("s1-a")[-3200:].any() and store.read("s1-b")[-3200:].all()
    for utt, word in (("s1-c", "shorter"), ("s1-d", "longer")):
        assert failed[utt].startswith(f"{sounds[utt]}: the sound lasts") and f"0.200 s {word}" in failed[utt]
        assert "cut both to the same length" in failed[utt]


def test_videos_without_sound_and_silent_ones_are_dropped(tmp_path):
    face = face_clip(FRAMES)
    sounds = {
        "s1-good": write_clip(tmp_path / "good.mpg", face, sound=tone(1, 44100)),
        "s1-mute": write_clip(tmp_path / "mute.mpg", face),
        "s1-quiet": write_clip(tmp_path / "quiet.mpg", face, sound=np.zeros((44100, 1), np.float32)),
        "s1-zero": wav(tmp_path / "zero.wav", np.zeros(SECOND)),
    }
    code, failed, info = extracted(tmp_path, sounds)
    assert code == 0 and list(info) == ["s1-good"] == Store(tmp_path / "audio/test/wave").keys()
    for utt, words in (("s1-mute", "has no sound; give a file with sound"), ("s1-quiet", "is silent"),
                       ("s1-zero", "is silent")):  # fmt: skip
        assert failed[utt].startswith(str(sounds[utt])) and words in failed[utt]
    assert extracted(tmp_path, sounds, "--max-fail-rate=0.05")[0] == 3


def test_noise_that_is_shorter_than_speech_is_repeated_at_the_exact_snr(tmp_path):
    work = make_tables(tmp_path / "work", clips=2, frames=15)
    noise = make_noises(tmp_path / "noise", samples=700)  # 44 ms; the utterances have 600
    assert run_extract(work) == 0 and run_mix(work, noise) == 0
    mixers = [ListMixer(work / "data/test_noisy" / f"natural_{snr}dB.jsonl", work, "test") for snr in (0, -5)]
    pairs = [(mixer.mixture(utt), row.snr) for mixer in mixers for utt, row in mixer.rows.items()]
    sampler = MixSampler(NoiseConf(p_speech=0.0, snr=(3.0, 3.0)), work)
    pairs += [(sampler.mixture(utt, epoch), 3.0) for utt in sampler.sources.utterances for epoch in range(3)]
    assert len(pairs) == 2 * 4 + 4 * 3
    for (noisy_n, clean_n), snr in pairs:
        rest = noisy_n.astype(np.float64) - clean_n
        assert 10 * np.log10(np.var(clean_n, dtype=np.float64) / np.var(rest)) == pytest.approx(snr, abs=0.01)
        quarters = np.var(rest.reshape(4, -1), axis=1)
        assert quarters.min() > 0.5 * quarters.max()  # it is there to the end
