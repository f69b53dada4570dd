"""`python -m avsr.bench [name] [--threads N]`: speed, as ratios against a reference of the same run.

Names: eleatt landmarks; none runs all. Prints machine, threads and versions first; a target that is missed is said.
"""

import argparse
import importlib
import os
import platform
import sys

BENCHES = ("eleatt", "landmarks")


def main(argv: list[str] | None = None) -> int:
    """Prints one row a measurement; returns 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m avsr.bench", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", choices=BENCHES, help="one of them; none: all")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of torch (default: all cores)")
    parser.add_argument("--clips", help="landmarks: folder of video clips (default: synthetic ones)")
    args = parser.parse_args(argv)
    print(describe(args.threads))
    missed = 0
    for name in [args.name] if args.name else BENCHES:
        bench = importlib.import_module(f"avsr.bench.{name}")
        rows = bench.run(args.threads) if name == "eleatt" else bench.run(args.clips)
        for label, value, unit, target in rows:
            note = verdict(value, unit, target)
            missed += note.endswith("missed")
            print(f"{label:72s} {value:9.2f} {unit:12s} {note}")
    return 1 if missed else 0


def verdict(value: float, unit: str, target: float | None) -> str:
    """How a value stands to its target: ratios of cost and pixels at most, speeds at least."""
    if target is None:
        return ""
    least = unit == "x real time" or unit == "x faster"
    met = value >= target if least else value <= target
    return f"{'at least' if least else 'at most'} {target:g}: {'met' if met else 'missed'}"


def describe(threads: int) -> str:
    """Machine, threads and versions in one line."""
    import numpy
    import torch

    versions = f"Python {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}"
    return f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads of torch, {versions}"


if __name__ == "__main__":
    sys.exit(main())
