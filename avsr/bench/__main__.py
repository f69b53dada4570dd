"""`python -m avsr.bench [name] [--threads N] [--device cuda]`: speed, as ratios against a reference of the same run.

Names: eleatt enhance landmarks loading stages stream training; none runs all. Prints machine, threads and versions
first; a target that is missed is said. A bench is a module with `run(options) -> list[Row]`.
"""

import argparse
import importlib
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from avsr.bench.common import Options, cores
from avsr.errors import AvsrError
from avsr.models.systems import PRESETS

BENCHES = ("eleatt", "enhance", "landmarks", "loading", "stages", "stream", "training")
LIBRARIES = ("torch", "numpy", "av", "h5py")


def main(argv: list[str] | None = None) -> int:
    """Prints one row a measurement; returns 1 when a target is missed or a bench cannot run."""
    parser = argparse.ArgumentParser(prog="python -m avsr.bench", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", choices=BENCHES, help="one of them; none: all")
    threads = "eleatt, training: of torch (default: 2; eleatt's targets are for 1 and 2)"
    parser.add_argument("--threads", type=int, default=2, help=threads)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="eleatt: where it runs (default: cpu)")
    parser.add_argument("--clips", type=Path, help="landmarks: folder of video clips (default: a synthetic one)")
    parser.add_argument("--preset", choices=PRESETS, default="small", help="enhance, training: size (small)")
    parser.add_argument("--system", default="mhca_avcrn", help="training: an enhancement system (mhca_avcrn)")
    parser.add_argument("--work-dir", type=Path, help="stream: a recipe's work folder (default: a small one is made)")
    args = parser.parse_args(argv)
    options = Options(args.threads, args.clips, args.device, args.work_dir, args.preset, args.system)
    print(describe(args.threads), flush=True)
    missed = 0
    try:
        for name in [args.name] if args.name else BENCHES:
            for row in importlib.import_module(f"avsr.bench.{name}").run(options):
                missed += row.missed
                print(f"{row.name:72s} {row.value:9.{row.decimals}f} {row.unit:12s} {row.verdict}".rstrip(), flush=True)
    except AvsrError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    return 1 if missed else 0


def describe(threads: int) -> str:
    """Machine, threads and versions in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    machine = f"{platform.machine()}, {cores()} cores, {threads} threads of torch"
    return f"{machine}, Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    sys.exit(main())
