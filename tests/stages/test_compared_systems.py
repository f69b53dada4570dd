"""The systems of MHCA-AVCRN's Table 3, comparable and as published: trained and scored on a toy corpus."""

import numpy as np
import pytest
import torch

from avsr.models.systems import load_system
from avsr.noise.sampler import ListMixer
from avsr.scoring.results import read_csv, read_scores
from avsr.scoring.speech import score_utterance
from avsr.stages import score
from avsr.stages.train_system import TrainStageConf, inputs_of, plan, train_one
from avsr.storage.arrays import Store
from avsr.storage.atomic import write_json
from avsr.training import checkpoint
from tests.stages.tiny import SPEAKERS, make_noises, make_tables, run_extract, run_mix, write_store

SYSTEMS = ("dl_avse", "dl_avse_faithful", "ova", "ova_faithful", "l2l", "l2l_faithful")
FAST = {"batch": 2, "epochs": 1, "precision": "fp32", "channels_last": False, "workers": 0, "tensorboard": False}
KEPT = [phase | {"keep": True} for phase in load_system("ova_faithful").train["phases"]]
CONF = TrainStageConf(preset="tiny", train={name: FAST for name in SYSTEMS} | {"ova_faithful": FAST | {"phases": KEPT}})
FRAMES = 30
NATURAL = "natural_-5dB"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder after stage 9."""
    work = make_tables(tmp_path_factory.mktemp("compared") / "work", clips=1, frames=FRAMES)
    lists = ["--set=mix.test_kinds_enhance=[natural]", "--set=mix.test_snrs_enhance=[-5]"]
    assert run_extract(work) == 0
    assert run_mix(work, make_noises(work / "noise"), *lists, "--set=mix.test_snrs_recognise=[clean]") == 0
    ids = {split: Store(work / "dump/audio" / split / "wave").keys() for split in SPEAKERS}
    draw = np.random.default_rng(0)
    for split, utts in ids.items():  # stage 2 makes this store where it is asked for
        pictures = {utt: draw.integers(0, 256, (FRAMES, 128, 128)).astype(np.uint8) for utt in utts}
        write_store(work / "dump/video" / split / "crop128", pictures)
    write_json(work / "data/splits.json", {"protocol": "toy", "synthetic": True, **ids})
    for name in SYSTEMS:
        system = load_system(name, "tiny")
        train_one(**plan(system, CONF, work, 0, "cpu", inputs_of(system, CONF, work, 0)).args)
    assert score.main([f"--work-dir={work}", f"--systems={' '.join(SYSTEMS)}"]) == 0
    return work


def test_all_are_scored_on_waveforms(work):
    rows = {row["system"]: row for row in read_csv(work / "results.csv") if row["metric"] == "stoi"}
    assert {*SYSTEMS, "ova+audio", "ova_faithful+audio"} <= set(rows)
    for name in SYSTEMS:
        assert 0 < float(rows[name]["value"]) <= 100
    text = (work / "RESULTS.md").read_text()
    assert "| L2L (as published) |" in text and "| OVA, audio |" in text


@pytest.mark.parametrize("name", ["ova", "ova_faithful"])
def test_the_audio_row_is_that_of_the_audio_branch(work, name):
    both, alone = (
        read_scores(work / f"exp/{row}/seed0/{NATURAL}/scores.tsv").columns["stoi"] for row in (name, f"{name}+audio")
    )
    assert not np.array_equal(both, alone)


def test_the_audio_branch_as_published_is_that_of_the_first_phase(work):
    first, last = (
        checkpoint.read(work / "exp/ova_faithful/seed0" / file)["model"] for file in ("best-audio.pt", "best.pt")
    )
    for name, weights in first.items():
        if name.startswith("audio_"):
            assert torch.equal(weights, last[name]), name
    assert not torch.equal(first["gate.0.weight"], last["gate.0.weight"])


def test_waves_are_scored_as_they_come(work):
    """L2L as published enhances the samples themselves: no reconstruction from magnitudes follows."""
    mixer = ListMixer(work / f"data/test_noisy/{NATURAL}.jsonl", work, "test")
    scores = read_scores(work / f"exp/l2l_faithful/seed0/{NATURAL}/scores.tsv")
    model, _ = checkpoint.load_model(work / "exp/l2l_faithful/seed0/best.pt")
    for place, utt in enumerate(scores.utts):
        noisy_n, clean_n = mixer.mixture(utt)
        pictures = torch.from_numpy(Store(work / "dump/video/test/crop80").read(utt))[None]
        with torch.inference_mode():
            sound = torch.from_numpy(noisy_n).view(1, 4 * FRAMES, 160)
            wave_n = model.estimate(sound, pictures, torch.tensor([FRAMES]))[0].flatten().numpy()
        expected = score_utterance(clean_n, wave_n)
        assert scores.columns["stoi"][place] == pytest.approx(expected["stoi"], rel=1e-3)
