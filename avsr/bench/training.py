"""What a training step costs in each number format and memory layout, and which one the trainer would take.

A step is the trainer's (avsr.training): forward, loss, backward, clipping, optimiser; on random clips of 3 s in batches
of the system's training protocol. The loss is checked and the time is measured as the trainer does at the start of a
run (avsr.training.precision), which times steps without the optimiser: its share is alike in all formats.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import nn

from avsr.bench.common import Options, Row
from avsr.errors import UsageError
from avsr.models.listing import SECONDS, build_model, heard_bands, random_batch, training_loss
from avsr.models.systems import System, load_system, training_conf
from avsr.training.conf import TrainConf
from avsr.training.guards import torch_settings
from avsr.training.optimiser import make_optimiser
from avsr.training.precision import (
    TOLERANCE,
    Precision,
    Trial,
    check_loss,
    deviation,
    fastest,
    has_bf16,
    open_formats,
    step_seconds,
)

CPU = torch.device("cpu")
FORMATS = [Precision(dtype, layout) for dtype in ("fp32", "bf16") for layout in (False, True)]
CLIPS = 784  # of a pass: the training split of GRID's one-speaker protocol


def run(options: Options, batch: int | None = None, seconds: float = SECONDS) -> list[Row]:
    """Four rows a format, and the trainer's choice.

    Args:
        batch: clips in a step; None: as the system's training protocol says.
        seconds: length of a clip.
    Raises UsageError: a system that does not enhance, or that is not there in `options.preset`.
    """
    system = load_system(options.system, options.preset)
    if system.kind != "enhance":
        raise UsageError(f"--system {system.id}: is of kind {system.kind}; name an enhancement system")
    conf = training_conf(system)
    batch = batch or conf.batch
    with torch_settings(options.threads, CPU):
        model, loss = prepared(system, batch, seconds)
        trials = list(measured(model, loss, conf))
        formats = open_formats(model, conf, CPU)
    chosen = fastest([trial for trial in trials if trial.precision in formats]) if len(formats) > 1 else formats[0]
    title = f"{system.name} [{system.id}] {system.preset}"
    rows = [row for trial in trials for row in _rows(title, trial, trials[0].seconds, batch, seconds)]
    faster = trials[0].seconds / next(trial.seconds for trial in trials if trial.precision == chosen)
    return [*rows, Row(f"{title}: the trainer takes {chosen}, faster than fp32 by", faster, "x faster")]


def prepared(system: System, batch: int, seconds: float) -> tuple[nn.Module, Callable[[], torch.Tensor]]:
    """A network with fresh weights, ready to be trained, and its mean loss on a batch of random clips."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(system.model)
        clips = random_batch([round(25 * seconds)] * batch, [1] * batch, heard_bands(model))
    if hasattr(model, "fit_statistics"):
        model.fit_statistics([clips])
    return model.train(), lambda: training_loss(system, model, clips)


def measured(model: nn.Module, loss: Callable[[], torch.Tensor], conf: TrainConf) -> Iterator[Trial]:
    """Each of FORMATS, those that the trainer would leave out included."""
    reference = check_loss(model, loss, Precision(), CPU)
    for precision in FORMATS:
        off = deviation(check_loss(model, loss, precision, CPU), reference)
        yield Trial(precision, step_seconds(model, loss, precision, CPU, updater(model, conf)), off)


def updater(model: nn.Module, conf: TrainConf) -> Callable[[], None]:
    """What the trainer does with the gradients of the first phase, by a new optimiser: its state takes their layout."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = make_optimiser(parameters, conf, conf.all_phases()[0])

    def update() -> None:
        nn.utils.clip_grad_norm_(parameters, conf.clip_norm or math.inf)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return update


def _rows(title: str, trial: Trial, plain: float, batch: int, seconds: float) -> list[Row]:
    name = f"{title}, {trial.precision}"
    note = " (emulated)" if trial.precision.dtype == "bf16" and not has_bf16(CPU) else ""
    return [
        Row(f"{name}: a step of {batch} clips of {seconds:g} s{note}", trial.seconds, "s", decimals=3),
        Row(f"{name}: against fp32", trial.seconds / plain, "x"),
        Row(f"{name}: a pass over {CLIPS} clips", math.ceil(CLIPS / batch) * trial.seconds, "s", decimals=1),
        Row(f"{name}: loss off by", trial.off, "of it", TOLERANCE[trial.precision.dtype], decimals=6),
    ]
