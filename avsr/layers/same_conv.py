"""2-D convolutions with Keras's "same" padding: even kernels and odd remainders are padded more at the end.

Tensors are (n, c, f, t). PyTorch's own padding is the same at both ends, so it cannot say what VSE's layers do.
"""

from torch import Tensor, nn

Pair = tuple[int, int]


def same_padding(size: int, kernel: int, stride: int) -> Pair:
    """Zeros in front of and behind an axis, so that the convolution gives ceil(size / stride) values."""
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """(n, c_in, f, t) -> (n, c_out, ceil(f / stride), ceil(t / stride)); square kernel."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: Pair = (1, 1)):
        super().__init__(c_in, c_out, kernel, stride)

    def forward(self, x_ncft: Tensor) -> Tensor:
        rows, columns = (same_padding(x_ncft.shape[2 + i], self.kernel_size[i], self.stride[i]) for i in (0, 1))
        return super().forward(nn.functional.pad(x_ncft, (*columns, *rows)))


class SameConvTranspose2d(nn.ConvTranspose2d):
    """The adjoint of `SameConv2d` (bias apart): (n, c_in, f, t) -> (n, c_out, f * stride, t * stride).

    The kernel must not be smaller than the stride. `forward` may be told the size (f, t) of its output: a strided
    convolution rounds up, so that several sizes lead to one.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: Pair = (1, 1)):
        super().__init__(c_in, c_out, kernel, stride)

    def forward(self, x_ncft: Tensor, size: Pair | None = None) -> Tensor:
        rows, columns = size or (x_ncft.shape[2] * self.stride[0], x_ncft.shape[3] * self.stride[1])
        top, left = (same_padding(n, self.kernel_size[i], self.stride[i])[0] for i, n in enumerate((rows, columns)))
        return super().forward(x_ncft)[:, :, top : top + rows, left : left + columns]
