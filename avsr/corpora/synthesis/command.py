"""The command line that all generated corpora share."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from avsr.errors import AvsrError
from avsr.signals import Stopped, install

# The end of every README
CREDITS = """\
Faces: variants of NASA's portrait of the astronaut Eileen Collins (public domain, as shipped with scikit-image).
Voices: espeak-ng's own American English voices; the program is under GPL-3.0-or-later, the sound it makes is not.
"""


def run(
    name: str,
    doc: str,
    options: Callable[[argparse.ArgumentParser], None],
    make: Callable[[argparse.Namespace], str],
    argv: list[str] | None,
) -> int:
    """Runs `python -m avsr.corpora.<name>`; returns its exit code.

    `options` adds what is particular to the corpus to --out, --seed and --nj; `make` makes it and says what it made."""
    parser = argparse.ArgumentParser(f"python -m avsr.corpora.{name}", description=doc.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the corpus; what is there is kept")
    options(parser)
    parser.add_argument("--seed", type=int, default=0, help="of all chances (%(default)s)")
    parser.add_argument("--nj", type=int, default=1, help="processes (%(default)s)")
    args = parser.parse_args(argv)
    install()
    try:
        print(make(args))
    except AvsrError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except Stopped as stop:
        print(f"{name}: {stop}; run again to go on", file=sys.stderr)
        return stop.exit_code
    return 0
