"""Test lists as a manifest, 1200 utterances of 8 speakers: who interferes, from where, how loud, by the files alone."""

import json
from collections import Counter

import numpy as np
import pytest

from avsr.noise.lists import Condition, draw_row, write_list
from avsr.noise.sampler import ListMixer
from avsr.noise.sources import NoiseSources
from avsr.storage.arrays import finish_store
from avsr.storage.atomic import write_json
from avsr.storage.datadir import Utterance, write_datadir
from tests.stages.tiny import voice, write_store

SAMPLES = 3200  # of an utterance: five pictures
SEXES = {"s1": "m", "s2": "m", "s9": "m", "s30": "m", "s20": "f", "s22": "f", "s24": "f", "s33": "f"}
CONDITIONS = [Condition(kind, snr) for kind in ("speech", "natural", "own") for snr in (-5.0, 0.0)]
EACH = 150
NOISES = {"rain": (9000, 7000, 1000), "car": (8000,)}  # samples; one recording is shorter than an utterance


def make_split(work, sexes: dict[str, str], each: int, talkers: tuple[str, ...] = ()):
    """The test split after stage 4 but for its lists; `talkers`: of --speech-dir."""
    utts = [f"{who}-c{number:03d}" for who in sexes for number in range(each)]
    draw = np.random.default_rng(0)
    waves = {utt: draw.normal(0, 0.05, SAMPLES).astype(np.float32) for utt in utts}
    rows = [Utterance(utt, utt.split("-")[0], "A", None, work / "a.wav", 0.2, sex=sexes[utt[:-5]]) for utt in utts]
    write_datadir(work / "data/test", rows)
    write_store(work / "dump/audio/test/wave", waves)
    noise, recordings = {}, {}
    for kind, lengths in NOISES.items():
        for number, samples in enumerate(lengths):
            noise[f"{kind}-{number}"] = voice(f"{kind}-{number}", samples).astype(np.float32)
            recordings[f"{kind}-{number}"] = {"type": kind, "source": f"{number}", "split": "test"}
    for who in talkers:
        noise[f"speech-{who}"] = voice(who, 6000).astype(np.float32)
        recordings[f"speech-{who}"] = {"type": "speech", "source": who, "split": "test"}
    recordings["rain-9"] = {"type": "rain", "source": "9", "split": "train"}  # heard in training alone
    write_store(work / "dump/noise", noise)
    write_json(work / "data/noise_splits.json", {"recordings": recordings})
    finish_store(work / "dump/babble/test", "hdf5", {}, {"groups": {"by": "speaker", "group": {}}, "tracks": []})
    return waves, noise


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The folder, the sounds by store, and the lines of the six lists as any reader of JSON sees them."""
    work = tmp_path_factory.mktemp("work")
    waves, noise = make_split(work, SEXES, EACH, ("t1", "t2"))
    sources, lines = NoiseSources(work, "test"), {}
    for condition in CONDITIONS:
        path = work / "data/test_noisy" / f"{condition.name}.jsonl"
        write_list(path, [draw_row(sources, utt, condition, 0) for utt in sources.utterances])
        lines[condition.name] = [json.loads(line) for line in path.read_text().splitlines()]
    return work, {"wave": waves, "noise": noise}, lines


def test_each_utterance_is_mixed_once_in_every_condition(work):
    _, sounds, lines = work
    assert len(lines) == 6 and {name: len(rows) for name, rows in lines.items()} == dict.fromkeys(lines, 1200)
    for name, rows in lines.items():
        assert sorted(row["utt"] for row in rows) == sorted(sounds["wave"])
        assert {f"{row['kind']}_{row['snr']:g}dB" for row in rows} == {name}


@pytest.mark.parametrize("snr", ["-5", "0"])
def test_the_interferer_is_another_speaker_of_the_test_split_men_and_women_alike(work, snr):
    rows = work[2][f"speech_{snr}dB"]
    pairs = [(row["utt"].split("-")[0], row["noise"].split("-")[0]) for row in rows]
    assert {row["store"] for row in rows} == {"wave"}  # nobody of --speech-dir: not among the speakers of the test
    assert all(target != other for target, other in pairs) and {other for _, other in pairs} == {*SEXES}
    for sex in "mf":  # of whichever sex the target is; four deviations of 600 throws of a coin
        heard = Counter(SEXES[other] for target, other in pairs if SEXES[target] == sex)
        assert 300 - 49 < heard["m"] < 300 + 49
    assert len({row["noise"] for row in rows}) > 600  # many utterances of each


def test_own_is_another_utterance_of_the_same_talker(work):
    rows = work[2]["own_-5dB"] + work[2]["own_0dB"]
    assert all(row["noise"].split("-")[0] == row["utt"].split("-")[0] for row in rows)
    assert all(row["noise"] != row["utt"] and row["store"] == "wave" for row in rows)


def test_natural_is_noise_of_the_test_sources_types_alike(work):
    rows = work[2]["natural_-5dB"]
    types = Counter(row["noise"].split("-")[0] for row in rows)
    assert {row["noise"] for row in rows} == {"rain-0", "rain-1", "rain-2", "car-0"}
    assert 600 - 70 < types["car"] < 600 + 70


def test_gain_and_offset_give_the_mixture_that_all_systems_hear(work):
    """Made here from the line and the two sounds; where the interferer has to be repeated, by its SNR alone."""
    folder, sounds, lines = work
    repeated = 0
    for name, rows in lines.items():
        mixer = ListMixer(folder / "data/test_noisy" / f"{name}.jsonl", folder, "test")
        for row in rows[::40]:
            target_n = sounds["wave"][row["utt"]].astype(np.float64)
            other_n = sounds[row["store"]][row["noise"]].astype(np.float64)
            noisy_n, clean_n = mixer.mixture(row["utt"])
            heard_n = noisy_n.astype(np.float64) - clean_n
            assert 10 * np.log10(np.var(clean_n) / np.var(heard_n)) == pytest.approx(row["snr"], abs=0.01)
            assert 0 <= row["offset"] < len(other_n)
            if row["offset"] + SAMPLES > len(other_n):
                repeated += 1
                continue
            cut_n = other_n[row["offset"] : row["offset"] + SAMPLES]
            cut_n = cut_n - cut_n.mean()
            gain = np.sqrt(np.var(target_n) / np.var(cut_n) / 10 ** (row["snr"] / 10))
            assert row["gain"] == pytest.approx(gain, rel=1e-4)
            mixed_n = target_n + gain * cut_n
            assert noisy_n == pytest.approx(0.05 * mixed_n / np.sqrt(np.mean(mixed_n**2)), abs=1e-5)
    assert repeated > 0


def test_where_no_sex_is_known_speakers_are_drawn_alike(tmp_path):
    make_split(tmp_path, dict.fromkeys(("s1", "s2", "s3", "s4"), ""), 100)
    sources = NoiseSources(tmp_path, "test")
    rows = [draw_row(sources, utt, Condition("speech", 0.0), 0) for utt in sources.utterances if utt.startswith("s1")]
    rows += [draw_row(sources, row.utt, Condition("speech", 0.0), seed) for seed in (1, 2) for row in rows[:100]]
    heard = Counter(row.noise.split("-")[0] for row in rows)
    assert {*heard} == {"s2", "s3", "s4"} and all(100 - 33 < count < 100 + 33 for count in heard.values())


def test_a_single_speaker_is_disturbed_by_talkers_from_elsewhere(tmp_path):
    make_split(tmp_path, {"s1": "m"}, 3, ("t1", "t2"))
    sources = NoiseSources(tmp_path, "test")
    drawn = [draw_row(sources, "s1-c000", Condition("speech", 0.0), seed) for seed in range(30)]
    assert {(row.store, row.noise) for row in drawn} == {("noise", "speech-t1"), ("noise", "speech-t2")}
