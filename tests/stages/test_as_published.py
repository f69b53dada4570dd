"""Systems as their own papers have them, trained and scored beside the others: other features, pictures, loss."""

import pytest
import torch

from avsr.features.inversion import reconstruct
from avsr.features.mel import mel
from avsr.models.registry import build_model
from avsr.models.systems import load_system, training_conf
from avsr.noise.sampler import ListMixer
from avsr.scoring.results import read_csv, read_scores
from avsr.scoring.speech import score_utterance
from avsr.stages.train_system import TrainStageConf, inputs_of, make_task, plan
from avsr.storage.arrays import Store
from avsr.training import checkpoint
from tests.stages.enhanced import FAST, NATURAL, make_enhanced

SYSTEMS = ("vse", "vse_faithful", "av_se2_faithful", "audio_only_crn_faithful")
CONF = TrainStageConf(preset="tiny", train={name: FAST | {"batch": 4} for name in ("avse", "vse")})
FRAMES = 15


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder after stage 9."""
    return make_enhanced(tmp_path_factory.mktemp("published") / "work", SYSTEMS, CONF, FRAMES)


@pytest.mark.parametrize(("name", "mel_set", "video"), [
    ("vse_faithful", "mel_slaney", "crop128"), ("av_se2_faithful", "stft161", "crop80"),
    ("audio_only_crn_faithful", "stft161", None),
])  # fmt: skip
def test_scores_are_those_of_the_estimate_in_the_system_s_own_domain(work, name, mel_set, video):
    model, _ = checkpoint.load_model(work / f"exp/{name}/seed0/best.pt")
    assert not model.mel_mean.any()  # pictures alone are normalised
    assert video is None or len(torch.unique(model.picture_mean)) > 100
    mixer = ListMixer(work / f"data/test_noisy/{NATURAL}.jsonl", work, "test")
    scores = read_scores(work / f"exp/{name}/seed0/{NATURAL}/scores.tsv")
    assert set(scores.utts) == {*mixer.rows}
    for place, utt in enumerate(scores.utts):
        noisy_n, clean_n = mixer.mixture(utt)
        pictures = torch.from_numpy(Store(work / f"dump/video/test/{video}").read(utt))[None] if video else None
        with torch.inference_mode():
            sound = torch.from_numpy(mel(noisy_n, mel_set))[None]
            estimate_tf = model.estimate(sound, pictures, torch.tensor([FRAMES]))[0].numpy()
        expected = score_utterance(clean_n, reconstruct(noisy_n, estimate_tf, mel_set))
        assert scores.columns["si_sdr"][place] == pytest.approx(expected["si_sdr"], abs=1e-3)


def test_they_stand_in_the_tables_of_enhancement(work):
    metrics = {}
    for row in read_csv(work / "results.csv"):
        metrics.setdefault(row["system"], set()).add(row["metric"])
    assert all(metrics[name] == metrics["vse"] for name in SYSTEMS)
    text = (work / "RESULTS.md").read_text()
    table = text.split("### Enhancement: STOI")[1].split("###")[0]
    assert all(name in table for name in ("| VSE |", "| VSE (as published) |", "| AV(SE)² (as published) |",
                                            "| Audio-only CRN (as published) |"))  # fmt: skip


def test_vse_as_published_learns_from_one_slice_of_each_clip(work):
    system = load_system("vse_faithful", "tiny")
    described = plan(system, CONF, work, 1, "cpu", inputs_of(system, CONF, work, 1)).args["described"]
    task = make_task("enhance", build_model(system.model), described, work, 1)
    (phase,) = training_conf(system).all_phases()
    examples = [task.examples(phase, epoch) for epoch in range(9)]
    assert all(some.lengths == [5, 5] for some in examples)
    starts = {start for some in examples for start in some.starts}
    assert starts <= {*range(11)} and len(starts) > 5  # anywhere in the clip, drawn anew in every epoch
    assert examples[0][0]["noisy_mel"].shape == (20, 80) and examples[0][0]["crop128"].shape == (5, 128, 128)
    assert task.valid_examples(phase).lengths == [15, 15]
