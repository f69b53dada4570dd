"""Padded batches: which frames are real, and blocks that see nothing but those.

Legend: b batch, t time, c channels, n real frames of the whole batch, one clip after another.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm


def valid_mask(lengths_b: Tensor, size: int) -> Tensor:
    """(b, size) bool: True at the first `lengths_b` positions of each row."""
    return torch.arange(size, device=lengths_b.device) < lengths_b[:, None]


class Packing:
    """Turns a padded (b, t, ...) batch into its real frames (n, ...) and back; free where nothing is padded."""

    def __init__(self, lengths_b: Tensor, size: int):
        self.batch, self.size = len(lengths_b), size
        mask_bt = valid_mask(lengths_b, size)
        self.index_n = None if bool(mask_bt.all()) else mask_bt.flatten().nonzero().squeeze(1)

    def pack(self, x_bt: Tensor) -> Tensor:
        """(b, t, ...) -> (n, ...)."""
        frames = x_bt.flatten(0, 1)
        return frames if self.index_n is None else frames.index_select(0, self.index_n)

    def unpack(self, x_n: Tensor) -> Tensor:
        """(n, ...) -> (b, t, ...), zero where there is no frame."""
        if self.index_n is not None:
            frames = x_n.new_zeros((self.batch * self.size, *x_n.shape[1:]))
            x_n = frames.index_copy(0, self.index_n, x_n)
        return x_n.unflatten(0, (self.batch, self.size))


class MaskedBatchNorm1d(nn.BatchNorm1d):
    """Batch norm of (b, t, c) whose statistics are those of the real frames; zero in the padding.

    One frame, a short word alone in its batch, has no statistics: it is normalised by the running ones.
    """

    def forward(self, x_btc: Tensor, lengths_b: Tensor) -> Tensor:
        packing = Packing(lengths_b, x_btc.shape[1])
        x_nc = packing.pack(x_btc)
        if len(x_nc) > 1:
            return packing.unpack(super().forward(x_nc))
        y_nc = batch_norm(x_nc, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return packing.unpack(y_nc)
