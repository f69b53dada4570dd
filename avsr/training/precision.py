"""Number format and memory layout: measured for a few steps at the start of a run, then fixed for the whole of it, and
for all trainings of the same protocol in a work folder: what stands in one table differs in nothing else.

What is fastest depends on the processor (`python -m avsr.bench training`): channels_last and bfloat16 take a sixth to a
fifth off a pass of MHCA-AVCRN where there are instructions for them; without those bfloat16 is many times slower.
"""

import contextlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from avsr.storage.atomic import write_new
from avsr.training.checkpoint import random_state, set_random_state
from avsr.training.conf import TrainConf

log = logging.getLogger(__name__)

TOLERANCE = {"fp32": 1e-3, "bf16": 0.05}  # relative difference from the loss in plain fp32 that is let through
TIMED_STEPS = 2
GAIN = 0.95  # what another format than plain fp32 may take of its time: less is chance


@dataclass(frozen=True)
class Precision:
    """How the steps of a run are computed."""

    dtype: str = "fp32"  # fp32 | bf16 (autocast; weights stay fp32)
    channels_last: bool = False  # layout of the weights of 2-D and 3-D convolutions

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.dtype == "bf16")

    def __str__(self) -> str:
        return self.dtype + (" channels_last" if self.channels_last else "")


def lay_out(model: nn.Module, channels_last: bool) -> None:
    """Sets the memory layout of all convolution weights, in place; the outputs of the convolutions follow it."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in model.parameters():
        if parameter.dim() in formats:
            layout = formats[parameter.dim()] if channels_last else torch.contiguous_format
            parameter.data = parameter.data.contiguous(memory_format=layout)


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 by instructions of its own."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


class Trial(NamedTuple):
    """A format that was tried: seconds a step, relative difference of its loss from that in plain fp32."""

    precision: Precision
    seconds: float
    off: float

    @property
    def passed(self) -> bool:
        """The numeric check: whether the loss is near enough. One that is not finite is not."""
        return self.off <= TOLERANCE[self.precision.dtype]


def open_formats(model: nn.Module, conf: TrainConf, device: torch.device) -> list[Precision]:
    """What `conf` leaves to choose from, of what makes a difference to the model and does not crawl on the device."""
    layouts = [conf.channels_last] if conf.channels_last != "auto" else [False, True]
    if not any(parameter.dim() in (4, 5) for parameter in model.parameters()):
        layouts = [False]
    formats = ["fp32", "bf16"] if conf.precision == "auto" and has_bf16(device) else ["fp32"]
    if conf.precision != "auto":
        formats = [conf.precision]
    return [Precision(dtype, layout) for dtype in formats for layout in layouts]


def choose(
    model: nn.Module,
    loss: Callable[[], torch.Tensor],
    conf: TrainConf,
    device: torch.device,
    agreed: Path | None = None,
) -> Precision:
    """The fastest of the formats that `conf` leaves open whose loss agrees with plain fp32.

    `loss()` gives the mean loss of one real batch. Weights, buffers and random states are as before afterwards.
    `agreed`: a file in which the first of several trainings writes its choice, and which the others follow where their
    own loss lets them.
    """
    candidates = open_formats(model, conf, device)
    if len(candidates) == 1:
        log.info("precision: %s (nothing to choose)", candidates[0])
        return candidates[0]
    if agreed is not None and (held := _read_agreed(agreed)) in candidates:
        return _follow(model, loss, held, device)
    reference = check_loss(model, loss, Precision(), device)
    trials = []
    for candidate in candidates:
        off = deviation(check_loss(model, loss, candidate, device), reference)
        trials.append(Trial(candidate, step_seconds(model, loss, candidate, device), off))
        verdict = "" if trials[-1].passed else ": no"
        log.info("precision: %s %.3f s a step, loss off by %.1e%s", candidate, trials[-1].seconds, off, verdict)
    chosen = fastest(trials)
    log.info("precision: %s chosen", chosen)
    if agreed is not None and not write_new(agreed, json.dumps(asdict(chosen)) + "\n"):
        held = _read_agreed(agreed)  # another training, started beside this one, was first
        return _follow(model, loss, held, device) if held in candidates else chosen
    return chosen


def _read_agreed(path: Path) -> Precision | None:
    """What another training chose; None where none has, or the file does not say it."""
    try:
        return Precision(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _follow(model: nn.Module, loss: Callable, held: Precision, device: torch.device) -> Precision:
    """The format of the trainings beside this one; plain fp32 where this one's loss does not agree."""
    off = deviation(check_loss(model, loss, held, device), check_loss(model, loss, Precision(), device))
    if Trial(held, 0.0, off).passed:
        log.info("precision: %s, as of the trainings beside this one; loss off by %.1e", held, off)
        return held
    log.warning("precision: not %s as the trainings beside this one, for the loss is off by %.1e; fp32", held, off)
    return Precision()


def fastest(trials: Sequence[Trial]) -> Precision:
    """The fastest format that passed the check; plain fp32 where none did, or where the gain over it may be chance."""
    times = {trial.precision: trial.seconds for trial in trials if trial.passed}
    chosen = min(times, key=times.get, default=Precision())
    if times.get(chosen, 0.0) > GAIN * times.get(Precision(), math.inf):
        return Precision()
    return chosen


def deviation(value: float, reference: float) -> float:
    """The relative difference of a loss from the reference; infinite where the loss is not finite."""
    return abs(value - reference) / max(abs(reference), 1e-12) if math.isfinite(value) else math.inf


@contextlib.contextmanager
def _unchanged(model: nn.Module, weights: bool = False) -> Iterator[None]:
    """Leaves no trace of trial steps in the model (of plain layout) or in torch's generators.

    weights: whether the steps change them too; else a copy of them is spared.
    """
    state, buffers = random_state(), {name: value.clone() for name, value in model.named_buffers()}
    before = {name: value.detach().clone() for name, value in model.named_parameters()} if weights else {}
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in model.named_buffers():
                value.copy_(buffers[name])
            for name, value in model.named_parameters() if weights else ():
                value.copy_(before[name])
        for module, mode in modes.items():
            module.training = mode
        model.zero_grad(set_to_none=True)
        lay_out(model, False)
        set_random_state(state)


def check_loss(model: nn.Module, loss: Callable, candidate: Precision, device: torch.device) -> float:
    """The loss in a format, in eval mode; model and random states are as before afterwards."""
    with _unchanged(model), torch.no_grad(), candidate.autocast(device):
        lay_out(model, candidate.channels_last)
        model.eval()  # dropout draws in memory order, so other layouts would drop other cells
        return float(loss())


def step_seconds(
    model: nn.Module,
    loss: Callable,
    candidate: Precision,
    device: torch.device,
    update: Callable[[], None] | None = None,
) -> float:
    """Seconds that one forward and backward pass takes; model and random states are as before afterwards.

    On a CPU they are seconds of its cores, a thread: other processes, trainings side by side say, do not count.
    update: what is to be done with the gradients, timed too; None: nothing.
    """
    times, threads = [], torch.get_num_threads()
    with _unchanged(model, weights=update is not None):
        lay_out(model, candidate.channels_last)
        for _ in range(1 + TIMED_STEPS):  # the first one pays for set-up
            start = time.process_time() / threads if device.type == "cpu" else time.perf_counter()
            with candidate.autocast(device):
                value = loss()
            value.backward()
            if update is not None:
                update()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            end = time.process_time() / threads if device.type == "cpu" else time.perf_counter()
            times.append(end - start)
    return min(times[1:])
