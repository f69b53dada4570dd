"""Time and memory of a command: `python -m avsr.bench.usage COMMAND ...` runs it and prints them as JSON.

Linux counts among the memory of a process what its parent held when it was started. So the command is not started by
the process that asks, which may hold torch, but by this small one.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from avsr.errors import AvsrError


class Usage(NamedTuple):
    """Wall time in seconds, and the largest resident memory (MiB) of one process: the command or a child of it."""

    seconds: float
    peak_mb: float


def measured(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Usage:
    """Runs a command to its end; its output is kept back. Raises AvsrError with its last line when it fails."""
    launcher = [sys.executable, "-m", "avsr.bench.usage", *command]
    done = subprocess.run(launcher, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    found = json.loads(done.stdout)
    if found["code"]:
        lines = found["errors"].strip().splitlines() or ["it said nothing"]
        raise AvsrError(f"{' '.join(command[:3])} ended with code {found['code']}: {lines[-1]}")
    return Usage(found["seconds"], found["peak_kb"] / 1024)


def main(command: Sequence[str]) -> None:
    """Runs the command and prints what it took."""
    start = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    seconds = time.perf_counter() - start
    peak_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"code": done.returncode, "seconds": seconds, "peak_kb": peak_kb, "errors": done.stderr}))


if __name__ == "__main__":
    main(sys.argv[1:])
