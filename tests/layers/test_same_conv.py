"""Keras's "same" padding against loops in float64, and the adjoint."""

import numpy as np
import pytest
import torch

from avsr.layers.same_conv import SameConv2d, SameConvTranspose2d, same_padding

CASES = [(5, (2, 2)), (4, (1, 1)), (4, (2, 2)), (2, (2, 1)), (3, (1, 1)), (3, (2, 1))]


def conv_same(x_cft, weight, bias, stride):
    """The definition, cell by cell: output o sees inputs o * stride - front + k."""
    out_channels, _, *kernel = weight.shape
    sizes = [-(-x_cft.shape[1 + i] // stride[i]) for i in (0, 1)]
    excess = [max((sizes[i] - 1) * stride[i] + kernel[i] - x_cft.shape[1 + i], 0) for i in (0, 1)]
    y = np.zeros((out_channels, *sizes))
    for f in range(sizes[0]):
        for t in range(sizes[1]):
            for i in range(kernel[0]):
                for j in range(kernel[1]):
                    row, column = f * stride[0] - excess[0] // 2 + i, t * stride[1] - excess[1] // 2 + j
                    if 0 <= row < x_cft.shape[1] and 0 <= column < x_cft.shape[2]:
                        y[:, f, t] += weight[:, :, i, j] @ x_cft[:, row, column]
    return y + bias[:, None, None]


@pytest.mark.parametrize(("kernel", "stride"), CASES)
def test_the_definition(kernel, stride):
    torch.manual_seed(0)
    layer = SameConv2d(2, 3, kernel, stride).double()
    x = torch.randn(1, 2, 9, 8, dtype=torch.double)
    expected = conv_same(x[0].numpy(), layer.weight.detach().numpy(), layer.bias.detach().numpy(), stride)
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("kernel", "stride"), CASES)
def test_the_transposed_one_is_the_adjoint(kernel, stride):
    """<conv(x), y> = <x, deconv(y)> for all x, y, with the same weights and no bias."""
    torch.manual_seed(0)
    forward, back = SameConv2d(2, 3, kernel, stride).double(), SameConvTranspose2d(3, 2, kernel, stride).double()
    back.weight.data.copy_(forward.weight)
    for layer in (forward, back):
        torch.nn.init.zeros_(layer.bias)
    x, y = torch.randn(1, 2, 12, 8, dtype=torch.double), torch.randn(1, 3, 12, 8, dtype=torch.double)
    y = y[:, :, : 12 // stride[0], : 8 // stride[1]]
    assert back(y).shape == x.shape and forward(x).shape == y.shape
    torch.testing.assert_close((forward(x) * y).sum(), (x * back(y)).sum())


def test_more_at_the_end():
    assert same_padding(80, 5, 2) == (1, 2) and same_padding(40, 4, 1) == (1, 2)
    assert same_padding(5, 2, 1) == (0, 1) and same_padding(20, 2, 2) == (0, 0)
