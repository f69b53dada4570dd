"""Modules that a phase leaves as they are."""

import difflib

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from avsr.errors import UsageError


def trainable(model: nn.Module) -> set[str]:
    """Names of the weights that the model itself lets move (a recogniser behind a frozen enhancer fixes some)."""
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def freeze(model: nn.Module, prefixes: tuple[str, ...], free: set[str]) -> list[nn.Module]:
    """Takes the gradient from all weights below the prefixes and gives it to all others of `free`.

    Returns the frozen modules. UsageError for a prefix that names no module.
    """
    modules = dict(model.named_modules())
    for prefix in prefixes:
        if prefix not in modules:
            near = difflib.get_close_matches(prefix, modules, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"freeze: there is no module {prefix!r}{hint}")
    for name, parameter in model.named_parameters():
        below = any(name.startswith(prefix + ".") for prefix in prefixes)
        parameter.requires_grad_(name in free and not below)
    return [modules[prefix] for prefix in prefixes]


def frozen_to_eval(frozen: list[nn.Module]) -> None:
    """Batch norm and dropout of frozen modules in eval mode: what they give does not change from step to step.

    Not the recurrent layers, for cuDNN computes no gradient through them in eval mode.
    """
    for root in frozen:
        for module in root.modules():
            if hasattr(module, "running_mean") or isinstance(module, _DropoutNd):
                module.eval()
