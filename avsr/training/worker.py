"""One training in a process of its own: `python -m avsr.training.worker job.json`, as avsr.training.many starts it."""

import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from avsr import signals
from avsr.errors import AvsrError, disk_line
from avsr.signals import Stopped


def main(argv: list[str] | None = None) -> int:
    """Calls `function(**args)` of the job file {"function": "module:name", "args": {...}}; returns the exit code."""
    path = (sys.argv[1:] if argv is None else argv)[0]
    signals.install()
    threading.Thread(target=_stop_without, args=(os.getppid(),), daemon=True).start()
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


def _stop_without(parent: int) -> None:
    """Stops this training, checkpoint included, when the process that started it is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
