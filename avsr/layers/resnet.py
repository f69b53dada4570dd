"""The basic block of residual networks (He et al. 2016), of pictures by themselves: (n, c, h, w)."""

from torch import Tensor, nn

from avsr.layers.p3d import conv_norm


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the first one carries the stride."""

    def __init__(self, c_in: int, c_out: int, stride: int, pre_activation: bool = False):
        super().__init__()
        self.pre_activation = pre_activation
        self.conv1, norm1 = conv_norm(c_in, c_out, (3, 3), stride)
        self.conv2, self.norm2 = conv_norm(c_out, c_out, (3, 3))
        self.norm1 = nn.BatchNorm2d(c_in) if pre_activation else norm1
        changes = stride > 1 or c_in != c_out
        self.shortcut = nn.Sequential(*conv_norm(c_in, c_out, (1, 1), stride)) if changes else nn.Identity()

    def forward(self, x_nchw: Tensor) -> Tensor:
        if self.pre_activation:
            y_nchw = self.conv2(self.norm2(self.conv1(self.norm1(x_nchw).relu())).relu())
            return y_nchw + self.shortcut(x_nchw)
        y_nchw = self.norm2(self.conv2(self.norm1(self.conv1(x_nchw)).relu()))
        return (y_nchw + self.shortcut(x_nchw)).relu()
