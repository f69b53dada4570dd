"""Commands of a single run: one line for what goes wrong, and an exit code."""

import argparse
import logging
import sys
from collections.abc import Callable

from avsr import signals
from avsr.errors import AvsrError, disk_line

log = logging.getLogger("avsr")


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
    except AvsrError as error:
        return _complain(made, error, error.exit_code)
    except signals.Stopped as stop:
        return _complain(made, stop, stop.exit_code)
    except OSError as error:
        return _complain(made, disk_line(error), 1)
    except ImportError as error:
        return _complain(made, f"{error}: run ./utils/install.sh", 1)
    finally:
        log.removeHandler(console)
    return 0


def _complain(made: argparse.ArgumentParser, error: object, code: int) -> int:
    print(f"{made.prog.split('.')[-1]}: {error}", file=sys.stderr)
    return code
