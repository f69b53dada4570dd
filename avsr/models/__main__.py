"""Lists every system with its size and cost; `--check` builds and steps each of them in every size."""

import argparse
import sys

from avsr.errors import AvsrError
from avsr.models.systems import PRESETS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m avsr.models", description=__doc__)
    parser.add_argument("--preset", default="base", choices=[*PRESETS, "all"], help="size to list (default: base)")
    parser.add_argument("--check", action="store_true", help="build every YAML in the tree, step every size once")
    parser.add_argument(
        "--memory", metavar="GB", type=float, help="with --check: systems that need more are built only (default: 4)"
    )
    parser.add_argument("--only", metavar="ID", action="append", default=[], help="this system only (repeatable)")
    args = parser.parse_args(argv)
    if args.memory is not None and not args.memory >= 0:
        parser.error(f"--memory {args.memory:g}: GB, at least 0")
    from avsr.models.listing import MEMORY, check, table

    try:
        if args.check:
            return check(args.only, MEMORY if args.memory is None else args.memory)
        table(PRESETS if args.preset == "all" else (args.preset,), args.only)
    except AvsrError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
