"""One training in a process of its own: `python -m avsr.training.worker job.json`, as avsr.training.many starts it."""

import importlib
import json
import logging
import os
import sys
from pathlib import Path

from avsr import signals
from avsr.errors import AvsrError, disk_line
from avsr.parallel import end_with
from avsr.signals import Stopped


def main(argv: list[str] | None = None) -> int:
    """Calls `function(**args)` of the job file {"function": "module:name", "args": {...}}; returns the exit code."""
    path = (sys.argv[1:] if argv is None else argv)[0]
    signals.install()
    end_with(os.getppid())  # a checkpoint is left first: SIGTERM raises Stopped
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    module, _, name = job["function"].partition(":")
    try:
        getattr(importlib.import_module(module), name)(**job["args"])
    except AvsrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {disk_line(error)}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
