"""VSE: counts, shapes, a reference in float64, slices, padding, the published form, training."""

import io

import numpy as np
import pytest
import torch

from avsr.errors import UsageError
from avsr.models.enhancement.vse import VSE, VSEConf
from avsr.models.gmac import multiply_adds
from tests.models import enhancers
from tests.models.enhancers import batch, inputs, loss, shake, train

TINY = {"channels": (3, 4, 5, 6, 4), "video_channels": (4, 4, 6, 6, 8, 8), "dropout": 0.0}
FAITHFUL = {"head": "direct", "normalised": False, "pictures": "crop128"}


def make(**options):
    torch.manual_seed(0)
    return VSE(VSEConf(**(TINY | options)))


def test_parameters_by_hand():
    def conv(c_in, c_out, kernel):
        return c_in * c_out * kernel**2 + c_out + 2 * c_out  # weights, bias, batch norm

    audio = conv(1, 64, 5) + conv(64, 64, 4) + conv(64, 128, 4) + 2 * conv(128, 128, 2)
    video = conv(5, 128, 5) + conv(128, 128, 5) + conv(128, 256, 3) + conv(256, 256, 3) + conv(256, 512, 3)
    video += conv(512, 512, 3)
    middle = (5248 + 1 + 2) * 1312 + (1312 + 1 + 2) * 1312 + (1312 + 1) * 3200 + 2 * 128
    decoder = 2 * conv(128, 128, 2) + conv(128, 128, 4) + conv(128, 64, 4) + conv(64, 64, 5) + 64 + 1
    assert round((audio + video + middle + decoder) / 1e6, 2) == 18.63
    for pictures in ("crop80", "crop128"):
        with torch.device("meta"):
            model = VSE(VSEConf(pictures=pictures))
        assert sum(p.numel() for p in model.parameters()) == audio + video + middle + decoder


@pytest.mark.parametrize(("pictures", "gmac"), [("crop80", 17.5), ("crop128", 40.3)])
def test_cost_of_the_paper_size(pictures, gmac):
    with torch.device("meta"):
        model = VSE(VSEConf(pictures=pictures))
    size = model.picture_mean.shape[0]
    sound, crops = torch.empty(15, 1, 80, 20, device="meta"), torch.empty(15, 5, size, size, device="meta")
    parts = [(model.audio, sound), (model.video, crops), (model.decoder, torch.empty(15, 128, 5, 5, device="meta"))]
    cost = sum(multiply_adds(part, lambda part=part, x=x: part(x)) for part, x in parts)
    cost += 15 * (5248 * 1312 + 1312 * 1312 + 1312 * 3200)
    assert round(cost / 1e9, 1) == gmac


@pytest.mark.parametrize(("pictures", "chain"), [("crop80", (40, 20, 10, 5, 3, 2)), ("crop128", (64, 32, 16, 8, 4, 2))])
def test_shapes_of_the_levels(pictures, chain):
    model, seen = make(pictures=pictures).eval(), {}
    for part in ("audio", "video", "decoder"):
        layers = [model.video.dropout] if part == "video" else getattr(model, part).norms
        for layer in layers:  # what a hook returns that is not None would replace the output
            layer.register_forward_hook(lambda m, x, y, part=part: seen.setdefault(part, []).append(tuple(y.shape)))
    b = batch(model)
    assert model.estimate(*inputs(model, b)).shape == b["noisy_mel"].shape
    maps = [(40, 10), (40, 10), (20, 5), (10, 5), (5, 5)]
    assert seen["audio"] == [(5, c, *size) for c, size in zip(TINY["channels"], maps, strict=True)]
    assert seen["video"] == [(5, c, n, n) for c, n in zip(TINY["video_channels"], chain, strict=True)]
    maps = [(10, 5), (20, 5), (40, 10), (40, 10), (80, 20)]
    assert seen["decoder"] == [(5, c, *size) for c, size in zip((4, 6, 5, 4, 3), maps, strict=True)]


