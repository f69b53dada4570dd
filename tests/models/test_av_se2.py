"""AV(SE)²: counts, shapes, fusion levels, slices, padding, the published form, training."""

import io

import numpy as np
import pytest
import torch
from torch import nn

from avsr.errors import UsageError
from avsr.models.enhancement.av_se2 import AVSE2, AVSE2Conf, VideoNetwork
from tests.models import enhancers
from tests.models.enhancers import batch, inputs, shake

TINY = {"channels": (4, 4, 8, 8, 8), "video_channels": (4, 4, 8, 8)}
LATE, FAITHFUL = {"fusion_levels": (5,)}, {"domain": "magnitude"}


def make(**options):
    torch.manual_seed(0)
    return AVSE2(AVSE2Conf(**(TINY | options)))


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_parameters_by_hand():
    def conv(c_in, c_out, kernel, bias=True, norm=True):
        return c_in * c_out * kernel**2 + bias * c_out + norm * 2 * c_out

    def residual(c_in, c_out):  # two blocks of two convolutions without bias, a 1x1 shortcut where the width changes
        first = conv(c_in, c_out, 3, False) + 3 * conv(c_out, c_out, 3, False)
        return first + (conv(c_in, c_out, 1, False) if c_in != c_out else 0)

    def fusion(c):
        both, few = c + 256, (c + 256) // 8
        return (both + 1) * few + (few + 1) * both + conv(both, c, 1)

    video = 32 * 5 * 7 * 7 + 2 * 32 + residual(32, 32) + residual(32, 64) + residual(64, 128) + residual(128, 256)
    encoder = conv(1, 64, 5) + conv(64, 64, 3) + conv(64, 128, 3) + conv(128, 128, 3) + conv(128, 256, 3)
    decoder = conv(256, 256, 3) + conv(512, 128, 3) + conv(256, 128, 3) + conv(256, 64, 3) + conv(128, 64, 3)
    decoder += conv(128, 1, 3, norm=False)
    for levels, fused in (((3, 4, 5), (128, 128, 256)), ((5,), (256,))):
        with torch.device("meta"):
            model = AVSE2(AVSE2Conf(fusion_levels=levels))
        assert count(model) == video + encoder + decoder + sum(fusion(c) for c in fused)
    assert round((video + encoder + decoder + 2 * fusion(128) + fusion(256)) / 1e6, 2) == 5.43


def test_the_published_form_has_the_same_weights():
    assert {n: p.shape for n, p in make().named_parameters()} == {
        n: p.shape for n, p in make(**FAITHFUL).named_parameters()
    }


@pytest.mark.parametrize(
    ("options", "rows"),
    [({}, (80, 40, 20, 10, 5, 5)), (LATE, (80, 40, 20, 10, 5, 5)), (FAITHFUL, (161, 81, 41, 21, 11, 11))],
    ids=str,
)
def test_shapes_of_the_levels(options, rows):
    """Levels and decoder mirror each other, and each bin of an odd number comes back."""
    model, encoded, decoded, fused = make(**options).eval(), [], [], []
    net = model.net
    for blocks, seen in ((net.audio, encoded), (net.decoder, decoded), (net.fusion.values(), fused)):
        for block in blocks:
            block.register_forward_hook(lambda m, x, y, seen=seen: seen.append(tuple(y.shape)))
    b = batch(model)
    assert model.estimate(*inputs(model, b)).shape == b["noisy_mel"].shape
    columns = (20, 10, 5, 5, 5, 5)
    maps = [(5, c, rows[i], columns[i]) for i, c in enumerate((1, *TINY["channels"]))]
    assert encoded == maps[1:] and decoded == maps[-2::-1]
    assert fused == [maps[level] for level in model.conf.fusion_levels]


