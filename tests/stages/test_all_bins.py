"""Systems of one's own that hear the 321 bins of the STFT: trained, joined and scored beside those of 80 bands."""

import numpy as np
import pytest
import torch

from avsr.config import read_yaml
from avsr.errors import UsageError
from avsr.features.stft import stft
from avsr.models import systems
from avsr.models.systems import load_system
from avsr.noise.sampler import ListMixer
from avsr.scoring import figures
from avsr.scoring.results import read_csv, read_scores
from avsr.stages import score
from avsr.stages.train_system import TrainStageConf, inputs_of, plan, train_one
from avsr.storage.arrays import Store
from avsr.storage.atomic import write_json, write_text
from avsr.training import checkpoint
from tests.stages.tiny import SPEAKERS, make_noises, make_tables, run_extract, run_mix, write_store

OWN = {
    "ae_bins": "{extends: ae_tcn, name: TCN-AE bins, model: {mels: 321}}",
    "eg_a_bins": "{extends: eg_a, name: EG A bins, model: {mels: 321}}",
    "eg_va_bins": "{extends: eg_va_tcn, name: T-EG VA bins, enhancer: ae_bins, recogniser: eg_a_bins}",
    "eg_va_mixed": "{extends: eg_va_tcn, name: mixed, enhancer: ae_tcn, recogniser: eg_a_bins}",
}
FAST = {"batch": 4, "epochs": 1, "precision": "fp32", "channels_last": False, "workers": 0}
FAST |= {"epoch_examples": None, "tensorboard": False}
PHASES = [{"name": "sentences", "keep": True, "options": {"words": None}}]
CONF = TrainStageConf(
    preset="tiny",
    train={"ae": FAST | {"stop_at_floor": False}, "recogniser": FAST | {"phases": PHASES}, "joint": FAST},
)
TRAINED = ("ae_tcn", "ae_bins", "eg_a_bins", "eg_va_bins")
BABBLE = "babble_-5dB"
DRAWN: list = []  # the panels of each figure of spectrograms


