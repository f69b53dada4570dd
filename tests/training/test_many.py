"""Several trainings side by side: failures stay alone, a stop reaches all, and nothing is left running."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from avsr.errors import AvsrError, UsageError
from avsr.training.many import Job, train_many

JOB = "tests.training.toy:job"
SLOW = (
    "import logging, sys, pathlib\nfrom avsr import signals\nfrom avsr.training.many import *\n"
    "logging.basicConfig(level=20)\nsignals.install()\nout = pathlib.Path(sys.argv[1])\n"
    "jobs = [Job(n, 'tests.training.toy:job', {'out': str(out / n), 'keys': {'epochs': 500, 'stop_after': None},"
    " 'slow': 0.02}, out / n) for n in 'ab']\n"
    "try:\n train_many(jobs, 2)\nexcept signals.Stopped as s:\n sys.exit(s.exit_code)"
)


def test_a_failing_job_leaves_the_others_alone(tmp_path, caplog):
    caplog.set_level("INFO", "avsr")
    jobs = [
        Job(name, JOB, {"out": str(tmp_path / name), "keys": keys, "fail": fail}, tmp_path / name)
        for name, keys, fail in (("bad", {}, True), ("good", {"epochs": 1}, False), ("wrong", {"lr": -1.0}, False))
    ]
    with pytest.raises(AvsrError, match="2 of 3 trainings failed: .*bad: ValueError: this job is broken") as error:
        train_many(jobs, 3)
    assert not isinstance(error.value, UsageError)
    assert (tmp_path / "good" / "best.pt").exists()
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("good: done in") for line in lines)
    assert any(line.startswith("bad: failed (code 1)") and "ValueError: this job is broken" in line for line in lines)
    assert any(line.startswith("wrong: failed (code 2)") and "lr must be above 0" in line for line in lines)


def test_wrong_settings_stay_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="1 of 1 trainings failed: wrong: .*lr must be above 0, not -1.0"):
        train_many([Job("wrong", JOB, {"out": str(tmp_path), "keys": {"lr": -1.0}}, tmp_path)], 1)


def wait_for(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def jobs_in(folder):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = open(f"/proc/{pid}/cmdline").read()
        except OSError:
            continue
        found += [pid] if "avsr.training.worker" in command and str(folder) in command else []
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_jobs_stop_with_their_starter_and_leave_checkpoints(tmp_path, root, number):
    command = [sys.executable, "-c", SLOW, str(tmp_path)]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE) as starter:
        try:
            wait_for(lambda: all((tmp_path / n / "best.pt").exists() for n in "ab"))
            starter.send_signal(number)
            assert starter.wait(60) == (143 if number == signal.SIGTERM else -9)
        finally:
            starter.kill()
    wait_for(lambda: not jobs_in(tmp_path))
    for name in "ab":
        log = (tmp_path / name / "train.log").read_text()
        assert "start again to go on" in log
        newest = sorted((tmp_path / name).glob("checkpoint-*.pt"))[-1]
        step = torch.load(newest, weights_only=True)["position"]["step"]
        assert f"stopped at step {step};" in log
