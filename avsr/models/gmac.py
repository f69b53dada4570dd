"""Multiply-adds of a model: convolutions, linear layers, matrix products and recurrent layers.

torch's own counter sees every convolution and matrix product, but an `nn.LSTM` is one operation to it that it counts
as nothing (or as products, depending on the build), so recurrent layers are counted here by their equations.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def _inplace_product(target: torch.Size, left: torch.Size, right: torch.Size, *args: object, **_: object) -> int:
    """Floating-point operations of addmm_ and baddbmm_, which torch's counter leaves out."""
    return 2 * math.prod(left) * right[-1]


INPLACE = {torch.ops.aten.addmm_: _inplace_product, torch.ops.aten.baddbmm_: _inplace_product}
RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


def multiply_adds(model: nn.Module, run: Callable[[], object]) -> int:
    """Multiply-adds of `run()`, which calls `model`; padding of convolutions included, element-wise work not.

    The model is put into eval mode for it.
    """
    was_training = model.training
    model.eval()
    counter = FlopCounterMode(display=False, custom_mapping=INPLACE)
    recurrent = {"by_hand": 0, "seen": 0}
    try:
        with torch.no_grad(), counter, _watched(model, counter, recurrent):
            run()
    finally:
        model.train(was_training)
    return (counter.get_total_flops() - recurrent["seen"]) // 2 + recurrent["by_hand"]


@contextmanager
def _watched(model: nn.Module, counter: FlopCounterMode, recurrent: dict[str, int]) -> Iterator[None]:
    """Counts recurrent layers by hand, and what the counter happens to see inside them, to be taken off again."""
    before: list[int] = []

    def enter(module: nn.Module, args: tuple) -> None:
        before.append(counter.get_total_flops())

    def leave(module: nn.Module, args: tuple, result: tuple) -> None:
        recurrent["seen"] += counter.get_total_flops() - before.pop()
        recurrent["by_hand"] += _steps(module, args[0]) * _recurrent_step(module)

    handles = []
    for module in model.modules():
        if isinstance(module, RECURRENT):
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _steps(module: nn.Module, x: torch.Tensor | nn.utils.rnn.PackedSequence) -> int:
    """Time steps, summed over the batch."""
    if isinstance(x, nn.utils.rnn.PackedSequence):
        return int(x.batch_sizes.sum())
    return x.numel() // module.input_size


def _recurrent_step(module: nn.Module) -> int:
    """Multiply-adds of one time step of all layers and directions: the matrices' sizes."""
    return sum(p.numel() for name, p in module.named_parameters() if name.startswith("weight_"))
