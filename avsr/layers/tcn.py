"""Temporal convolutional network (Bai et al. 2018) as the streams of TCN-AE use it (AE-MSR figure 3a, Table 6 c, d).

Legend: b batch, c channels, t time.
"""

from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.parametrizations import weight_norm


class TcnBlock(nn.Module):
    """Twice {causal weight-normed convolution, ReLU, channel dropout}, then ReLU(out + x); (b, c, t) throughout."""

    def __init__(self, channels: int, kernel: int, dilation: int, dropout: float):
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.convs = nn.ModuleList(self._conv(channels, kernel, dilation) for _ in range(2))
        self.dropout = nn.Dropout1d(dropout)

    @staticmethod
    def _conv(channels: int, kernel: int, dilation: int) -> nn.Module:
        conv = nn.Conv1d(channels, channels, kernel, dilation=dilation)
        # N(0, 0.01) as Bai et al.; the factor keeps it for fewer channels than the paper's 520.
        nn.init.normal_(conv.weight, 0.0, 0.01 * (520 / channels) ** 0.5)
        return weight_norm(conv)

    def forward(self, x_bct: Tensor) -> Tensor:
        y_bct = x_bct
        for conv in self.convs:
            y_bct = self.dropout(conv(pad(y_bct, (self.past, 0))).relu())
        return (y_bct + x_bct).relu()


class Tcn(nn.Sequential):
    """A row "TCN" of Table 6: blocks of dilation 1, 2, 4, ... Receptive field with 3 blocks of kernel 3: 29 frames."""

    def __init__(self, channels: int, blocks: int = 3, kernel: int = 3, dropout: float = 0.1):
        super().__init__(*(TcnBlock(channels, kernel, 2**number, dropout) for number in range(blocks)))


class TcnUp(nn.Module):
    """Twice the frame rate: ReLU(transposed convolution of kernel 3) + nearest neighbour, (b, c, t) -> (b, c, 2t).

    Each output looks one input frame ahead, so padding must be zero at the input.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.ConvTranspose1d(channels, channels, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x_bct: Tensor) -> Tensor:
        return self.conv(x_bct).relu() + x_bct.repeat_interleave(2, dim=2)
