"""The choice of number format and layout: right ones only, without a trace."""

import copy

import pytest
import torch
from torch import nn

from avsr.training import precision
from avsr.training.conf import TrainConf
from avsr.training.precision import Precision, choose, lay_out

CPU = torch.device("cpu")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.Flatten(1, 2), nn.Dropout(0.5), nn.Conv2d(12, 8, 3))


def loss_of(model):
    x = torch.linspace(-1, 1, 2 * 5 * 8 * 8).reshape(2, 1, 5, 8, 8)
    return lambda: (model(x).float() ** 2).mean()


def test_layouts_reach_both_kinds_of_convolutions_and_keep_the_values(model):
    before = copy.deepcopy(model.state_dict())
    lay_out(model, True)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert model[4].weight.is_contiguous(memory_format=torch.channels_last) and not model[4].weight.is_contiguous()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_trials_leave_no_trace_and_take_the_fastest(model, monkeypatch):
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    calls = []

    def seconds(_model, _loss, candidate, _device):
        calls.append(candidate)
        return {False: 2.0, True: 1.0}[candidate.channels_last]

    real = precision.step_seconds
    real(model, loss_of(model), Precision("fp32", True), CPU)
    monkeypatch.setattr(precision, "step_seconds", seconds)
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    assert choose(model, loss_of(model), TrainConf(), CPU) == Precision("fp32", True)
    assert calls == [Precision("fp32", False), Precision("fp32", True)]  # no bfloat16 where it would be emulated
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random) and model.training
    assert all(p.grad is None and p.is_contiguous() for p in model.parameters())


@pytest.mark.parametrize(("seconds", "taken"), [(1.93, False), (1.85, True)])
def test_a_gain_that_may_be_chance_is_none(model, monkeypatch, seconds, taken):
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    monkeypatch.setattr(precision, "step_seconds", lambda m, lo, c, d: seconds if c.channels_last else 2.0)
    assert choose(model, loss_of(model), TrainConf(), CPU).channels_last is taken


def test_a_format_with_another_loss_is_not_taken(model, monkeypatch, caplog):
    caplog.set_level("INFO", "avsr")
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    monkeypatch.setattr(precision, "step_seconds", lambda m, lo, c, d: {"fp32": 2.0, "bf16": 1.0}[c.dtype])
    conf = TrainConf(channels_last=False)
    assert choose(model, loss_of(model), conf, CPU).dtype == "bf16"

    def wrong():
        return loss_of(model)() * (2.0 if torch.is_autocast_enabled("cpu") else 1.0)

    assert choose(model, wrong, conf, CPU).dtype == "fp32"
    assert "no" in caplog.text


def test_trainings_side_by_side_agree_on_one_format(model, monkeypatch, tmp_path, caplog):
    caplog.set_level("INFO", "avsr")
    times = {"fp32": 2.0, "bf16": 1.0}
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)
    monkeypatch.setattr(precision, "step_seconds", lambda m, lo, c, d: times[c.dtype])
    conf, agreed = TrainConf(channels_last=False), tmp_path / "exp/format_a_cpu.json"
    assert choose(model, loss_of(model), conf, CPU, agreed) == Precision("bf16", False)
    times["bf16"] = 3.0  # chance, or another network: its own trial would say fp32
    assert choose(model, loss_of(model), conf, CPU, agreed) == Precision("bf16", False)
    assert choose(model, loss_of(model), conf, CPU) == Precision()
    assert choose(model, loss_of(model), TrainConf(precision="fp32"), CPU, agreed).dtype == "fp32"  # as it is asked

    def wrong():
        return loss_of(model)() * (2.0 if torch.is_autocast_enabled("cpu") else 1.0)

    assert choose(model, wrong, conf, CPU, agreed) == Precision()
    assert "as of the trainings beside this one" in caplog.text and "not bf16 as the trainings beside" in caplog.text
    agreed.write_text("{}")
    assert choose(model, loss_of(model), conf, CPU, agreed) == Precision()


def test_of_two_that_choose_at_once_the_first_is_followed(model, monkeypatch, tmp_path):
    agreed = tmp_path / "format_a_cpu.json"
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)

    def seconds(_model, _loss, candidate, _device):
        agreed.write_text('{"dtype": "fp32", "channels_last": false}')  # meanwhile
        return {"fp32": 2.0, "bf16": 1.0}[candidate.dtype]

    monkeypatch.setattr(precision, "step_seconds", seconds)
    assert choose(model, loss_of(model), TrainConf(channels_last=False), CPU, agreed) == Precision("fp32", False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [agreed.name]


def test_nothing_to_choose_means_no_trial(model):
    def never():
        raise AssertionError("a trial was made")

    conf = TrainConf(precision="fp32", channels_last=True)
    assert choose(model, never, conf, CPU) == Precision("fp32", True)
    assert choose(nn.Linear(2, 2), never, TrainConf(precision="bf16"), CPU) == Precision("bf16", False)
