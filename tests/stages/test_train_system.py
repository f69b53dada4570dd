"""Stages 6 to 8 before a training starts: what they need, and which trainings are theirs."""

import pytest

from avsr.errors import AvsrError
from avsr.models.systems import load_system
from avsr.stages.train_system import TrainStageConf, inputs_of, plan
from avsr.storage.atomic import write_json, write_text


def planned(work, name):
    system = load_system(name, "tiny")
    return plan(system, TrainStageConf(), work, 0, "cpu", inputs_of(system, work, 0))


def test_a_joint_system_names_the_part_that_is_missing_or_unfinished(tmp_path):
    enhancer, recogniser = tmp_path / "exp/ae_tcn/seed0", tmp_path / "exp/eg_a/seed0"
    with pytest.raises(AvsrError, match=r"ae_tcn/seed0/best.pt is missing: stage 6 \(enhance\) makes it for ae_tcn"):
        planned(tmp_path, "eg_va_tcn")
    write_text(enhancer / "best.pt", "")
    with pytest.raises(AvsrError, match=r"best-sentences.pt is missing: stage 7 \(recognise\) makes it for eg_a"):
        planned(tmp_path, "eg_va_tcn")
    write_text(recogniser / "best-sentences.pt", "")
    write_json(enhancer / "done.json", {"digest": "a"})
    with pytest.raises(AvsrError, match="eg_a/seed0/done.json is missing: the training there was not finished"):
        planned(tmp_path, "eg_va_tcn")
    write_json(recogniser / "done.json", {"digest": "b"})
    job = planned(tmp_path, "eg_va_tcn")
    assert job.args["described"]["inputs"] == ["a", "b"]
    assert job.args["start_from"] == {
        "enhancer": f"{enhancer}/best.pt",
        "recogniser": f"{recogniser}/best-sentences.pt",
    }