def planned(work, name):
    system = load_system(name, "tiny")
    return plan(system, CONF, work, 0, "cpu", inputs_of(system, CONF, work, 0))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A work folder after stage 9."""
    work = make_tables(tmp_path_factory.mktemp("bins") / "work", clips=1, frames=30)
    lists = ["--set=mix.test_kinds_enhance=[natural]", "--set=mix.test_snrs_enhance=[-5]"]
    assert run_extract(work) == 0
    assert run_mix(work, make_noises(work / "noise"), *lists, "--set=mix.test_snrs_recognise=[clean, -5]") == 0
    ids = {split: Store(work / "dump/audio" / split / "wave").keys() for split in SPEAKERS}
    for split, utts in ids.items():
        write_store(work / "dump/video_feats" / split, {utt: np.ones((30, 512), np.float32) for utt in utts})
    write_json(work / "data/splits.json", {"protocol": "toy", "synthetic": True, **ids})
    folder = work.parent / "systems"
    for path in systems.FOLDER.glob("*.yaml"):
        write_text(folder / path.name, path.read_text())
    for name, text in OWN.items():
        write_text(folder / f"{name}.yaml", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(systems, "FOLDER", folder)
        for name in TRAINED:
            train_one(**planned(work, name).args)
        with pytest.raises(UsageError) as error:
            planned(work, "eg_va_mixed")
        assert str(error.value) == (
            "system eg_va_mixed: the enhancer works on 80 bands, the recogniser on 321: give both the same model.mels"
        )
        draw = figures.spectrogram_panels
        patch.setattr(figures, "spectrogram_panels", lambda panels, **how: (DRAWN.append(panels), draw(panels))[1])
        options = [f"--systems={' '.join(TRAINED)}", "--set=score.beam=2"]
        options += [f"--set={section}.preset=tiny" for section in ("enhance", "recognise", "joint")]
        assert score.main([f"--work-dir={work}", *options]) == 0
    return work


def magnitudes(wave_n) -> np.ndarray:
    """All bins of the frames that a network hears."""
    return np.abs(stft(wave_n.astype(np.float64)))[:120]


def test_weights_and_statistics_are_of_321_bins(work):
    ae, eg, joint = (checkpoint.read(work / f"exp/{name}/seed0/best.pt")["model"] for name in TRAINED[1:])
    assert ae["fc_mask.weight"].shape == (321, 128) and eg["audio.fc_in.weight"].shape == (192, 321)
    for weights in (ae, eg):
        assert weights["mel_input.fitted"] and weights["mel_input.deviation"].shape == (321,)
        assert len(torch.unique(weights["mel_input.mean"])) > 300  # measured for each bin
    assert torch.equal(joint["enhancer.fc_mask.weight"], ae["fc_mask.weight"])
    assert torch.equal(joint["recogniser.mel_input.mean"], eg["mel_input.mean"])


def test_the_errors_of_an_ae_are_over_the_bins_that_it_estimates(work):
    mixer = ListMixer(work / f"data/test_noisy/{BABBLE}.jsonl", work, "test")
    scores = read_scores(work / f"exp/ae_bins/seed0/{BABBLE}/scores.tsv")
    model, _ = checkpoint.load_model(work / "exp/ae_bins/seed0/best.pt")
    assert set(scores.columns) == {"energy_stft", "energy_stft_noisy"} and set(scores.utts) == {*mixer.rows}
    for place, utt in enumerate(scores.utts):
        noisy_tf, clean_tf = map(magnitudes, mixer.mixture(utt))
        with torch.inference_mode():
            sound = torch.from_numpy(noisy_tf[None]).float()
            found = model.estimate(sound, torch.ones(1, 30, 512), torch.tensor([30]))[0].numpy()
        for name, tf in (("energy_stft", found), ("energy_stft_noisy", noisy_tf)):
            expected = 100 * np.sqrt(np.sum((tf - clean_tf) ** 2) / np.sum(clean_tf**2))
            assert scores.columns[name][place] == pytest.approx(expected, rel=1e-3)


def test_tables_keep_errors_over_bins_and_over_bands_apart(work):
    metrics = {}
    for row in read_csv(work / "results.csv"):
        metrics.setdefault(row["system"], set()).add(row["metric"])
    assert metrics["ae_tcn"] == metrics["oracle_mask"] == {"energy_linear", "energy_sqrt"}
    assert metrics["ae_bins"] == {"energy_stft", "energy_stft_noisy"}
    assert "wer" in metrics["eg_a_bins"] and "wer" in metrics["eg_va_bins"]
    text = (work / "RESULTS.md").read_text()
    tables = {part.split("\n")[0]: part for part in text.split("### ")[1:]}
    assert {title for title, part in tables.items() if "| TCN-AE bins |" in part and "Energy" in title} == {
        "Energy error %, bins of the STFT, babble (synthetic)"
    }
    assert "Behind an enhancer of 321 bins" in tables["Examples (AE-MSR Table 5) (synthetic)"]


def test_an_estimate_is_drawn_in_the_bands_of_the_others(work):
    for panels in DRAWN:
        titles = ["clean", "noisy", "TCN-AE, mel estimate", "TCN-AE bins, mel estimate"]
        assert [title for title, _ in panels] == titles
        assert {magnitude_tf.shape for _, magnitude_tf in panels} == {(120, 80)}
        assert (panels[3][1] <= panels[1][1] + 1e-4).all() and panels[3][1].mean() > 0.1 * panels[1][1].mean()
    assert len(DRAWN) == 2 and (work / "figures/toy-none/spectrograms_mel.png").exists()


def test_the_training_says_what_it_hears(work):
    assert read_yaml(work / "exp/ae_bins/seed0/config.yaml")["system"]["model"]["mels"] == 321
    assert "mels" not in read_yaml(work / "exp/ae_tcn/seed0/config.yaml")["system"]["model"]  # as ever
