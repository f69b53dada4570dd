"""Commands of a single run: one line for what goes wrong, and an exit code."""

import argparse
import logging
import multiprocessing
import sys
from collections.abc import Callable

from avsr import signals
from avsr.errors import AvsrError, disk_line

log = logging.getLogger("avsr")
ENDS = (AvsrError, signals.Stopped, OSError, MemoryError, ImportError)  # what a user can do something about


def run(made: argparse.ArgumentParser, body: Callable[[argparse.Namespace], None], argv: list[str] | None) -> int:
    """Parses, runs `body(args)`, and turns what happens into one line on stderr and an exit code."""
    try:
        args = made.parse_args(argv)
    except SystemExit as stop:  # argparse has said its line
        return int(stop.code or 0)
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(logging.Formatter("%(message)s"))
    log.setLevel(logging.INFO)
    log.addHandler(console)
    log.propagate = False
    signals.install()
    try:
        body(args)
    except ENDS as error:
        return complain(made.prog.split(".")[-1], error)
    finally:
        log.removeHandler(console)
    return 0


def complain(name: str, error: BaseException) -> int:
    """Says in one line on stderr, and in the log, what has ended the command `name`, ends its worker processes, and
    returns its exit code. `error`: one of ENDS, or an error that nobody thought of."""
    for child in multiprocessing.active_children():
        child.terminate()
    if isinstance(error, (AvsrError, signals.Stopped)):
        line, code = str(error), error.exit_code
    elif isinstance(error, OSError):
        line, code = disk_line(error), 1
    elif isinstance(error, MemoryError):
        line, code = "out of memory: use a smaller --nj", 1
    elif isinstance(error, ImportError):
        line, code = f"{error}: run ./utils/install.sh", 1
    else:
        line, code = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}", 1
    log.debug("%s: %s", name, line)
    print(f"{name}: {line}", file=sys.stderr)
    return code
