"""P3D blocks against 3-D convolutions of one clip, with the same weights."""

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from avsr.layers.masking import Packing
from avsr.layers.p3d import P3dBlock, PointConv, Stem, conv_norm, crops_to_input, kinds, temporal_pool


def norm(x, module):
    """Batch norm in evaluation mode of (1, c, t, h, w)."""
    return functional.batch_norm(x, module.running_mean, module.running_var, module.weight, module.bias)


def conv3(x, conv, temporal=False):
    """The 3-D convolution that a 2-D one stands for."""
    weight = conv.weight.unsqueeze(-1) if temporal else conv.weight.unsqueeze(2)
    pad = (conv.padding[0], 0, 0) if temporal else (0, *conv.padding)
    stride = (1, 1, 1) if temporal else (1, *conv.stride)
    return functional.conv3d(x, weight, stride=stride, padding=pad)


def randomise(module):
    """Batch norms as after some training."""
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(std=0.3)
            part.running_var.uniform_(0.5, 2)
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.normal_(std=0.3)
    return module.double().eval()


def to_clip(x_nchw):
    return x_nchw.permute(1, 0, 2, 3).unsqueeze(0)


@pytest.mark.parametrize("stride, c_in", [(1, 16), (2, 8)])
@pytest.mark.parametrize("kind", ["A", "B", "C", "2D"])
def test_block(kind, stride, c_in):
    torch.manual_seed(1)
    block = randomise(P3dBlock(c_in, 4, kind, stride))
    x = torch.randn(5, c_in, 6, 6, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    out = block(x, Packing(torch.tensor([5]), 5))

    def spatial(y):
        return norm(conv3(y, block.spatial[0]), block.spatial[1]).relu()

    def temporal(y):
        return norm(conv3(y, block.temporal.conv, True), block.temporal.norm).relu()

    clip = to_clip(x)
    y = norm(conv3(clip, block.reduce[0]), block.reduce[1]).relu()
    if kind == "A":
        y = temporal(spatial(y))
    elif kind == "B":
        y = spatial(y) + temporal(y)
    elif kind == "C":
        y = spatial(y) + temporal(spatial(y))
    else:
        y = spatial(y)
    y = norm(conv3(y, block.expand[0]), block.expand[1])
    skip = clip if stride == 1 else norm(conv3(clip, block.shortcut[0]), block.shortcut[1])
    torch.testing.assert_close(to_clip(out), (y + skip).relu())


def test_stem_is_a_5x7x7_convolution_and_a_1x3x3_pool():
    torch.manual_seed(2)
    stem = randomise(Stem(6))
    x = torch.randn(1, 4, 16, 16, dtype=torch.float64)
    out = stem(x, Packing(torch.tensor([4]), 4))
    y = functional.conv3d(x.unsqueeze(1), stem.conv.weight.unsqueeze(1), stride=(1, 2, 2), padding=(2, 3, 3))
    y = functional.max_pool3d(norm(y, stem.norm).relu(), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    assert out.shape == (4, 6, 4, 4)
    torch.testing.assert_close(to_clip(out), y)


def test_temporal_pool_looks_one_frame_ahead_within_the_clip():
    x = torch.tensor([1.0, 5.0, 2.0, 3.0, 9.0]).view(5, 1, 1, 1)  # two clips: 3 and 2 frames
    out = temporal_pool(x, Packing(torch.tensor([3, 2]), 3))
    assert out.flatten().tolist() == [5, 5, 2, 9, 9]


def test_kinds_cycle_through_the_network():
    assert ["".join(stage) for stage in kinds((3, 4, 6, 3), last_is_temporal=True)] == ["ABC", "ABCA", "BCABCA", "BCA"]
    assert kinds((3, 4, 6, 3), last_is_temporal=False)[-1] == ["2D"] * 3


def test_pixels():
    crops = torch.tensor([0, 255], dtype=torch.uint8)
    torch.testing.assert_close(crops_to_input(crops, 0.5, 0.5), torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(crops_to_input(crops, 0.4161, 0.1688), torch.tensor([-0.4161, 0.5839]) / 0.1688)


@pytest.mark.parametrize("size", [6, 5])
def test_a_strided_point_convolution_is_a_product_at_every_second_element(size):
    torch.manual_seed(3)
    conv, _ = conv_norm(3, 4, (1, 1), stride=2)
    assert isinstance(conv, PointConv) and not isinstance(conv_norm(16, 4, (1, 1), stride=2)[0], PointConv)
    x = torch.randn(2, 3, size, size, requires_grad=True)
    y = conv(x)
    rows = range(0, size, 2)
    expected = torch.zeros(2, 4, len(rows), len(rows))
    for i, j in ((i, j) for i in rows for j in rows):
        expected[:, :, i // 2, j // 2] = x[:, :, i, j] @ conv.weight[:, :, 0, 0].T
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    assert x.grad[:, :, ::2, ::2].all() and not x.grad[:, :, 1::2].any() and not x.grad[:, :, :, 1::2].any()


DIES = """
import torch
from avsr.layers.p3d import conv_norm
from avsr.layers.resnet import BasicBlock

torch.set_num_threads(2)
for channels in (14, 12, 4):
    x = torch.randn(15, channels, 20, 20).contiguous(memory_format=torch.channels_last)
    point, block = conv_norm(channels, 2 * channels, (1, 1), 2)[0], BasicBlock(channels, 2 * channels, 2)
    for _ in range(20):
        point(x).sum().backward()
        block(x).sum().backward()
"""


def test_narrow_strided_blocks_learn_on_two_threads():
    """In a process of its own: what this guards against ends it. An odd number of pictures, channels last."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", DIES], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
