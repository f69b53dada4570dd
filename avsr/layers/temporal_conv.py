"""The temporal blocks of a 1-D residual network (AE-MSR figure 3b, Table 6 a, b, f).

Legend: b batch, t time, c channels.
"""

from torch import Tensor, nn

from avsr.layers.masking import MaskedBatchNorm1d, valid_mask


class ResConv(nn.Module):
    """ReLU(BN(conv(x))) + skip(x), the convolution depthwise separable, kernel 5: (b, t, c_in) -> (b, t / stride, c).

    Stride 2 halves t, which must be even, as must the lengths. Skip: identity, average pool where the stride is 2,
    a 1x1 convolution after it where the channels change (the papers draw "AP" only; the 1x1 is ours).
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1, kernel: int = 5):
        super().__init__()
        self.depthwise = nn.Conv1d(c_in, c_in, kernel, stride, padding=kernel // 2, groups=c_in, bias=False)
        self.pointwise = nn.Linear(c_in, c_out)
        self.norm = MaskedBatchNorm1d(c_out)
        self.pool = nn.AvgPool1d(stride) if stride > 1 else nn.Identity()
        self.project = nn.Linear(c_in, c_out) if c_in != c_out else nn.Identity()
        self.stride = stride

    def forward(self, x_btc: Tensor, lengths_b: Tensor) -> Tensor:
        """`lengths_b`: real frames of x; the output has lengths_b / stride and is zero in its padding."""
        x_bct = (x_btc * valid_mask(lengths_b, x_btc.shape[1]).unsqueeze(-1)).transpose(1, 2)
        y_btc = self.pointwise(self.depthwise(x_bct).transpose(1, 2))
        y_btc = self.norm(y_btc, lengths_b // self.stride).relu() + self.project(self.pool(x_bct).transpose(1, 2))
        return y_btc * valid_mask(lengths_b // self.stride, y_btc.shape[1]).unsqueeze(-1)


class ResUp(nn.Module):
    """ReLU(BN(transposed convolution)) + nearest neighbour, kernel 5: twice the frame rate, (b, t, c) -> (b, 2t, c).

    The convolution is a full one: of figure 3 only those that do not up-sample are separable. The authors' code takes
    the transposed convolution itself as the skip; the figure names an up-sampling.
    """

    def __init__(self, channels: int, kernel: int = 5):
        super().__init__()
        self.conv = nn.ConvTranspose1d(channels, channels, kernel, 2, padding=kernel // 2, output_padding=1)
        self.norm = MaskedBatchNorm1d(channels)

    def forward(self, x_btc: Tensor, lengths_b: Tensor) -> Tensor:
        """`lengths_b`: real frames of x; the output has twice as many and is zero in its padding."""
        x_btc = x_btc * valid_mask(lengths_b, x_btc.shape[1]).unsqueeze(-1)
        y_btc = self.norm(self.conv(x_btc.transpose(1, 2)).transpose(1, 2), 2 * lengths_b)
        return y_btc.relu() + x_btc.repeat_interleave(2, dim=1)
