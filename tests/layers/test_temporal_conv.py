"""The 1-D residual blocks against torch's own convolutions of one clip."""

import pytest
import torch
from torch.nn import functional

from avsr.layers.temporal_conv import ResConv, ResUp


@pytest.mark.parametrize("c_out", [6, 10])
@pytest.mark.parametrize("stride", [1, 2])
def test_is_relu_of_norm_of_separable_convolution_plus_skip(stride, c_out):
    torch.manual_seed(1)
    block = ResConv(6, c_out, stride).double().eval()
    block.norm.running_mean.normal_()
    block.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(1, 8, 6, dtype=torch.float64)
    y = functional.conv1d(x.mT, block.depthwise.weight, stride=stride, padding=2, groups=6)
    y = functional.conv1d(y, block.pointwise.weight.unsqueeze(2), block.pointwise.bias)
    mean, deviation = block.norm.running_mean, (block.norm.running_var + 1e-5).sqrt()
    y = torch.relu((y - mean[:, None]) / deviation[:, None])
    skip = x.mT if stride == 1 else (x.mT[..., 0::2] + x.mT[..., 1::2]) / 2
    if c_out != 6:
        skip = functional.conv1d(skip, block.project.weight.unsqueeze(2), block.project.bias)
    torch.testing.assert_close(block(x, torch.tensor([8])), (y + skip).mT)


def test_padding_changes_neither_output_nor_statistics():
    torch.manual_seed(2)
    x = torch.randn(2, 8, 6)
    dirty = x.clone()
    dirty[1, 4:] = 100.0
    alone, padded = ResConv(6, 10, 2), ResConv(6, 10, 2)
    padded.load_state_dict(alone.state_dict())
    out = padded(dirty, torch.tensor([8, 4]))
    clean = x.clone()
    clean[1, 4:] = 0.0
    torch.testing.assert_close(out, alone(clean, torch.tensor([8, 4])))
    alone.eval(), padded.eval()
    torch.testing.assert_close(padded(dirty, torch.tensor([8, 4]))[1, :2], alone(x[1:, :4], torch.tensor([4]))[0])
    assert (out[1, 2:] == 0).all()


def test_number_of_parameters():
    with torch.device("meta"):
        assert sum(p.numel() for p in ResConv(1536, 1536, 1).parameters()) == 2_371_584
        assert sum(p.numel() for p in ResConv(1536, 1536, 2).parameters()) == 2_371_584
        assert sum(p.numel() for p in ResUp(1536).parameters()) == 11_801_088


def test_up_is_relu_of_norm_of_transposed_convolution_plus_nearest_neighbour():
    torch.manual_seed(3)
    block = ResUp(6).double().eval()
    block.norm.running_mean.normal_()
    block.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(1, 5, 6, dtype=torch.float64)
    y = torch.zeros(6, 10, dtype=torch.float64) + block.conv.bias.detach()[:, None]
    for t in range(5):  # every input frame adds its kernel to five output frames around its own two
        for k in range(5):
            if 0 <= 2 * t + k - 2 < 10:
                y[:, 2 * t + k - 2] += block.conv.weight.detach()[:, :, k].T @ x[0, t]
    mean, deviation = block.norm.running_mean, (block.norm.running_var + 1e-5).sqrt()
    y = torch.relu((y - mean[:, None]) / deviation[:, None])
    expected = y.T + torch.stack([x[0, t // 2] for t in range(10)])
    torch.testing.assert_close(block(x, torch.tensor([5]))[0], expected)


@pytest.mark.parametrize("frames", [1, 4, 29, 75])
def test_an_up_doubles_exactly(frames):
    assert ResUp(6).eval()(torch.randn(1, frames, 6), torch.tensor([frames])).shape == (1, 2 * frames, 6)


def test_padding_changes_no_frame_of_an_up():
    torch.manual_seed(4)
    x = torch.randn(2, 4, 6)
    x[1, 2:] = 100.0
    block = ResUp(6).eval()
    out = block(x, torch.tensor([4, 2]))
    assert out.shape == (2, 8, 6)
    torch.testing.assert_close(out[1, :4], block(x[1:, :2], torch.tensor([2]))[0])
    assert (out[1, 4:] == 0).all()
