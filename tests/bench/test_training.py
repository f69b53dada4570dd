"""The cost of training steps by format, on tiny systems and clips. How fast anything is, is not asserted."""

import copy
import math

import pytest
import torch
from torch import nn

from avsr.bench import __main__ as command
from avsr.bench import training
from avsr.bench.common import Options
from avsr.errors import UsageError
from avsr.models.systems import load_system, training_conf
from avsr.training.precision import Precision

FORMATS = ["fp32", "fp32 channels_last", "bf16", "bf16 channels_last"]
TITLE = "MHCA-AVCRN [mhca_avcrn] tiny"


@pytest.fixture
def times(monkeypatch):
    """Seconds a step as the test says, in the place of measured ones."""
    seconds = {"fp32": 2.0, "fp32 channels_last": 1.5, "bf16": 1.0, "bf16 channels_last": 4.0}
    monkeypatch.setattr(training, "step_seconds", lambda m, lo, precision, d, update: seconds[str(precision)])
    return seconds


def values(rows, what):
    return [row.value for row in rows if what in row.name]


def test_rows_of_a_system():
    rows = training.run(Options(threads=1, preset="tiny"), batch=2, seconds=0.4)
    parts = [row.name.split(": ") for row in rows]
    assert [part[0] for part in parts[:-1:4]] == [f"{TITLE}, {name}" for name in FORMATS] and len(rows) == 17
    assert [row.unit for row in rows[:4]] == ["s", "x", "s", "of it"]
    steps, ratios, passes, off = (values(rows, what) for what in ("a step of 2", "against", "a pass over 784", "off"))
    assert min(steps) > 0 and ratios == pytest.approx([step / steps[0] for step in steps])
    assert passes == pytest.approx([392 * step for step in steps])
    assert off[0] == 0 and off[1] < 1e-3 and 0 < off[2] < 0.05  # what bfloat16 rounds is seen
    assert [row.target for row in rows[3::4]] == [1e-3, 1e-3, 0.05, 0.05]
    assert rows[-1].value >= 1.0


@pytest.mark.parametrize(("native", "taken", "faster"), [(True, "bf16", 2.0), (False, "fp32 channels_last", 4 / 3)])
def test_the_choice_is_the_trainers(times, monkeypatch, native, taken, faster):
    monkeypatch.setattr("avsr.training.precision.has_bf16", lambda device: native)
    monkeypatch.setattr(training, "has_bf16", lambda device: native)
    rows = training.run(Options(threads=1, preset="tiny"), batch=2, seconds=0.4)
    assert f"the trainer takes {taken}, faster" in rows[-1].name and rows[-1].value == pytest.approx(faster)
    assert values(rows, "against") == [1.0, 0.75, 0.5, 2.0]  # emulated ones are measured all the same
    assert sum("emulated" in row.name for row in rows) == (0 if native else 2)


def test_a_format_that_fails_the_check_is_missed_and_not_taken(times, monkeypatch):
    monkeypatch.setattr("avsr.training.precision.has_bf16", lambda device: True)
    real = training.training_loss

    def wrong(system, model, batch):
        return real(system, model, batch) * (math.nan if torch.is_autocast_enabled("cpu") else 1.0)

    monkeypatch.setattr(training, "training_loss", wrong)
    rows = training.run(Options(threads=1, preset="tiny"), batch=2, seconds=0.4)
    assert [row.missed for row in rows if "off" in row.name] == [False, False, True, True]
    assert "takes fp32 channels_last" in rows[-1].name


def test_batches_and_threads_are_those_of_the_training(times, monkeypatch):
    asked = []
    monkeypatch.setattr(training, "prepared", lambda *args: asked.append((args[1:], torch.get_num_threads())) or (
        nn.Conv2d(1, 1, 3), lambda: torch.ones(())))  # fmt: skip
    before = torch.get_num_threads()
    rows = training.run(Options(threads=2, preset="tiny"))
    assert asked == [((16, 3.0), 2)] and torch.get_num_threads() == before
    assert values(rows, "a pass over 784 clips")[0] == pytest.approx(49 * 2.0)


def test_a_step_is_the_optimisers_and_leaves_no_trace():
    system = load_system("audio_only_crn", "tiny")
    conf = training_conf(system)
    model, loss = training.prepared(system, 2, 0.4)
    before = copy.deepcopy(model.state_dict())
    expected = copy.deepcopy(model)
    trials = list(training.measured(model, loss, conf))
    assert [str(trial.precision) for trial in trials] == FORMATS and all(trial.passed for trial in trials)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    value = loss()
    value.backward()
    for one, other in zip(model.parameters(), expected.parameters(), strict=True):
        other.grad = one.grad.clone()
    training.updater(model, conf)()
    total = math.sqrt(sum(float(p.grad.double().square().sum()) for p in expected.parameters()))
    for one, other in zip(model.parameters(), expected.parameters(), strict=True):
        gradient = other.grad * min(1.0, 5.0 / (total + 1e-6))
        first = 2e-4 * gradient / (gradient.abs() + 1e-8)  # Adam's first step: both moments are the gradient's own
        torch.testing.assert_close(one.detach(), other.detach() - first, rtol=1e-4, atol=1e-6)
        assert one.grad is None


@pytest.mark.parametrize("name, said", [("eg_a", "of kind recognise; name an enh"), ("mhca", "mhca")])
def test_systems_that_cannot_be_trained_here(capsys, name, said):
    with pytest.raises(UsageError, match=said):
        training.run(Options(system=name))
    assert command.main(["training", "--system", name]) == 2
    assert said in capsys.readouterr().err


def test_the_command_hands_on_what_it_is_told(monkeypatch):
    asked = []
    monkeypatch.setattr(training, "run", lambda options: asked.append(options) or [])
    assert command.main(["training"]) == command.main(["training", "--system=vse", "--preset=tiny", "--threads=1"]) == 0
    assert asked == [Options(2, preset="small", system="mhca_avcrn"), Options(1, preset="tiny", system="vse")]


def test_formats_are_all_there():
    assert training.FORMATS[0] == Precision() and [str(each) for each in training.FORMATS] == FORMATS
