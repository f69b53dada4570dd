"""Pseudo-3D residual blocks (Qiu et al. 2017; AE-MSR figure 5): 1x3x3 and 3x1x1 convolutions in place of 3x3x3.

Both are computed as 2-D convolutions over the same memory, channels last: the spatial one over pictures (n, c, h, w),
the temporal one over (b, c, t, h * w). On a CPU that is 2 to 4 times as fast as 3-D convolutions. Only the real frames
of a padded batch are kept (n), so that padding costs nothing and enters no batch statistics.
Legend: n real frames of the batch, b clips, t time, c channels, h w picture.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, max_pool2d, pad

from avsr.layers.masking import Packing

Kind = Literal["A", "B", "C", "2D"]


def over_time(x_nchw: Tensor, packing: Packing, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`function` of the clips as (b, c, t, h * w), zero in the padding; it must keep t and h * w."""
    size = x_nchw.shape[2:]
    x_btpc = packing.unpack(x_nchw.permute(0, 2, 3, 1).flatten(1, 2))
    y_bctp = function(x_btpc.permute(0, 3, 1, 2))
    return packing.pack(y_bctp.permute(0, 2, 3, 1)).unflatten(1, size).permute(0, 3, 1, 2)


class PointConv(nn.Conv2d):
    """A 1x1 convolution that takes its stride first: of every stride-th row and column, (n, c, h, w).

    Same numbers, weights and cost as `nn.Conv2d`. The strided form of fewer than 16 channels, channels last, kills the
    process: the weight gradient of oneDNN (torch 2.13, AVX-512, two threads and pictures that they cannot share evenly)
    writes beyond its memory.
    """

    SAFE = 16  # channels from which the strided form, which is up to a fifth faster, is sound

    def forward(self, x_nchw: Tensor) -> Tensor:
        rows, columns = self.stride
        return conv2d(x_nchw[:, :, ::rows, ::columns], self.weight, self.bias)


def conv_norm(c_in: int, c_out: int, kernel: tuple[int, int], stride: int = 1) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A convolution without bias, of unchanged size but for the stride, He initialised; and its batch norm."""
    kind = PointConv if kernel == (1, 1) and c_in < PointConv.SAFE else nn.Conv2d
    conv = kind(c_in, c_out, kernel, stride, padding=(kernel[0] // 2, kernel[1] // 2), bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv, nn.BatchNorm2d(c_out)


class TemporalConv(nn.Module):
    """3x1x1 convolution, batch norm, ReLU."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv, self.norm = conv_norm(channels, channels, (3, 1))

    def forward(self, x_nchw: Tensor, packing: Packing) -> Tensor:
        return self.norm(over_time(x_nchw, packing, self.conv)).relu()


class P3dBlock(nn.Module):
    """Bottleneck of expansion 4: A temporal after spatial, B both side by side, C spatial plus temporal after it,
    2D spatial alone. The first 1x1x1 convolution carries the spatial stride."""

    def __init__(self, c_in: int, planes: int, kind: Kind, stride: int):
        super().__init__()
        self.kind = kind
        self.reduce = nn.Sequential(*conv_norm(c_in, planes, (1, 1), stride), nn.ReLU(inplace=True))
        self.spatial = nn.Sequential(*conv_norm(planes, planes, (3, 3)), nn.ReLU(inplace=True))
        self.temporal = None if kind == "2D" else TemporalConv(planes)
        self.expand = nn.Sequential(*conv_norm(planes, 4 * planes, (1, 1)))
        changes = stride > 1 or c_in != 4 * planes
        self.shortcut = nn.Sequential(*conv_norm(c_in, 4 * planes, (1, 1), stride)) if changes else nn.Identity()

    def forward(self, x_nchw: Tensor, packing: Packing) -> Tensor:
        y_nchw = self.reduce(x_nchw)
        spatial_nchw = self.spatial(y_nchw)
        if self.kind == "A":
            y_nchw = self.temporal(spatial_nchw, packing)
        elif self.kind == "B":
            y_nchw = spatial_nchw + self.temporal(y_nchw, packing)
        elif self.kind == "C":
            y_nchw = spatial_nchw + self.temporal(spatial_nchw, packing)
        else:
            y_nchw = spatial_nchw
        return (self.expand(y_nchw) + self.shortcut(x_nchw)).relu_()


class Stem(nn.Module):
    """5x7x7 convolution of stride 1x2x2 from one channel, batch norm, ReLU, 1x3x3 max pool of stride 1x2x2.

    The five frames stand as channels of a 2-D convolution. (b, t, h, w) -> (n, c, h / 4, w / 4).
    """

    def __init__(self, channels: int, frames: int = 5):
        super().__init__()
        self.frames = frames
        self.conv, self.norm = conv_norm(frames, channels, (7, 7), stride=2)
        self.pool = nn.MaxPool2d(3, 2, padding=1)

    def forward(self, x_bthw: Tensor, packing: Packing) -> Tensor:
        """`x_bthw` is zero in the padding."""
        half = self.frames // 2
        windows_bthwf = pad(x_bthw, (0, 0, 0, 0, half, half)).unfold(1, self.frames, 1)
        x_nfhw = packing.pack(windows_bthwf).permute(0, 3, 1, 2)
        return self.pool(self.norm(self.conv(x_nfhw)).relu_())


def temporal_pool(x_nchw: Tensor, packing: Packing) -> Tensor:
    """Maximum over each frame and the next (2x1x1, stride 1), of non-negative inputs."""
    return over_time(x_nchw, packing, lambda x_bctp: max_pool2d(pad(x_bctp, (0, 0, 0, 1)), (2, 1), stride=1))


def kinds(depths: tuple[int, ...], last_is_temporal: bool) -> list[list[Kind]]:
    """The block kinds of each stage: A, B, C in turn through the network; the last stage 2D unless it is temporal."""
    cycle: list[Kind] = [("A", "B", "C")[number % 3] for number in range(sum(depths))]
    stages, begin = [], 0
    for depth in depths:
        stages.append(cycle[begin : begin + depth])
        begin += depth
    return stages if last_is_temporal else [*stages[:-1], ["2D"] * depths[-1]]


def crops_to_input(crops_bthw: Tensor, mean: float, deviation: float) -> Tensor:
    """uint8 grey -> float: (x / 255 - mean) / deviation; 0.5 and 0.5 give [-1, 1]."""
    return crops_bthw.to(torch.float32).mul_(1 / (255 * deviation)).sub_(mean / deviation)


def to_size(x_bthw: Tensor, size: int) -> Tensor:
    """Pictures of size x size px; as they are where they have that size."""
    if x_bthw.shape[2:] == (size, size):
        return x_bthw
    return interpolate(x_bthw, (size, size), mode="bilinear", antialias=True)
