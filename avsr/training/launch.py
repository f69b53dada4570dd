"""One training by several processes of this machine: `python -m avsr.training.launch N job.json`.

It is `torchrun --standalone --nproc-per-node N -m avsr.training.worker job.json` with one line about why it failed, in
place of torchrun's page.
"""

import os
import signal
import sys
import uuid
from pathlib import Path

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from avsr.parallel import end_with
from avsr.training.distributed import Lost

STOP_SECONDS = 60  # to finish a step and write a checkpoint; also for those that wait for a dead one on a GPU


def main(argv: list[str] | None = None) -> int:
    """Runs the training to its end; returns the exit code."""
    processes, job = sys.argv[1:] if argv is None else argv
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(STOP_SECONDS)
    end_with(os.getppid())  # SIGTERM, which torchrun hands on
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=int(processes), run_id=uuid.uuid4().hex, rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", local_addr="localhost", max_restarts=0, monitor_interval=0.1,
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-m", "avsr.training.worker", job)
    except ChildFailedError as error:
        failure = cause(error.failures)
        print(f"error: {_why(Path(job).parent, failure, error.failures)}", file=sys.stderr)
        return failure.exitcode if failure.exitcode > 0 else 1
    except SignalException as stop:
        print(f"stopped by {stop.sigval.name}", file=sys.stderr)
        return 128 + stop.sigval
    return 0


def cause(failures: dict[int, ProcessFailure]) -> ProcessFailure:
    """The failure that ended the others: the first error of a process's own, or who was killed. Those that only lost
    the others or were stopped by torchrun come last."""

    def place(failure: ProcessFailure) -> tuple[int, int]:
        code = failure.exitcode
        if code == -signal.SIGTERM or code > 128 or str(failure.message).startswith(Lost.line):
            return 2, failure.timestamp
        return int(code < 0), failure.timestamp

    return min(failures.values(), key=place)


def _why(folder: Path, failure: ProcessFailure, failures: dict[int, ProcessFailure]) -> str:
    if failure.exitcode < 0:
        # On GPUs others may have waited for it until torchrun killed them as well: nothing tells who was the first.
        ranks = " and ".join(str(rank) for rank in failures if failures[rank].exitcode == failure.exitcode)
        killed = f"process {ranks} of this training was killed by {failure.signal_name()} (out of memory?)"
        return f"{folder}: {killed}; run again to go on from its last checkpoint"
    return str(failure.message)


if __name__ == "__main__":
    sys.exit(main())
