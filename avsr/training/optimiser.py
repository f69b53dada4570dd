"""The optimiser of a phase."""

from collections.abc import Iterable

import torch
from torch import nn

from avsr.training.conf import Phase, TrainConf


def make_optimiser(parameters: Iterable[nn.Parameter], conf: TrainConf, phase: Phase) -> torch.optim.Optimizer:
    """Adam or SGD, new: its state is not that of another phase, in which other weights may have moved."""
    options = {"lr": phase.lr, "weight_decay": phase.weight_decay}
    if conf.optimiser == "adam":
        return torch.optim.Adam(parameters, betas=conf.betas, **options)
    return torch.optim.SGD(parameters, momentum=conf.momentum, **options)
