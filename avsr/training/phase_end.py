"""What a phase of a curriculum has come to: the task measures it; a line in train.log and a row in log.csv say it."""

import logging
from collections.abc import Mapping

import torch
from torch import nn

from avsr.training import checkpoint
from avsr.training.conf import Phase
from avsr.training.log import TrainLog
from avsr.training.position import Position
from avsr.training.precision import Precision
from avsr.training.task import Task

log = logging.getLogger(__name__)

# How the line says what a task measures.
SAID = {
    "words": "longest window {:.0f} words",
    "clip": "mean clip {:.2f} s",
    "loss": "valid loss {:.5g}",
    "seen_loss": "{:.5g} on training clips",
    "wer": "WER {:.1f} %",
    "cer": "CER {:.1f} %",
    "decoded": "{:.0f} utterances decoded",
}


def measure_phase(
    model: nn.Module, task: Task, phase: Phase, precision: Precision, device: torch.device
) -> dict[str, float]:
    """What the task measures with the weights of the phase's last epoch; training does not feel it."""
    state = checkpoint.random_state()
    model.eval()
    try:
        with torch.no_grad(), precision.autocast(device):
            return task.phase_end(model, phase, device)
    finally:
        checkpoint.set_random_state(state)


def say_phase(phase: Phase, pos: Position, valid: Mapping[str, float], measured: dict, table: TrainLog) -> None:
    """`valid`: the numbers of the last validation; `measured`: what the task has measured at the phase's end."""
    numbers = {**valid, **measured}
    said = ", ".join(text.format(numbers[name]) for name, text in SAID.items() if name in numbers)
    log.info("phase %s ends after %d epochs: %s", phase.name, pos.epoch, said)
    if measured:
        table.row(pos.step, {"phase": phase.name, "epoch": pos.epoch, **measured})
