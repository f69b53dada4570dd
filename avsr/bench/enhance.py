"""What every enhancement system costs: parameters, multiply-adds, real-time factor on one core, peak memory.

Each network runs in a process of its own (`python -m avsr.bench.enhance ID PRESET`), with weights as drawn, on one
utterance of 3 s; from what it hears and sees to its estimate, without STFT, lip-reading front-end and reconstruction.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from avsr.bench.common import ROOT, Options, Row
from avsr.errors import AvsrError
from avsr.models.systems import load_system, system_ids

REPEATS = 7
STATUS = Path("/proc/self/status")


class Cost(NamedTuple):
    """Of one network: 10^9 multiply-adds for a second of input; seconds of computing for a second of sound; the largest
    resident memory of its process in MiB, and what of it Python and PyTorch had taken before the network was built."""

    parameters: int
    gmac: float
    real_time_factor: float
    peak_mb: float
    before_mb: float


def run(options: Options, systems: Sequence[str] | None = None) -> list[Row]:
    """Four rows a system (None: every enhancement system of conf/systems), in the size `options.preset`.

    Raises AvsrError naming the system whose process fails.
    """
    rows = []
    for name in enhancement_systems() if systems is None else systems:
        cost = measured_cost(name, options.preset)
        if not rows:
            rows.append(Row("Python and PyTorch alone: memory", cost.before_mb, "MiB"))
        title = f"{load_system(name, options.preset).name} [{name}] {options.preset}"
        rows.append(Row(f"{title}: parameters", cost.parameters / 1e6, "10^6"))
        rows.append(Row(f"{title}: multiply-adds", cost.gmac, "GMAC/s", decimals=3))
        rows.append(Row(f"{title}: real-time factor, one core", cost.real_time_factor, "s/s", decimals=4))
        rows.append(Row(f"{title}: peak memory", cost.peak_mb, "MiB"))
    return rows


def enhancement_systems() -> list[str]:
    """The ids of the systems that enhance, in the order of the alphabet."""
    return [name for name in system_ids() if load_system(name, "tiny").kind == "enhance"]


def measured_cost(name: str, preset: str) -> Cost:
    """The cost of one system, from a process of its own."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "avsr.bench.enhance", name, preset]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise AvsrError(f"{name} {preset} ended with code {done.returncode}: {lines[-1]}")
    return Cost(**json.loads(done.stdout))


def resident_mb(status: Path = STATUS) -> float:
    """The largest resident memory of this program in MiB; unlike getrusage's without that of who started it."""
    lines = status.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def cost_here(name: str, preset: str, repeats: int = REPEATS) -> Cost:
    """The cost of one system in this process; the time is the median of `repeats` passes after a first one."""
    import torch

    from avsr.models.listing import SECONDS, build_model, gmac_per_second, heard_bands, parameters, random_batch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    system, before_mb = load_system(name, preset), resident_mb()
    model = build_model(system.model).eval()
    batch = random_batch([round(25 * SECONDS)], [1], heard_bands(model))
    video = batch[model.video_input] if model.video_input else None
    seconds = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            start = time.perf_counter()
            model.estimate(batch["noisy_mel"], video, batch["frames"])
            seconds.append(time.perf_counter() - start)
    peak_mb = resident_mb()  # before the count, which has a pass of its own
    factor = statistics.median(seconds[1:]) / SECONDS
    return Cost(parameters(model), gmac_per_second(system, model), factor, peak_mb, before_mb)


if __name__ == "__main__":
    print(json.dumps(cost_here(*sys.argv[1:])._asdict()))
