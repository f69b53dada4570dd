"""Loading ahead: the same batches in the same order for any number of workers; errors arrive as they were."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from avsr.errors import AvsrError
from avsr.training.loader import Loader, choose_workers
from tests.training.toy import ToyExamples, ToyTask

BATCHES = [[0, 3], [5], [9, 1, 2], [7], [4, 6], [8], [0], [1], [2, 3]]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_and_whole(workers):
    task, examples = ToyTask(), ToyExamples("t", 10)
    got = list(Loader(task, examples, BATCHES, workers))
    assert len(got) == len(BATCHES)
    for batch, indices in zip(got, BATCHES, strict=True):
        wanted = task.collate([examples[i] for i in indices])
        assert batch["utts"] == wanted["utts"]
        assert all(torch.equal(batch[name], wanted[name]) for name in ("x", "y", "mask"))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_a_worker_arrives_as_it_was_and_early_ends_leave_no_process(workers):
    class Broken(ToyExamples):
        def __getitem__(self, index):
            if index == 7:
                raise AvsrError("dump/x.h5: damaged")
            return super().__getitem__(index)

    before = children()
    with pytest.raises(AvsrError, match="^dump/x.h5: damaged$"):
        list(Loader(ToyTask(), Broken("t", 10), BATCHES, workers))
    for _ in Loader(ToyTask(), ToyExamples("t", 10), BATCHES, workers):
        break
    assert children() <= before


def test_a_killed_worker_is_one_line():
    class Deadly(ToyExamples):
        def __getitem__(self, index):
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(AvsrError, match="a loading process died"):
        list(Loader(ToyTask(), Deadly("t", 10), BATCHES, 1))


def children():
    """Processes of Python that this one has started, other tests' among them."""
    alive = set()
    for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
        try:
            if "python" in Path(f"/proc/{pid}/cmdline").read_text():
                alive.add(pid)
        except OSError:
            pass
    return alive


def test_workers_end_with_a_trainer_that_was_killed(root):
    code = (
        "import time\nfrom tests.training.toy import *\nfrom avsr.training.loader import Loader\n"
        "for b in Loader(ToyTask(), ToyExamples('t', 10), [[0]] * 9, 2):\n print('on', flush=True); time.sleep(60)"
    )
    trainer = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, process_group=0)
    trainer.stdout.readline()
    trainer.kill()
    trainer.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(trainer.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(trainer.pid, signal.SIGKILL)
    pytest.fail("loading processes outlived their trainer")


def test_waiting_is_measured():
    class Slow(ToyExamples):
        def __getitem__(self, index):
            time.sleep(0.05)
            return super().__getitem__(index)

    loader = Loader(ToyTask(), Slow("t", 10), [[0]] * 6)
    list(loader)
    assert 0.2 < loader.waited < 0.6
    loader = Loader(ToyTask(), Slow("t", 10), [[0]] * 6)
    for _ in loader:
        time.sleep(0.08)
    assert loader.waited < 0.15  # only the first batch


def test_number_of_workers_follows_the_measured_rates():
    assert choose_workers(0.1, 1.0, 8) == 0
    assert choose_workers(2.4, 1.0, 8) == 3
    assert choose_workers(9.0, 1.0, 4) == 4
    assert choose_workers(9.0, 1.0, 0) == 0
