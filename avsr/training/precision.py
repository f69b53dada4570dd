"""Number format and memory layout: measured for a few steps at the start of a run, then fixed for the whole of it.

A pass of MHCA-AVCRN on a CPU takes half the time with channels_last and a third with bfloat16 where the processor
has instructions for it; without them bfloat16 is many times slower.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

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


def choose(model: nn.Module, loss: Callable[[], torch.Tensor], conf: TrainConf, device: torch.device) -> Precision:
    """The fastest of the formats that `conf` leaves open whose loss agrees with plain fp32.

    `loss()` gives the mean loss of one real batch. Weights, buffers and random states are as before afterwards.
    """
    layouts = [conf.channels_last] if conf.channels_last != "auto" else [False, True]
    if not any(parameter.dim() in (4, 5) for parameter in model.parameters()):
        layouts = [False]
    formats = ["fp32", "bf16"] if conf.precision == "auto" and has_bf16(device) else ["fp32"]
    if conf.precision != "auto":
        formats = [conf.precision]
    candidates = [Precision(dtype, layout) for dtype in formats for layout in layouts]
    if len(candidates) == 1:
        log.info("precision: %s (nothing to choose)", candidates[0])
        return candidates[0]
    reference = _check_loss(model, loss, Precision(), device)
    times = {}
    for candidate in candidates:
        value = _check_loss(model, loss, candidate, device)
        off = abs(value - reference) / max(abs(reference), 1e-12)
        passed = math.isfinite(value) and off <= TOLERANCE[candidate.dtype]
        seconds = step_seconds(model, loss, candidate, device)
        log.info("precision: %s %.3f s a step, loss off by %.1e%s", candidate, seconds, off, "" if passed else ": no")
        if passed:
            times[candidate] = seconds
    chosen = min(times, key=times.get, default=Precision())
    if times.get(chosen, 0.0) > GAIN * times.get(Precision(), math.inf):
        chosen = Precision()
    log.info("precision: %s chosen", chosen)
    return chosen


@contextlib.contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Leaves no trace of trial steps in the model (of plain layout) or in torch's generators."""
    state, buffers = random_state(), {name: value.clone() for name, value in model.named_buffers()}
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, value in model.named_buffers():
                value.copy_(buffers[name])
        for module, mode in modes.items():
            module.training = mode
        model.zero_grad(set_to_none=True)
        lay_out(model, False)
        set_random_state(state)


def _check_loss(model: nn.Module, loss: Callable, candidate: Precision, device: torch.device) -> float:
    with _unchanged(model), torch.no_grad(), candidate.autocast(device):
        lay_out(model, candidate.channels_last)
        model.eval()  # dropout draws in memory order, so other layouts would drop other cells
        return float(loss())


def step_seconds(model: nn.Module, loss: Callable, candidate: Precision, device: torch.device) -> float:
    """Seconds that one forward and backward pass takes; model and random states are as before afterwards.

    On a CPU they are seconds of its cores, a thread: other processes, trainings side by side say, do not count.
    """
    times, threads = [], torch.get_num_threads()
    with _unchanged(model):
        lay_out(model, candidate.channels_last)
        for _ in range(1 + TIMED_STEPS):  # the first one pays for set-up
            start = time.process_time() / threads if device.type == "cpu" else time.perf_counter()
            with candidate.autocast(device):
                value = loss()
            value.backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            end = time.process_time() / threads if device.type == "cpu" else time.perf_counter()
            times.append(end - start)
    return min(times[1:])
