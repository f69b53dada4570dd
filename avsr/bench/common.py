"""What the benches share: their options, the rows they give, and stages run in processes of their own."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from avsr.bench.usage import Usage, measured

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Options:
    """What `python -m avsr.bench` was asked for; each bench takes what concerns it."""

    threads: int = 1  # of torch
    clips: Path | None = None  # folder of video clips, instead of synthetic ones
    device: str = "cpu"  # or cuda
    work_dir: Path | None = None  # of a recipe, instead of one made for the bench
    preset: str = "small"  # size of networks
    system: str = "mhca_avcrn"  # the id of the one that is trained


class Row(NamedTuple):
    """One measurement. `target` is a ceiling, with `least` a floor; None: nothing is asked of it."""

    name: str
    value: float
    unit: str
    target: float | None = None
    least: bool = False
    decimals: int = 2

    @property
    def missed(self) -> bool:
        """Whether the value is on the wrong side of its target."""
        if self.target is None:
            return False
        return self.value < self.target if self.least else self.value > self.target

    @property
    def verdict(self) -> str:
        """How the value stands to its target, in words; empty without one."""
        if self.target is None:
            return ""
        return f"{'at least' if self.least else 'at most'} {self.target:g}: {'missed' if self.missed else 'met'}"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def run_stage(name: str, *arguments: str | Path) -> Usage:
    """Runs one stage in a process of its own, in the environment of path.sh. Raises AvsrError when it fails."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    return measured([sys.executable, "-m", f"avsr.stages.{name}", *map(str, arguments)], environment)


def make_mini(work: Path, train: int, test: int = 1) -> None:
    """Stage 1: the mini corpus with so many training and test utterances, below `work` as a recipe has it."""
    counts = [f"--set=prepare.{split}={count}" for split, count in (("train", train), ("valid", 2), ("test", test))]
    run_stage("prepare", "--corpus", "mini", "--out", work / "data", "--nj", str(cores()), *counts)
