"""One training by two processes that torchrun starts: it ends, it is stopped, one of its processes is killed."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from avsr.errors import AvsrError
from avsr.training.distributed import Lost
from avsr.training.launch import cause
from avsr.training.many import Job, train_many
from tests.training.systems import job
from tests.training.test_distributed import losses
from tests.training.test_many import JOB, jobs_in, wait_for

LONG = {"epochs": 500, "stop_after": None, "processes": 2, "checkpoint_minutes": 1e-6}
START = (
    "import logging, sys, pathlib\nfrom avsr import signals\nfrom avsr.errors import AvsrError\n"
    "from avsr.training.many import *\nlogging.basicConfig(level=20)\nsignals.install()\n"
    "out = pathlib.Path(sys.argv[1])\n"
    f"args = {{'out': str(out), 'keys': {{**{LONG}, 'workers': int(sys.argv[2])}}, 'slow': 0.02}}\n"
    "try:\n train_many([Job('toy', 'tests.training.toy:job', args, out, 2)], 1)\n"
    "except signals.Stopped as s:\n sys.exit(s.exit_code)\nexcept AvsrError as e:\n sys.exit(f'stage: {e}')"
)


def newest_step(out):
    return torch.load(sorted(out.glob("checkpoint-*.pt"))[-1], weights_only=True)["position"]["step"]


def rank_of(pid):
    """The number of a trainer, None of torchrun and of loading processes."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        found = dict(line.partition(b"=")[::2] for line in file.read().split(b"\0"))
    return int(found[b"RANK"]) if b"RANK" in found else None


def test_two_processes_of_torchrun_have_the_losses_of_one(tmp_path):
    args = {"out": str(tmp_path / "two"), "system": "ae_tcn", "processes": 2, "epochs": 1}
    train_many([Job("two", "tests.training.systems:job", args, tmp_path / "two", 2)], 1)
    job(str(tmp_path / "one"), "ae_tcn", 1, epochs=1)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=0, abs=1e-5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_one_that_is_killed_ends_the_run_with_one_line_and_a_stop_leaves_a_checkpoint(tmp_path, root, number):
    """SIGTERM to the stage, with loading processes, which torchrun must not stop; kill -9 of the second trainer."""
    out, workers = tmp_path / "run", "1" if number == signal.SIGTERM else "0"
    with subprocess.Popen([sys.executable, "-c", START, str(out), workers], cwd=root, stderr=subprocess.PIPE) as stage:
        try:
            wait_for(lambda: (out / "best.pt").exists())
            if number == signal.SIGTERM:
                stage.send_signal(number)
            else:
                (second,) = [pid for pid in jobs_in(out) if rank_of(pid) == 1]
                os.kill(int(second), number)
            said = stage.communicate(timeout=120)[1].decode().splitlines()[-1]
        finally:
            stage.kill()
    wait_for(lambda: not jobs_in(out), 10)
    step = newest_step(out)
    assert step >= 5
    if number == signal.SIGTERM:
        assert stage.returncode == 143 and said.endswith("toy: stopped: stopped by SIGTERM")
        assert f"stopped at step {step}; start again to go on" in (out / "train.log").read_text()
        return
    line = f"{out}: process 1 of this training was killed by SIGKILL (out of memory?); run again to go on from its last"
    assert stage.returncode == 1 and said == f"stage: 1 of 1 trainings failed: toy: {line} checkpoint"


def test_the_error_of_a_process_is_the_line_of_the_training(tmp_path):
    other = Job("other", JOB, {"out": str(tmp_path / "o"), "keys": {"processes": 3}}, tmp_path / "o", 2)
    broken = Job("broken", JOB, {"out": str(tmp_path / "b"), "keys": {}, "fail": True}, tmp_path / "b", 2)
    with pytest.raises(AvsrError, match="2 of 2 trainings failed: ") as error:
        train_many([other, broken], 2)
    assert "other: train.processes is 3, but there are 2: let a stage start this training" in str(error.value)
    assert "broken: ValueError: this job is broken" in str(error.value)


def failure(exitcode, message="", stamp=5):
    made = ProcessFailure(0, 1, exitcode, "")
    made.message, made.timestamp = message or made.message, stamp
    return made


def test_the_cause_is_an_error_of_its_own_then_who_was_killed():
    lost, ended, stopped = failure(1, f"{Lost.line} (closed)", 1), failure(-15, "", 1), failure(143, "stopped", 1)
    full, killed = failure(1, "disk full"), failure(-9)
    assert cause({0: lost, 1: killed}) is killed
    assert cause({0: ended, 1: killed, 2: stopped}) is killed
    assert cause({0: killed, 1: full, 2: lost}) is full
    assert cause({0: full, 1: (first := failure(1, "nan", 4))}) is first
    assert cause({1: lost}) is lost and cause({1: stopped}) is stopped
