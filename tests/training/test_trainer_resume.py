"""Killed anywhere and started again: the same losses to the bit, no row of the log doubled or lost."""

import csv
import multiprocessing
import random
import signal

import pytest
import torch

from avsr import signals
from avsr.errors import AvsrError, UsageError
from avsr.signals import Stopped
from avsr.training.log import TrainLog
from tests.training.toy import SYSTEM, KilledTask, kill_in_save, run_toy

KEYS = {
    "checkpoint_minutes": 0.0005,  # 30 ms: several within an epoch
    "schedule": {"kind": "plateau", "patience": 1},
    "phases": [
        {"name": "one", "epochs": 3, "lr": 0.3},  # its best epoch is the first
        {"name": "two", "epochs": 3, "init": "best", "freeze": ["front"], "options": {"set": "u"}},
    ],
}


@pytest.fixture(autouse=True)
def handlers():
    """As in a stage: signals raise Stopped."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    signals.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def rows(out):
    with open(out / "log.csv", newline="") as file:
        table = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("seconds", "wait")} for row in table]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    run_toy(out, **KEYS)
    return out


def start(out, save=0, step=0):
    """The exit code of a process that trains until it is killed, in a write or a step."""

    def train():
        if save:
            kill_in_save(save)
        run_toy(out, KilledTask(step, signal.SIGKILL), **KEYS)

    process = multiprocessing.get_context("fork").Process(target=train)
    process.start()
    process.join()
    return process.exitcode


def same(out, whole):
    assert rows(out) == rows(whole)
    ours, theirs = (torch.load(f / "best.pt", weights_only=True) for f in (out, whole))
    assert all(torch.equal(ours["model"][name], theirs["model"][name]) for name in theirs["model"])


def test_the_log_has_each_step_once_and_each_epoch_once(whole):
    steps = [int(row["step"]) for row in rows(whole) if not row["valid"]]
    assert steps == list(range(1, len(steps) + 1))
    epochs = [(row["phase"], row["epoch"]) for row in rows(whole) if row["valid"]]
    assert epochs == [(phase, str(epoch)) for phase in ("one", "two") for epoch in (1, 2, 3)]


def test_two_runs_agree_to_the_bit_and_another_seed_does_not(tmp_path, whole):
    run_toy(tmp_path / "again", **KEYS)
    same(tmp_path / "again", whole)
    run_toy(tmp_path / "other", seed=2, **KEYS)
    assert rows(tmp_path / "other")[0]["train_loss"] != rows(whole)[0]["train_loss"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kill_9_at_random_steps_and_within_a_write(tmp_path, whole, seed):
    chance = random.Random(seed)
    kills = 0
    for turn in range(20):
        last = start(tmp_path, save=chance.randint(2, 5)) if turn % 2 else start(tmp_path, step=chance.randint(2, 12))
        if last == 0:
            break
        assert last == -signal.SIGKILL
        kills += 1
        if turn % 2:
            assert list(tmp_path.glob(".tmp-*"))  # half a checkpoint
    assert kills >= 4
    run_toy(tmp_path, **KEYS)
    assert not list(tmp_path.glob(".tmp-*"))
    same(tmp_path, whole)


@pytest.mark.parametrize("call", [1, 4, 8, 9, 17, 26, 36])  # steps and validation batches of both phases
def test_a_stop_is_obeyed_after_the_step_and_leaves_a_checkpoint(tmp_path, whole, call):
    with pytest.raises(Stopped) as stopped:
        run_toy(tmp_path, KilledTask(call, signal.SIGTERM), **KEYS)
    assert stopped.value.exit_code == 143
    run_toy(tmp_path, **KEYS)
    same(tmp_path, whole)


def test_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, whole, caplog):
    with pytest.raises(Stopped):
        run_toy(tmp_path, KilledTask(30, signal.SIGINT), **KEYS)
    newest = sorted(tmp_path.glob("checkpoint-*.pt"))
    assert len(newest) == 2
    data = newest[-1].read_bytes()
    newest[-1].write_bytes(data[: len(data) // 2])
    run_toy(tmp_path, **KEYS)
    assert "Going back to the one before" in caplog.text and newest[-1].name in caplog.text
    same(tmp_path, whole)


def test_going_back_across_the_border_of_two_phases(tmp_path, whole):
    """best.pt already belongs to phase two; phase one ends again and phase two must start from the right weights."""
    keep = []

    class Copying(KilledTask):
        def examples(self, phase, epoch):
            for path in tmp_path.glob("checkpoint-*.pt"):
                if phase.name == "one":
                    keep.append((path, path.read_bytes()))
            return super().examples(phase, epoch)

    with pytest.raises(Stopped):
        run_toy(tmp_path, Copying(34, signal.SIGTERM), **KEYS)
    position = torch.load(tmp_path / "best.pt", weights_only=True)["position"]
    assert position["phase"] == 1
    for path in tmp_path.glob("checkpoint-*.pt"):
        path.unlink()
    keep[-1][0].write_bytes(keep[-1][1])
    run_toy(tmp_path, **KEYS)
    same(tmp_path, whole)


def test_number_of_loading_processes_changes_nothing(tmp_path, whole):
    run_toy(tmp_path, **{**KEYS, "workers": 2})
    same(tmp_path, whole)


def test_a_finished_run_is_skipped_and_another_configuration_is_refused(tmp_path):
    best = run_toy(tmp_path, epochs=1)
    before = best.stat().st_mtime_ns
    assert run_toy(tmp_path, epochs=1, log_every=5) == best and best.stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"train.lr 0.01, now it is 0.5; set another --work-dir, or delete"):
        run_toy(tmp_path, epochs=1, lr=0.5)
    with pytest.raises(UsageError, match=r"system.data.*'b'"):
        run_toy(tmp_path, epochs=1, system={**SYSTEM, "data": "b"})
    assert best.stat().st_mtime_ns == before
    best.unlink()
    with pytest.raises(AvsrError, match="no best.pt"):
        run_toy(tmp_path, epochs=1)


def test_a_log_of_fewer_columns_goes_on_with_those(tmp_path):
    (tmp_path / "log.csv").write_text("step,valid\n1,0.5\n2,0.25\n")
    table = TrainLog(tmp_path / "log.csv", None, (len("step,valid\n1,0.5\n"), 1))
    table.row(2, {"valid": 0.125, "wer": 40.0})
    table.close()
    assert (tmp_path / "log.csv").read_text() == "step,valid\n1,0.5\n2,0.125\n"
