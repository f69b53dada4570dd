"""Weights for a file that is to be small: matrices in 8 bits with a scale for each row, all else in half precision.

No training reads or writes these; `checkpoint.read` gives the weights back in single precision.
"""

import torch

from avsr.errors import AvsrError

MATRIX = 256  # of so many numbers on, a tensor of two dimensions and more is worth scales of its own
LARGEST = 127


def pack(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
    """Weights by name: (8 bits, scale of each row) for matrices, half precision for other numbers with a point, counts
    as they are. AvsrError where a weight is no number or beyond what half precision holds."""
    made = {name: _pack(value) for name, value in state.items()}
    for name, value in made.items():
        checked = value[1] if isinstance(value, tuple) else value
        if not torch.isfinite(checked).all():
            raise AvsrError(f"{name}: holds numbers that half precision cannot; this system cannot be made light")
    return made


def unpack(state: dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The weights again, in single precision."""
    return {name: _unpack(value) for name, value in state.items()}


def _pack(value: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    if not value.is_floating_point():
        return value
    if value.dim() < 2 or value.numel() < MATRIX:
        return value.half()
    rows = value.float().flatten(1)
    scale_r = (rows.abs().amax(1) / LARGEST).half()
    steps = (rows / scale_r.float().clamp_min(1e-30)[:, None]).round().clamp(-LARGEST, LARGEST)
    return steps.to(torch.int8).view(value.shape), scale_r


def _unpack(value: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    if not isinstance(value, tuple):
        return value.float() if value.is_floating_point() else value
    steps, scale_r = value
    return steps.float() * scale_r.float().view(-1, *[1] * (steps.dim() - 1))
