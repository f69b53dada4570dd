"""Stage 9 meets a training of another head or preset, or scores of another reconstruction: none is shown unsaid."""

import shutil

import numpy as np
import pytest
import torch

from avsr.config import save
from avsr.errors import UsageError
from avsr.features.inversion import reconstruct
from avsr.features.mel import mel
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from avsr.noise.sampler import ListMixer
from avsr.scoring.results import read_csv, read_scores
from avsr.scoring.speech import si_sdr
from avsr.stages import score
from avsr.stages.train_system import TrainStageConf
from avsr.training import checkpoint
from avsr.training.folder import RunFolder
from tests.stages.enhanced import FAST, NATURAL, make_enhanced
from tests.stages.tiny import one_line

TRAIN = {"avse": FAST | {"batch": 4}}
SCORES = ("--set=enhance.preset=tiny", "--set=score.shuffled=[]", "--set=score.oracle=false")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder after stage 9 with two systems of the preset tiny."""
    folder = tmp_path_factory.mktemp("other") / "work"
    return make_enhanced(folder, ("audio_only_crn", "vse"), TrainStageConf(preset="tiny", train=TRAIN), 15)


@pytest.fixture
def copy(work, tmp_path):
    return shutil.copytree(work, tmp_path / "work")


def run(work, *options, systems="audio_only_crn") -> int:
    return score.main([f"--work-dir={work}", f"--systems={systems}", *SCORES, *options])


def results_of(work) -> dict[str, str]:
    return {str(path): path.read_text() for path in [work / "RESULTS.md", *work.glob("exp/*/seed0/*/scores.tsv")]}


def rows(work) -> dict[str, set[float]]:
    """System -> its values of STOI in the tables."""
    found: dict[str, set[float]] = {}
    for row in read_csv(work / "results.csv"):
        if row["metric"] == "stoi":
            found.setdefault(row["system"], set()).add(float(row["value"]))
    return found


def train_anew(work, held) -> dict:
    """Another network, untrained, in the place of the finished training; returns its options."""
    folder = work / "exp/audio_only_crn/seed0"
    content = checkpoint.read(folder / "best.pt")
    torch.manual_seed(1)
    model = load_system("audio_only_crn", "tiny").model | held
    system = {"id": "audio_only_crn", "model": model}
    statistics = {name: value for name, value in content["model"].items() if name in ("mel_mean", "mel_std")}
    content |= {"model": build_model(model).state_dict() | statistics, "config": content["config"] | {"system": system}}
    checkpoint.save(folder / "best.pt", content)
    save(folder / "config.yaml", {"system": system, "train": {}})
    return model


def by_hand(work, best, model) -> dict[str, float]:
    """Utterance -> SI-SDR of what the network's output means under its head, in the normalised log-mel."""
    state = checkpoint.read(best)["model"]
    network, mixer = build_model(model).eval(), ListMixer(work / f"data/test_noisy/{NATURAL}.jsonl", work, "test")
    network.load_state_dict(state)
    mean, std = state["mel_mean"].numpy(), state["mel_std"].numpy()
    found = {}
    for utt in mixer.rows:
        noisy_n, clean_n = mixer.mixture(utt)
        noisy_db = 20 * np.log10(np.maximum(mel(noisy_n, "mel_slaney"), 1e-5))
        heard = torch.from_numpy((noisy_db - mean) / std).float()[None]
        with torch.no_grad():
            out = network.network(heard, None, torch.tensor([3]))[0].numpy()
        clean_db = out * std + (mean if model["head"] == "direct" else noisy_db)
        found[utt] = si_sdr(clean_n, reconstruct(noisy_n, 10 ** (clean_db / 20), "mel_slaney"))
    return found


