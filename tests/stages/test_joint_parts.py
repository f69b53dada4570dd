"""An enhancer and a recogniser that do not hear alike are refused before a training starts."""

from dataclasses import replace

import pytest

from avsr.config import merge, save
from avsr.errors import UsageError
from avsr.models.systems import load_system
from avsr.stages.joint_parts import check_parts
from avsr.stages.train_system import TrainStageConf, plan, run_folder
from avsr.storage.atomic import write_text

JOINT = load_system("eg_va_tcn", "tiny")
CONF = TrainStageConf(preset="tiny")


def trained(work, name: str, file: str, **options) -> None:
    """As if a part had been trained with these options."""
    model = merge(load_system(name, "tiny").model, options)
    folder = run_folder(work, name, 0)
    write_text(folder / file, "")
    save(folder / "config.yaml", {"system": {"id": name, "model": model}, "train": {}})


@pytest.fixture
def work(tmp_path):
    trained(tmp_path, "ae_tcn", "best.pt")
    trained(tmp_path, "eg_a", "best-sentences.pt")
    return tmp_path


def planned(work, model: dict):
    system = replace(JOINT, model=merge(JOINT.model, model))
    return plan(system, CONF, work, 0, "cpu", [])


def test_parts_that_fit_are_taken(work):
    assert planned(work, {}).name == "eg_va_tcn seed 0"
    trained(work, "ae_tcn", "best.pt", input_transform="log_cmvn", dropout=0.3)  # said or left out is the same
    assert planned(work, {}) is not None


def test_an_enhancer_of_the_other_mel_set_is_refused(work):
    crn = load_system("audio_only_crn", "tiny").model
    system = replace(JOINT, model={**JOINT.model, "enhancer": crn})
    with pytest.raises(UsageError, match="system eg_va_tcn: the enhancer works on mel_slaney, .* on mel_htk"):
        plan(system, CONF, work, 0, "cpu", [])


@pytest.mark.parametrize("mels", [40, 321])
def test_other_mel_bands_are_refused(work, mels):
    said = f"system eg_va_tcn: the enhancer works on 80 bands, the recogniser on {mels}: give both the same model.mels"
    with pytest.raises(UsageError) as error:
        planned(work, {"recogniser": {"mels": mels}})
    assert str(error.value) == said


def test_parts_that_both_hear_all_bins_are_taken(work):
    for name, file in (("ae_tcn", "best.pt"), ("eg_a", "best-sentences.pt")):
        trained(work, name, file, mels=321)
    assert planned(work, {"enhancer": {"mels": 321}, "recogniser": {"mels": 321}}) is not None


@pytest.mark.parametrize(
    ("name", "file", "options", "said"),
    [
        ("ae_tcn", "best.pt", {"input_transform": "cbrt"}, "input_transform cbrt, the enhancer of eg_va_tcn has log"),
        ("ae_tcn", "best.pt", {"mels": 321}, "model.mels 321, the enhancer of eg_va_tcn has 80"),
        ("eg_a", "best-sentences.pt", {"input_transform": "none"}, "input_transform none, the recogniser of eg_va_tcn"),
    ],
)
def test_weights_that_heard_otherwise_are_refused(work, name, file, options, said):
    trained(work, name, file, **options)
    with pytest.raises(UsageError, match=f"{name}/seed0/{file}: was trained with .*{said}") as error:
        planned(work, {})
    assert "\n" not in str(error.value)


def test_a_part_that_says_nothing_has_the_defaults(work):
    starts = {"enhancer": work / "exp/ae_tcn/seed0/best.pt"}
    with pytest.raises(UsageError, match="with model.input_transform log_cmvn, the enhancer of mine has cbrt"):
        check_parts("mine", merge(JOINT.model, {"enhancer": {"input_transform": "cbrt"}}), starts)
