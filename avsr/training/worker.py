"""One training in a process of its own: `python -m avsr.training.worker job.json`, as avsr.training.many starts it."""

import importlib
import json
import logging
import multiprocessing
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from avsr import signals
from avsr.errors import AvsrError, disk_line
from avsr.parallel import end_with
from avsr.signals import Stopped
from avsr.storage.atomic import write_json


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
        return _ended(f"error: {error}", error.exit_code)
    except OSError as error:
        return _ended(f"error: {disk_line(error)}", 1)
    except Stopped as stopped:
        return _ended(str(stopped), stopped.exit_code)
    except Exception as error:
        _for_launcher(f"{type(error).__name__}: {error}")
        raise
    return 0


def _ended(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    _for_launcher(line.removeprefix("error: "))
    return code


def _for_launcher(line: str) -> None:
    """Where one training has several processes, torchrun asks each that fails for its reason in this file."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        with suppress(OSError):  # where its folder cannot be written, the line stands in the output alone
            write_json(Path(path), {"message": line, "timestamp": int(time.time())})


def _leave(code: int) -> NoReturn:
    """Ends this process. One of several does so without the end of the interpreter, in which gloo's threads now and
    then abort (torch 2.13): all is written, and the run would count as failed."""
    if "RANK" not in os.environ:
        sys.exit(code)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    for child in multiprocessing.active_children():
        child.terminate()
    os._exit(code)


if __name__ == "__main__":
    _leave(main())