@pytest.mark.parametrize("held", [{"head": "direct"}, {"head": "residual"}])
def test_a_training_of_another_head_is_refused_and_scored_in_a_row_of_its_own(copy, held, capsys):
    model = train_anew(copy, held)
    before = results_of(copy)
    capsys.readouterr()
    assert run(copy) == 2
    said = one_line(capsys)
    assert said.startswith(f"score: {copy}/exp/audio_only_crn/seed0/best.pt: trained with model.head '{held['head']}'")
    assert "now it is 'mask'; score it with its preset and YAML of then" in said
    assert results_of(copy) == before
    best = shutil.copy(copy / "exp/audio_only_crn/seed0/best.pt", copy / "elsewhere.pt")
    assert run(copy, f"--checkpoint={best}", systems="vse") == 0
    assert any(row.startswith("audio_only_crn@") for row in rows(copy))
    (path,) = copy.glob(f"exp/audio_only_crn@*/seed0/{NATURAL}/scores.tsv")
    scores = read_scores(path)
    found = dict(zip(scores.utts, scores.columns["si_sdr"].tolist(), strict=True))
    assert found == pytest.approx(by_hand(copy, best, model), abs=1e-3)


def test_a_training_of_another_preset_is_refused(copy, capsys):
    capsys.readouterr()
    assert run(copy, "--set=enhance.preset=small") == 2
    assert "best.pt: trained with model.channels [" in one_line(capsys)


def test_what_follows_from_the_data_is_no_other_network(copy):
    config = copy / "exp/audio_only_crn/seed0/config.yaml"
    model = load_system("audio_only_crn", "tiny").model | {"video": 64, "classes": 9}
    save(config, {"system": {"id": "audio_only_crn", "model": model}, "train": {}})
    assert run(copy) == 0


@pytest.mark.parametrize(
    "held, now, same", [({}, "gate", True), ({}, "gated_skip", False), ({"mhca_skip": "gate"}, None, True)]
)
def test_an_option_that_is_not_named_is_the_default(tmp_path, held, now, same):
    """As where a recipe's YAML begins to name what its trainings did without being told."""
    model = {"type": "mhca_avcrn", "head": "mask"}
    save(tmp_path / "config.yaml", {"system": {"id": "x", "model": model | held}, "train": {}})
    wanted = model | ({"mhca_skip": now} if now else {})
    joint = {"type": "joint", "recogniser": {"type": "eg_seq2seq"}}
    if same:
        RunFolder(tmp_path).refuse_other_model(wanted)
    else:
        with pytest.raises(UsageError, match="trained with model.mhca_skip 'gate', now it is 'gated_skip'"):
            RunFolder(tmp_path).refuse_other_model(wanted)
    save(tmp_path / "config.yaml", {"system": {"id": "x", "model": joint | {"enhancer": model | held}}, "train": {}})
    if same:
        RunFolder(tmp_path).refuse_other_model(joint | {"enhancer": wanted})
    else:
        with pytest.raises(UsageError, match="trained with model.enhancer.mhca_skip 'gate', now it is 'gated_skip'"):
            RunFolder(tmp_path).refuse_other_model(joint | {"enhancer": wanted})


def test_scores_of_another_reconstruction_are_in_no_table_with_these(copy, capsys):
    assert run(copy, systems="audio_only_crn vse") == 0
    by_gain = rows(copy)
    assert {"audio_only_crn", "vse"} < set(by_gain)
    capsys.readouterr()
    assert run(copy, "--set=score.recon=pinv") == 0
    said = capsys.readouterr().out
    assert f"{copy}/exp/vse/seed0: scored with another checkpoint, other data or settings than are there now" in said
    by_pinv = rows(copy)
    assert "vse" not in by_pinv and by_pinv["audio_only_crn"].isdisjoint(by_gain["audio_only_crn"])
    assert run(copy, systems="audio_only_crn vse") == 0 and rows(copy) == by_gain


def test_a_reconstruction_that_is_none_is_refused(copy, capsys):
    capsys.readouterr()
    assert run(copy, "--set=score.recon=pinw") == 2
    said = one_line(capsys)
    assert "recon" in said and "pinv" in said
