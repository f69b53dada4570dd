"""Lists every system with its size and cost; `--check` builds them all and makes one training step of each."""

import argparse
import sys

from avsr.errors import AvsrError
from avsr.models.systems import PRESETS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m avsr.models", description=__doc__)
    parser.add_argument("--preset", default="base", choices=[*PRESETS, "all"], help="size to list (default: base)")
    parser.add_argument("--check", action="store_true", help="build every YAML in the tree, step small and tiny once")
    parser.add_argument("--only", metavar="ID", action="append", default=[], help="this system only (repeatable)")
    args = parser.parse_args(argv)
    from avsr.models.listing import check, table

    try:
        if args.check:
            return check(args.only)
        table(PRESETS if args.preset == "all" else (args.preset,), args.only)
    except AvsrError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
