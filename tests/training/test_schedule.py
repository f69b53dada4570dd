"""Learning rates against values worked out by hand."""

import pytest

from avsr.config import build
from avsr.errors import UsageError
from avsr.training.conf import ScheduleConf, TrainConf
from avsr.training.schedule import Schedule


def test_plateau_halves_after_patience_and_stops_at_the_floor():
    schedule = Schedule(ScheduleConf("plateau", factor=0.5, patience=2, floor=3e-5), 1e-4)
    rates = []
    for gained in [True, False, False, True, False, False, False, False, False]:
        schedule.epoch_end(gained)
        rates.append(schedule.lr(5, 0, 0.0))
    assert rates == pytest.approx([1e-4, 1e-4, 5e-5, 5e-5, 5e-5, 3e-5, 3e-5, 3e-5, 3e-5])
    assert schedule.at_floor(0)
    again = Schedule(schedule.conf, 1e-4)
    assert not again.at_floor(0)
    again.load(schedule.state())
    assert again.lr(0, 0, 0) == schedule.lr(0, 0, 0)


def test_cosine_with_warmup():
    schedule = Schedule(ScheduleConf("cosine", warmup=4, floor=1e-5), 1e-3)
    assert schedule.lr(0, 0, 0.0) == pytest.approx(2.5e-4)
    assert schedule.lr(3, 0, 0.0) == pytest.approx(1e-3)
    assert schedule.lr(50, 0, 0.5) == pytest.approx((1e-3 + 1e-5) / 2)
    assert schedule.lr(99, 0, 1.0) == pytest.approx(1e-5) == schedule.lr(99, 0, 1.5)


def test_halve_every_five_epochs_after_the_fifth():
    schedule = Schedule(ScheduleConf("halve_every", every=5, after=5), 3e-4)
    rates = [schedule.lr(9, epoch, 0.0) / 3e-4 for epoch in (0, 4, 5, 9, 10, 15)]
    assert rates == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.125])
    assert Schedule(ScheduleConf("constant"), 0.1).lr(3, 7, 0.9) == 0.1


def test_all_protocols_of_the_toolkit_are_valid(root):
    from avsr.config import read_yaml

    paths = sorted((root / "conf" / "training").glob("*.yaml"))
    assert {"words", "avse", "ae", "recogniser", "joint"} <= {path.stem for path in paths}
    for path in paths:
        conf = build(TrainConf, read_yaml(path), str(path))
        assert all(phase.lr and phase.epochs for phase in conf.all_phases())


@pytest.mark.parametrize(
    "keys, said",
    [
        ({"epocs": 3}, "did you mean 'epochs'"),
        ({"lr": -1.0}, "lr must be above 0"),
        ({"schedule": {"kind": "step"}}, "'step' is none of"),
        ({"phases": [{"name": "a b"}]}, "phase name 'a b'"),
        ({"phases": [{"name": "a"}, {"name": "a"}]}, "two phases have the same name"),
        ({"workers": -1}, "workers must be auto or at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(keys, said):
    with pytest.raises(UsageError, match=said):
        build(TrainConf, keys, "x.yaml")


def test_phases_inherit_what_they_do_not_set():
    conf = build(TrainConf, {"lr": 1.0, "epochs": 7, "phases": [{"name": "a"}, {"name": "b", "lr": 2.0}]}, "x")
    assert [(p.lr, p.epochs, p.schedule.kind, p.stop_after) for p in conf.all_phases()] == [
        (1.0, 7, "plateau", 8),
        (2.0, 7, "plateau", 8),
    ]
