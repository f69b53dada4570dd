"""Independent trainings side by side, each in a process of its own: with one thread each they use several cores
better than one training with several threads does."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avsr.errors import AvsrError, UsageError
from avsr.storage.atomic import write_json

log = logging.getLogger(__name__)

REPORT_SECONDS = 60.0
STOP_SECONDS = 300.0  # to finish a step and write a checkpoint


@dataclass(frozen=True)
class Job:
    """`function` ("module:name") is called with the keyword arguments `args` (plain data)."""

    name: str
    function: str
    args: dict
    folder: Path  # job.json and output.log go here
    processes: int = 1  # that share the training


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen
    start: float = field(default_factory=time.monotonic)


def train_many(jobs: Sequence[Job], nj: int) -> None:
    """Runs all jobs, `nj` at a time. One that fails does not touch the others; each ends with one line in the log.

    AvsrError (UsageError where their settings are at fault) tells of those that failed, when all have ended. When this
    process is stopped, every job is stopped too and leaves a checkpoint first.
    """
    todo, running, failed = list(jobs), [], []
    reported = time.monotonic()
    try:
        while todo or running:
            while todo and len(running) < nj:
                running.append(_start(todo.pop(0)))
            time.sleep(0.05)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                if not _ended_well(one):
                    failed.append(one)
            if time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                for one in running:
                    log.info("%s: %s", one.job.name, _last_line(one.job))
    finally:
        _stop(running)
    if failed:
        lines = "; ".join(f"{one.job.name}: {_why(one)}" for one in failed)
        usage = all(one.process.returncode == UsageError.exit_code for one in failed)
        raise (UsageError if usage else AvsrError)(f"{len(failed)} of {len(jobs)} trainings failed: {lines}")


def _start(job: Job) -> _Running:
    job.folder.mkdir(parents=True, exist_ok=True)
    write_json(job.folder / "job.json", {"function": job.function, "args": job.args})
    start = ["avsr.training.worker"] if job.processes == 1 else ["avsr.training.launch", str(job.processes)]
    command = [sys.executable, "-m", *start, str(job.folder / "job.json")]
    paths = [entry or os.getcwd() for entry in sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    log.info("%s: started, output in %s", job.name, job.folder / "output.log")
    with open(job.folder / "output.log", "ab") as output:
        # A session of its own: Ctrl-C reaches the jobs once, through this process.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    return _Running(job, process)


def _ended_well(one: _Running) -> bool:
    code, seconds = one.process.returncode, time.monotonic() - one.start
    if code == 0:
        log.info("%s: done in %.0f s", one.job.name, seconds)
    else:
        log.error("%s: failed (code %d) after %.0f s: %s", one.job.name, code, seconds, _why(one))
    return code == 0


def _why(one: _Running) -> str:
    if one.process.returncode < 0:
        number = signal.Signals(-one.process.returncode).name
        return f"{one.job.folder}: killed by {number} (out of memory?); run again to go on from its last checkpoint"
    return _last_line(one.job).removeprefix("error: ")


def _stop(running: list[_Running]) -> None:
    for one in running:
        one.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for one in running:
        try:
            one.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.process.kill()
        log.info("%s: stopped: %s", one.job.name, _last_line(one.job))


def _last_line(job: Job) -> str:
    with open(job.folder / "output.log", "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
