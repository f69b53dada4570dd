"""Stage 9 meets a training of another head or preset, or scores of another reconstruction: none is shown unsaid."""

import shutil

import pytest

from avsr.config import save
from avsr.models.systems import load_system
from avsr.scoring.results import read_csv
from avsr.stages import score
from avsr.stages.train_system import TrainStageConf
from tests.stages.enhanced import FAST, make_enhanced
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


@pytest.mark.parametrize("held", [{"head": "direct"}, {"head": "residual"}])
def test_a_training_of_another_head_is_refused_and_scored_in_a_row_of_its_own(copy, held, capsys):
    config = copy / "exp/audio_only_crn/seed0/config.yaml"
    model = load_system("audio_only_crn", "tiny").model | held
    save(config, {"system": {"id": "audio_only_crn", "model": model}, "train": {}})
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


def test_a_training_of_another_preset_is_refused(copy, capsys):
    capsys.readouterr()
    assert run(copy, "--set=enhance.preset=small") == 2
    assert "best.pt: trained with model.channels [" in one_line(capsys)


def test_what_follows_from_the_data_is_no_other_network(copy):
    config = copy / "exp/audio_only_crn/seed0/config.yaml"
    model = load_system("audio_only_crn", "tiny").model | {"video": 64, "classes": 9}
    save(config, {"system": {"id": "audio_only_crn", "model": model}, "train": {}})
    assert run(copy) == 0


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
