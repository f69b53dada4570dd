"""TCN rows: causal, receptive field of 29 frames; up-sampling to exactly twice the frames."""

import pytest
import torch
from torch.nn import functional

from avsr.layers.tcn import Tcn, TcnBlock, TcnUp


def test_a_row_is_causal_and_sees_29_frames():
    torch.manual_seed(1)
    row = Tcn(4).double().eval()
    for parameter in row.parameters():
        parameter.data = parameter.data.abs() + 0.01  # no ReLU closes, so that every path through the row is open
    x = torch.rand(1, 4, 80, dtype=torch.float64)
    changed = x.clone()
    changed[0, :, 40] += 1
    touched = ((row(changed) - row(x)).abs().sum(dim=1)[0] > 0).nonzero().flatten().tolist()
    assert touched == list(range(40, 40 + 29))


def test_block_is_twice_a_weight_normed_convolution_and_relu_then_relu_of_the_sum():
    torch.manual_seed(2)
    block = TcnBlock(5, 3, 2, dropout=0.5).double().eval()
    x = torch.randn(2, 5, 11, dtype=torch.float64)
    y = x
    for conv in block.convs:
        gain = conv.parametrizations.weight.original0
        direction = conv.parametrizations.weight.original1
        weight = gain * direction / direction.flatten(1).norm(dim=1)[:, None, None]
        y = torch.relu(functional.conv1d(functional.pad(y, (4, 0)), weight, conv.bias, dilation=2))
    torch.testing.assert_close(block(x), torch.relu(y + x))


def test_initial_weights_are_those_of_bai_et_al():
    torch.manual_seed(3)
    assert TcnBlock(520, 3, 1, 0.1).convs[0].weight.std().item() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("frames", [1, 4, 29, 75])
def test_up_sampling_doubles_exactly_and_adds_the_nearest_neighbour(frames):
    torch.manual_seed(4)
    up = TcnUp(5)
    x = torch.randn(2, 5, frames)
    out = up(x)
    assert out.shape == (2, 5, 2 * frames)
    up.conv.weight.data.zero_()
    up.conv.bias.data.zero_()
    torch.testing.assert_close(up(x)[..., 0::2], x)
    torch.testing.assert_close(up(x)[..., 1::2], x)


def test_numbers_of_parameters():
    with torch.device("meta"):
        assert sum(p.numel() for p in TcnBlock(520, 3, 1, 0.1).parameters()) == 1_624_480
        assert sum(p.numel() for p in TcnUp(520).parameters()) == 811_720
