"""Several processes train one model: the numbers of one process, one decision for all, checkpoints for any number.

Here they are forked, which is quick; test_launch.py has torchrun.
"""

import csv
import json
import multiprocessing
import os
import signal
import socket

import pytest
import torch

from avsr import signals
from avsr.config import build
from avsr.errors import AvsrError, UsageError
from avsr.signals import Stopped
from avsr.training.conf import TrainConf
from avsr.training.distributed import Lost, Ranks, joined
from avsr.training.folder import RunFolder, resolved
from tests.training.systems import job
from tests.training.toy import KilledTask, ToyTask, run_toy

TWO = {"processes": 2}


@pytest.fixture(autouse=True)
def handlers():
    """As in a stage: signals raise Stopped."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    signals.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def together(folder, work, world=2):
    """Calls `work(rank)` in forked processes of one group; how each ended: "" or the type and line of its error."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def child(rank):
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        signals.install()
        torch.set_num_threads(1)
        line = ""
        try:
            work(rank)
        except (AvsrError, Stopped) as error:
            line = f"{type(error).__name__}: {error}"
        (folder / f"end{rank}").write_text(line)

    children = [multiprocessing.get_context("fork").Process(target=child, args=(rank,)) for rank in range(world)]
    for one in children:
        one.start()
    for one in children:
        one.join(60)
        one.kill()  # one that hangs has written no end
    ends = [folder / f"end{rank}" for rank in range(world)]
    pairs = zip(ends, children, strict=True)
    return [end.read_text() if end.exists() else f"exit {one.exitcode}" for end, one in pairs]


def losses(out):
    with open(out / "log.csv", newline="") as file:
        return [float(row["valid"] or row["train_loss"]) for row in csv.DictReader(file)]


def newest(out):
    return torch.load(sorted(out.glob("checkpoint-*.pt"))[-1], weights_only=True)


@pytest.mark.parametrize("system", ["ae_tcn", "eg_v", "tm_v"])
def test_two_processes_have_the_losses_of_one(tmp_path, system):
    job(str(tmp_path / "one"), system, 1)
    assert together(tmp_path, lambda rank: job(str(tmp_path / "two"), system, 2)) == ["", ""]
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 10 and one[0] > one[-2]  # four steps and a validation in each of two epochs
    assert two == pytest.approx(one, rel=0, abs=1e-5)


