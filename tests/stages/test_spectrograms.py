"""Figures of stage 9 on enhancement: Figure 3 of MHCA-AVCRN (panels, utterances, boxes), and scores against cost."""

import numpy as np
import pytest
import torch

from avsr.models.listing import gmac_per_second
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from avsr.scoring import figures
from avsr.stages import score
from avsr.storage.arrays import Store
from avsr.storage.atomic import write_json
from avsr.training import checkpoint
from tests.stages.tiny import SPEAKERS, make_noises, make_tables, run_extract, run_mix

SYSTEMS = ("vse", "av_se2", "mhca_avcrn")
BOX = (0.1, 0.3, 1.0, 3.0)


@pytest.fixture
def work(tmp_path):
    """A work folder after stage 4, whose systems have the weights that they are drawn with."""
    work = make_tables(tmp_path / "work", clips=1)
    lists = ["--set=mix.test_kinds_enhance=[natural]", "--set=mix.test_snrs_enhance=[-5]"]
    assert run_extract(work) == 0
    assert run_mix(work, make_noises(work / "noise"), *lists, "--set=mix.test_snrs_recognise=[clean]") == 0
    ids = {split: Store(work / "dump/audio" / split / "wave").keys() for split in SPEAKERS}
    write_json(work / "data/splits.json", {"protocol": "toy", "synthetic": True, **ids})
    for name in SYSTEMS:
        model = load_system(name, "tiny").model
        described = {"system": {"id": name, "model": model}, "train": {"seed": 0}}
        content = {"system": name, "config": described, "model": build_model(model).state_dict()}
        checkpoint.save(work / "exp" / name / "seed0/best.pt", content)
        write_json(work / "exp" / name / "seed0/done.json", {})
    return work


@pytest.fixture
def drawn(monkeypatch):
    """The panels and boxes of every spectrogram that is drawn."""
    drawn, draw = [], figures.spectrogram_panels
    def note(panels, boxes=(), **how):
        drawn.append((panels, boxes))
        return draw(panels, boxes=boxes, **how)
    monkeypatch.setattr(figures, "spectrogram_panels", note)  # fmt: skip
    return drawn


def run(work, systems: str, *options: str) -> str:
    assert score.main([f"--work-dir={work}", f"--systems={systems}", "--set=score.shuffled=[]", *options]) == 0
    return (work / "RESULTS.md").read_text()


def test_score_against_cost_needs_three_systems(work, drawn, monkeypatch):
    panels, draw = [], figures.score_against_cost
    monkeypatch.setattr(figures, "score_against_cost", lambda one: (panels.append(one), draw(one))[1])
    assert "cost.png" not in run(work, "vse mhca_avcrn") and not panels
    assert "](figures/toy-none/cost.png)" in run(work, " ".join(SYSTEMS))
    ((points,),) = [[*one.values()] for one in panels]  # natural noise alone was scored
    listed = gmac_per_second(load_system("vse", "tiny"), build_model(load_system("vse", "tiny").model))
    assert set(points) == {"VSE", "AV(SE)²", "MHCA-AVCRN"} and points["VSE"][0] == pytest.approx(listed)


def test_nothing_is_drawn_of_scores_without_their_trainings(work, drawn):
    talkers = ["--set=mix.test_kinds_enhance=[speech]", "--set=mix.test_snrs_enhance=[-5]"]
    assert run_mix(work, work / "noise", *talkers, "--set=mix.test_snrs_recognise=[clean]") == 0
    assert "spectrograms.png" in run(work, "vse mhca_avcrn") and len(drawn) == 1
    for name in ("vse", "mhca_avcrn"):  # their scores stay, as of rows that were gathered
        for file in ("best.pt", "done.json"):
            (work / "exp" / name / "seed0" / file).unlink()
    (work / "RESULTS.md").unlink()
    text = run(work, "vse mhca_avcrn")
    assert "| VSE | 0 | speech_-5dB |" in text and "spectrograms.png" not in text and len(drawn) == 1


def test_panels_of_every_utterance_asked_for(work, drawn):
    torch.manual_seed(0)
    utts = sorted(Store(work / "dump/audio/test/wave").keys())[::-1]
    text = run(work, " ".join(SYSTEMS), f"--set=score.figure_utterance=[{', '.join(utts)}]",
               f"--set=score.figure_boxes=[{list(BOX)}]")  # fmt: skip
    assert len(utts) == 2 and len(drawn) == 2
    for panels, _ in drawn:
        assert [title for title, _ in panels] == ["noisy", "clean", "VSE", "AV(SE)²", "MHCA-AVCRN"]
        assert {magnitude_tf.shape[1] for _, magnitude_tf in panels} == {321}
        noisy_tf, clean_tf = panels[0][1], panels[1][1]
        assert noisy_tf.sum() > clean_tf.sum()  # at -5 dB most of the mixture is noise
    assert [boxes for _, boxes in drawn] == [(BOX,), ()]
    assert not np.array_equal(drawn[0][0][1][1], drawn[1][0][1][1])
    for name, utt in zip(("figure3.png", "figure3_2.png"), utts, strict=True):
        assert (work / "figures/toy-none" / name).exists()
        caption = f"Utterance {utt}, natural noise at -5 dB (MHCA-AVCRN Figure 3)"
        assert f"![{caption}](figures/toy-none/{name})" in text


def test_the_proposed_system_alone_has_no_figure_3(work, drawn):
    assert "figure3" not in run(work, "mhca_avcrn") and not drawn
    assert "figure3.png" in run(work, "mhca_avcrn vse", "--set=score.figure_utterance=s5-c0")
    assert [title for title, _ in drawn[0][0]] == ["noisy", "clean", "VSE", "MHCA-AVCRN"]


def test_an_utterance_that_is_not_there_is_named(work, capsys):
    assert score.main([f"--work-dir={work}", "--systems=vse mhca_avcrn", "--set=score.figure_utterance=s5-zz"]) == 1
    assert "no row for s5-zz" in capsys.readouterr().err