class Reference:
    """The forward pass of one slice in float64, from the weights and the table of layers alone."""

    def __init__(self, model):
        self.w = {name: value.double().numpy() for name, value in model.state_dict().items()}

    def norm(self, x, name):
        shape = (-1,) + (1,) * (x.ndim - 1)
        mean, var, weight, bias = (
            self.w[f"{name}.{part}"].reshape(shape) for part in ("running_mean", "running_var", "weight", "bias")
        )
        y = (x - mean) / np.sqrt(var + 1e-5) * weight + bias
        return np.where(y > 0, y, 0.3 * y)

    def conv(self, x, name, stride):
        weight, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        (top, rows), (left, columns) = (before(x.shape[i + 1], weight.shape[i + 2], stride[i]) for i in (0, 1))
        padded = np.pad(x, ((0, 0), (top, 8), (left, 8)))
        y = np.zeros((len(weight), rows, columns)) + bias[:, None, None]
        for i, j in np.ndindex(*weight.shape[2:]):
            seen = padded[:, i :: stride[0], j :: stride[1]][:, :rows, :columns]
            y += np.einsum("oc,cft->oft", weight[:, :, i, j], seen)
        return y

    def deconv(self, x, name, stride):
        weight, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        sizes = [n * s for n, s in zip(x.shape[1:], stride, strict=True)]
        front = [before(n, k, s)[0] for n, k, s in zip(sizes, weight.shape[2:], stride, strict=True)]
        y = np.zeros((weight.shape[1], sizes[0] + 8, sizes[1] + 8))
        for i, j in np.ndindex(*weight.shape[2:]):
            for f, t in np.ndindex(*x.shape[1:]):
                y[:, f * stride[0] + i, t * stride[1] + j] += x[:, f, t] @ weight[:, :, i, j]
        return y[:, front[0] : front[0] + sizes[0], front[1] : front[1] + sizes[1]] + bias[:, None, None]

    def __call__(self, sound_ft, pictures_thw):
        x = sound_ft[None]
        for i, stride in enumerate([(2, 2), (1, 1), (2, 2), (2, 1), (2, 1)]):
            x = self.norm(self.conv(x, f"audio.convs.{i}", stride), f"audio.norms.{i}")
        v = pictures_thw
        for i in range(6):
            v = self.norm(self.conv(v, f"video.convs.{i}", (1, 1)), f"video.norms.{i}")
            n = -(-v.shape[1] // 2)
            v = np.pad(v, ((0, 0), (0, 2 * n - v.shape[1]), (0, 2 * n - v.shape[2])), constant_values=-np.inf)
            v = v.reshape(len(v), n, 2, n, 2).max((2, 4))
        z = np.concatenate([x.ravel(), v.ravel()])
        for name in ("fusion", "embedding"):
            z = self.norm(self.w[f"{name}.linear.weight"] @ z + self.w[f"{name}.linear.bias"], f"{name}.norm")
        y = (self.w["spread.weight"] @ z + self.w["spread.bias"]).reshape(-1, 5, 5)
        y = self.norm(y, "decoder.first_norm")
        for i, stride in enumerate([(2, 1), (2, 1), (2, 2), (1, 1), (2, 2)]):
            y = self.norm(self.deconv(y, f"decoder.convs.{i}", stride), f"decoder.norms.{i}")
        return np.tensordot(self.w["decoder.last.weight"][0, :, 0, 0], y, 1) + self.w["decoder.last.bias"]


def before(size, kernel, stride):
    """Padding in front and outputs of a "same" convolution."""
    outputs = int(np.ceil(size / stride))
    return max((outputs - 1) * stride + kernel - size, 0) // 2, outputs


def test_the_network_is_the_table_of_layers():
    model = shake(make()).eval()
    audio, pictures = torch.randn(1, 40, 80), torch.randn(1, 10, 80, 80)
    with torch.no_grad():
        found = model.network(audio, pictures, torch.tensor([2])).double().numpy()
    reference = Reference(model)
    for s in range(2):
        sound_ft = audio[0, 20 * s : 20 * (s + 1)].T.double().numpy()
        expected = reference(sound_ft, pictures[0, 5 * s : 5 * (s + 1)].double().numpy())
        np.testing.assert_allclose(found[0, 20 * s : 20 * (s + 1)].T, expected, rtol=1e-3, atol=1e-3 * expected.std())


@pytest.mark.parametrize("options", [{}, FAITHFUL], ids=str)
def test_every_slice_stands_for_itself(options):
    enhancers.check_slices_are_apart(shake(make(**options)))


@pytest.mark.parametrize("options", [{}, FAITHFUL], ids=str)
def test_padding_changes_nothing(options):
    enhancers.check_padding(shake(make(**options)))


def test_padding_stays_out_of_training():
    enhancers.check_padding_in_training(lambda: shake(make()))


def test_one_slice_alone_can_be_learnt_from():
    """It has no statistics of its own in the fully connected layers: those of before are used, and stay."""
    model = make()
    b = batch(model, (5,))
    model.fit_statistics([b])
    assert np.isfinite(train(model, b, 2)).all()
    assert not model.fusion.norm.running_mean.any()


@pytest.mark.parametrize("options", [{}, FAITHFUL], ids=str)
def test_every_weight_learns(options):
    enhancers.check_every_weight_learns(shake(make(**options)))


def test_dropout_is_off_when_it_is_used():
    model = shake(make(dropout=0.5))
    b = batch(model)
    assert loss(model, b) != loss(model, b)
    model.eval()
    assert loss(model, b) == loss(model, b)


def test_published_form_works_on_decibels():
    """Heard as they are, regressed, with their squared error as the loss; the pictures are normalised all the same."""
    model = shake(make(**FAITHFUL))
    b = batch(model, (10, 5))
    model.fit_statistics([b])
    assert not model.mel_mean.any() and (model.mel_std == 1).all() and model.picture_mean.any()
    heard, given = [], []
    model.audio.register_forward_hook(lambda m, x, y: heard.append(x[0]))
    model.decoder.register_forward_hook(lambda m, x, y: given.append(y.detach()))
    total, count = model.eval().loss(b["noisy_mel"], b["clean_mel"], b["crop128"], b["frames"])

    def decibels(name):
        mel = b[name].double().numpy()
        slices = np.concatenate([mel[0].reshape(2, 20, 80), mel[1, :20].reshape(1, 20, 80)])
        return 20 * np.log10(np.maximum(slices, 1e-5))

    np.testing.assert_allclose(heard[0][:, 0].mT.numpy(), decibels("noisy_mel"), rtol=1e-5, atol=1e-4)
    out = given[0][:, 0].mT.double().numpy()
    assert int(count) == 3 * 20 * 80
    assert float(total.detach()) == pytest.approx(np.sum((out - decibels("clean_mel")) ** 2), rel=1e-4)
    estimate = model.estimate(*inputs(model, b))
    np.testing.assert_allclose(estimate[1, :20].numpy(), 10 ** (out[2] / 20), rtol=1e-3)


def test_overfits_one_batch_and_uses_the_video():
    enhancers.check_overfits_and_sees(make(channels=(8, 8, 8, 8, 8)))


def test_published_form_learns():
    model = make(**FAITHFUL)
    losses = train(model, enhancers.contrast(model), 100, 1e-2)
    assert losses[-1] < 0.5 * losses[0]


def test_checkpoint_round_trip_with_statistics():
    model = shake(make(**FAITHFUL))
    b = batch(model)
    model.fit_statistics([b])
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = make(**FAITHFUL)
    other.load_state_dict(torch.load(file, weights_only=True))
    outs = [m.eval().estimate(*inputs(m, b)) for m in (model, other)]
    torch.testing.assert_close(*outs, atol=0, rtol=0)


@pytest.mark.parametrize("options", [{"channels": (1, 1, 0, 1, 1)}, {"dropout": 1.0}], ids=str)
def test_sizes_that_cannot_be(options):
    with pytest.raises(UsageError, match="must be positive"):
        make(**options)