def weights_after(model_of, folder):
    """What each process's model is at the end of `model_of()`."""

    def work(rank):
        torch.save(model_of().state_dict(), folder / f"model{rank}.pt")

    assert together(folder, work) == ["", ""]
    return [torch.load(folder / f"model{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_with_batch_norm_the_processes_agree_afterwards(tmp_path, monkeypatch):
    made = []
    build_model = job.__globals__["build_model"]
    monkeypatch.setitem(job.__globals__, "build_model", lambda model: made.append(build_model(model)) or made[-1])

    def model_of():
        job(str(tmp_path / "run"), "p3d50", 2, 3, batch=2, epochs=1)
        return made[-1]

    first, second = weights_after(model_of, tmp_path)
    assert any("running_mean" in name for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)
    stored = newest(tmp_path / "run")["model"]
    assert all(torch.equal(stored[name], first[name]) for name in first)


def test_gradients_are_summed_and_what_no_process_has_stays_none(tmp_path):
    def work(rank):
        with joined(2, torch.device("cpu")) as (ranks, _):
            parameters = [torch.nn.Parameter(torch.zeros(2, 3)) for _ in range(3)]
            parameters[0].grad = torch.full((2, 3), 1.0 + rank)
            if rank == 1:
                parameters[1].grad = torch.arange(6.0).view(2, 3)
            ranks.add_gradients(parameters)
            assert parameters[0].grad.tolist() == [[3.0] * 3] * 2
            assert parameters[1].grad.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
            assert parameters[2].grad is None
            assert ranks.totals(2.0 + rank, 10) == ([2.0, 3.0], 20.0)
            assert ranks.tell(float(rank), 7.0) == [0.0, 7.0]
            assert ranks.agree([signal.SIGINT] * rank, 5.0 - rank) == ([signal.SIGINT], 5.0)

    assert together(tmp_path, work) == ["", ""]


def test_shares_are_all_of_a_batch_and_the_first_always_has_one():
    for size in range(1, 9):
        shares = [Ranks(rank, 3).share(list(range(size))) for rank in range(3)]
        assert sorted(sum(shares, [])) == list(range(size)) and shares[0]


def test_dropout_differs_between_processes_and_not_between_runs():
    drawn = {}
    for rank in (0, 1, 2):
        torch.manual_seed(5)
        Ranks(rank, 3).seed(1, 4)
        drawn[rank] = torch.rand(1).item()
    torch.manual_seed(5)
    assert drawn[0] == torch.rand(1).item() and len(set(drawn.values())) == 3  # the first one's goes on
    Ranks(1, 3).seed(1, 4)
    assert torch.rand(1).item() == drawn[1]


PLAIN = {"epochs": 3, "batch": 4, "max_padding": None}


class Plain(ToyTask):
    """Without dropout and with batch norm at rest, so that one process and two compute the same."""

    def loss(self, model, batch, phase):
        model.front.eval()
        return super().loss(model, batch, phase)


class PlainKilled(KilledTask, Plain):
    pass


@pytest.mark.parametrize("before, after", [(1, 2), (2, 1)])
def test_another_number_of_processes_goes_on_from_a_checkpoint(tmp_path, before, after):
    """Stopped within the second epoch."""
    run_toy(tmp_path / "whole", Plain(), **PLAIN)

    def begin(rank=0):
        run_toy(tmp_path / "run", PlainKilled(14 if rank == 0 else -1, signal.SIGTERM), processes=before, **PLAIN)

    if before == 1:
        with pytest.raises(Stopped):
            begin()
    else:
        assert together(tmp_path / "a", begin) == ["Stopped: stopped by SIGTERM"] * 2
    assert 10 < newest(tmp_path / "run")["position"]["step"] < 20

    def go_on(rank=0):
        run_toy(tmp_path / "run", Plain(), processes=after, **PLAIN)

    assert together(tmp_path / "b", go_on) == ["", ""] if after == 2 else go_on() is None
    log = (tmp_path / "run" / "train.log").read_text()
    assert f"the checkpoint is of {before} process(es), now there are {after}" in log
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    assert (tmp_path / "run" / "done.json").exists()
    best = (tmp_path / "run" / "best.pt").stat().st_mtime_ns
    run_toy(tmp_path / "run", Plain(), processes=before, **PLAIN)  # finished: whoever asks
    assert (tmp_path / "run" / "best.pt").stat().st_mtime_ns == best


def test_a_run_of_two_that_was_stopped_has_the_numbers_of_one_that_was_not(tmp_path):
    """With dropout and batch norm, across the border of two phases; a signal that the second process alone gets."""
    keys = {**TWO, "phases": [{"name": "a", "epochs": 2}, {"name": "b", "epochs": 1, "init": "best"}]}
    assert together(tmp_path / "a", lambda rank: run_toy(tmp_path / "whole", **keys)) == ["", ""]

    def stopped(rank):
        run_toy(tmp_path / "run", KilledTask(7 if rank == 1 else -1, signal.SIGINT), **keys)

    assert together(tmp_path / "b", stopped) == ["Stopped: stopped by SIGINT"] * 2
    assert together(tmp_path / "c", lambda rank: run_toy(tmp_path / "run", **keys)) == ["", ""]
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_a_stop_while_the_first_one_validates_stops_all(tmp_path):
    class Validating(ToyTask):
        def validate(self, model, batches, phase):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().validate(model, batches, phase)

    ends = together(tmp_path, lambda rank: run_toy(tmp_path / "run", Validating(), **TWO))
    assert ends == ["Stopped: stopped by SIGTERM"] * 2
    assert newest(tmp_path / "run")["position"]["epoch"] == 0


def test_a_budget_of_minutes_ends_all_at_once(tmp_path):
    def work(rank):
        run_toy(tmp_path / "run", KilledTask(-1, 0, slow=0.02 * (1 + rank)), epochs=500, max_minutes=0.01, **TWO)

    assert together(tmp_path, work) == ["", ""]
    assert (tmp_path / "run" / "done.json").exists()


def test_nan_of_one_process_ends_all_with_its_utterances(tmp_path):
    ends = together(tmp_path, lambda rank: run_toy(tmp_path / "run", ToyTask(spoil="loss"), **TWO))
    batch = json.loads((tmp_path / "run" / "nan_batch.json").read_text())
    assert "t007" in batch["utts"] and len(batch["utts"]) == 4  # of eight: the share of one process
    assert ends[0] == ends[1] and ends[0].startswith("AvsrError: ") and "the loss of these utterances is nan" in ends[0]


def test_an_infinite_gradient_of_one_process_is_skipped_by_all(tmp_path):
    ends = together(tmp_path, lambda rank: run_toy(tmp_path / "run", ToyTask(spoil="gradient"), **TWO))
    content = newest(tmp_path / "run")
    assert ends == ["", ""] and content["position"]["skipped"] == 3
    assert all(torch.isfinite(value).all() for value in content["model"].values())


def test_when_one_is_gone_the_others_say_so_and_the_checkpoint_serves(tmp_path):
    keys = {**TWO, "checkpoint_minutes": 1e-6}

    def work(rank):
        run_toy(tmp_path / "run", KilledTask(9 if rank == 1 else -1, signal.SIGKILL), **keys)

    first, second = together(tmp_path / "a", work)
    assert second == "exit -9" and first.startswith(f"Lost: {Lost.line}") and "\n" not in first
    assert newest(tmp_path / "run")["position"]["step"] >= 6
    assert together(tmp_path / "b", lambda rank: run_toy(tmp_path / "run", **keys)) == ["", ""]


@pytest.mark.parametrize("world", [None, "1", "3"])
def test_another_number_than_torchrun_started_is_refused(tmp_path, monkeypatch, world):
    if world:
        monkeypatch.setenv("WORLD_SIZE", world)
    said = f"train.processes is 2, but there are {world or 1}: .*torchrun --nproc-per-node 2"
    with pytest.raises(UsageError, match=said):
        run_toy(tmp_path / "run", **TWO)
    assert not (tmp_path / "run").exists()


def test_what_was_finished_before_there_was_the_key_stays_finished(tmp_path):
    held, wanted = (resolved({"id": "toy"}, build(TrainConf, {"processes": n}, "train")) for n in (1, 4))
    del held["train"]["processes"]
    folder = RunFolder(tmp_path)
    folder.best.write_text("weights")
    folder.finish(held)
    assert folder.finished(wanted)


def test_what_torchrun_set_is_nothing_to_a_training_by_one(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "2")
    assert run_toy(tmp_path, epochs=1).exists()


def test_more_processes_than_a_batch_has_clips_are_refused():
    with pytest.raises(UsageError, match=r"processes \(4\) must not be above batch \(2\)"):
        build(TrainConf, {"batch": 2, "processes": 4}, "train")


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_every_process_has_a_gpu_of_its_own_or_none_starts(tmp_path, monkeypatch, device):
    """All of them say so, before one waits for another."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1 if device == "cuda" else 2)
    for rank in "01":
        for name, value in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UsageError, match=f"--device {device}: 2 processes of a training take a GPU each"):
            with joined(2, torch.device(device)):
                pass