@pytest.mark.parametrize("levels", [(3, 4, 5), (5,), (1, 2)])
def test_lips_come_in_at_the_fusion_levels_alone(levels):
    model = shake(make(fusion_levels=levels)).eval()
    hooks = {}
    for number, block in enumerate(model.net.decoder, 1):
        block.register_forward_hook(lambda m, x, y, number=number: hooks.setdefault(number, []).append(x[0]))
    b = batch(model, (5,))
    for crops in (b["crop80"], 255 - b["crop80"]):
        model.estimate(b["noisy_mel"], crops, b["frames"])
    for level, (one, other) in hooks.items():
        skip = (one != other)[:, one.shape[1] // 2 :]
        assert skip.any() == (level in levels), level


def test_pictures_pass_a_3d_convolution():
    """The stem, which is computed in two dimensions, against torch's own in three."""
    torch.manual_seed(0)
    video = VideoNetwork((3, 4, 4, 4)).eval()
    conv = nn.Conv3d(1, 3, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False)
    conv.weight.data.copy_(video.stem.conv.weight.unsqueeze(1))
    pictures = torch.randn(2, 5, 80, 80)
    x = (conv(pictures.unsqueeze(1)) / np.sqrt(1 + 1e-5)).relu()
    x = nn.functional.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    found = video(pictures)
    assert found.shape == (2, 4, 5)
    for k in range(5):
        torch.testing.assert_close(found[:, :, k], video.blocks(x[:, :, k]).mean((2, 3)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, LATE, FAITHFUL], ids=str)
def test_every_slice_stands_for_itself(options):
    enhancers.check_slices_are_apart(shake(make(**options)))


@pytest.mark.parametrize("options", [{}, LATE, FAITHFUL], ids=str)
def test_padding_changes_nothing(options):
    enhancers.check_padding(shake(make(**options)))


@pytest.mark.parametrize("options", [{}, FAITHFUL], ids=str)
def test_padding_stays_out_of_training(options):
    enhancers.check_padding_in_training(lambda: shake(make(**options)))


@pytest.mark.parametrize("options", [{}, LATE, FAITHFUL], ids=str)
def test_every_weight_learns(options):
    enhancers.check_every_weight_learns(make(video_channels=(4, 4, 8, 40), **options))  # two squeezed units may be dead


def test_published_form_works_on_magnitudes():
    """Heard as they are, masked, and the masked ones compared with the clean ones."""
    model = shake(make(**FAITHFUL)).eval()
    b = batch(model, (10, 5))
    model.fit_statistics([b])
    assert not model.mel_mean.any() and (model.mel_std == 1).all() and model.mel_mean.shape == (161,)
    heard, given = [], []
    model.net.register_forward_hook(lambda m, x, y: (heard.append(x[0]), given.append(y.detach())) and None)
    total, number = model.loss(b["noisy_mel"], b["clean_mel"], b["crop80"], b["frames"])
    estimate = model.estimate(*inputs(model, b)).double().numpy()
    noisy, clean = (b[name].double().numpy() for name in ("noisy_mel", "clean_mel"))
    torch.testing.assert_close(heard[0][2, 0].T, b["noisy_mel"][1, :20])
    mask = 1 / (1 + np.exp(-given[0][:, 0].mT.double().numpy()))
    expected = np.concatenate([mask[0], mask[1]]) * noisy[0], mask[2] * noisy[1, :20]
    np.testing.assert_allclose(estimate[0], expected[0], rtol=1e-4)
    np.testing.assert_allclose(estimate[1, :20], expected[1], rtol=1e-4)
    squares = np.sum((expected[0] - clean[0]) ** 2) + np.sum((expected[1] - clean[1, :20]) ** 2)
    assert int(number) == 3 * 20 * 161 and float(total.detach()) == pytest.approx(squares, rel=1e-4)


@pytest.mark.parametrize("options", [{}, LATE, FAITHFUL], ids=str)
def test_overfits_one_batch_and_uses_the_video(options):
    enhancers.check_overfits_and_sees(make(**options))


def test_checkpoint_round_trip_with_statistics():
    model = shake(make())
    b = batch(model)
    model.fit_statistics([b])
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = make()
    other.load_state_dict(torch.load(file, weights_only=True))
    outs = [m.eval().estimate(*inputs(m, b)) for m in (model, other)]
    torch.testing.assert_close(*outs, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion_levels": ()}, "fusion_levels must name"),
        ({"fusion_levels": (0, 5)}, "fusion_levels must name"),
        ({"fusion_levels": (5, 5)}, "fusion_levels must name"),
        ({"channels": (0, 4, 4, 4, 4)}, "must be positive"),
        ({"domain": "magnitude", "head": "direct"}, "needs model.head mask"),
    ],
    ids=str,
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        make(**options)
