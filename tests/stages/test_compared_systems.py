"""The systems of MHCA-AVCRN's Table 3, comparable and as published, and the sub-networks of AE-MSR trained as these
are: trained and scored on a toy corpus."""

import numpy as np
import pytest
import torch

from avsr.models.systems import load_system
from avsr.noise.sampler import ListMixer
from avsr.scoring.results import read_csv, read_scores
from avsr.scoring.speech import score_utterance
from avsr.stages.train_system import TrainStageConf
from avsr.storage.arrays import Store
from avsr.training import checkpoint
from tests.stages.enhanced import FAST, NATURAL, make_enhanced

SYSTEMS = ("dl_avse", "dl_avse_faithful", "ova", "ova_faithful", "l2l", "l2l_faithful", "ae_tcn_avse", "ae_1drn_avse")
TWO = FAST | {"batch": 2}
KEPT = [phase | {"keep": True} for phase in load_system("ova_faithful").train["phases"]]
CONF = TrainStageConf(preset="tiny", train={name: TWO for name in SYSTEMS} | {"ova_faithful": TWO | {"phases": KEPT}})
FRAMES = 30


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder after stage 9."""
    return make_enhanced(tmp_path_factory.mktemp("compared") / "work", SYSTEMS, CONF, FRAMES)


def test_all_are_scored_on_waveforms(work):
    rows = {row["system"]: row for row in read_csv(work / "results.csv") if row["metric"] == "stoi"}
    assert {*SYSTEMS, "ova+audio", "ova_faithful+audio"} <= set(rows)
    for name in SYSTEMS:
        assert 0 < float(rows[name]["value"]) <= 100
    text = (work / "RESULTS.md").read_text()
    assert "| L2L (as published) |" in text and "| OVA, audio |" in text
    for title in ("STOI %", "PESQ", "ESTOI %", "SI-SDR dB"):
        table = text.split(f"### Enhancement: {title}")[1].split("###")[0]
        assert "| TCN-AE, as enhancer |" in table and "| 1DRN-AE, as enhancer |" in table
    assert "With the mel set of AE-MSR (`mel_htk`), not that of the others: TCN-AE, as enhancer" in text
    assert "### Energy error" not in text  # that is for what was trained on babble


def test_seams_of_all_are_measured_and_drawn(work):
    text = (work / "RESULTS.md").read_text()
    table = text.split("### Slice seams: ")[1].split("###")[0]
    names = [load_system(name).name for name in SYSTEMS]
    assert all(f"| {name} | – | – | – | " in table for name in ["Unprocessed", *names])  # one list, of natural noise
    assert "Scored before" not in table and "Oracle" not in table
    assert f"(figures/toy-none/seams.png)\n\n*Squared error of the log-mel by position in the slice, {NATURAL}" in text
    assert (work / "figures/toy-none/seams.png").exists()


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
