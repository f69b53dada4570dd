"""L2L, on log-mel and on complex spectra: counts, layers, alignment, losses by hand, padding, training."""

import numpy as np
import pytest
import torch

from avsr.errors import UsageError
from avsr.models.enhancement.l2l import L2L, L2LConf
from avsr.models.enhancement.l2l_complex import L2LComplex, L2LComplexConf
from avsr.models.enhancement.l2l_network import AudioStream, L2LNetworkConf, VisualStream
from avsr.models.registry import build_model
from avsr.models.systems import load_system, training_conf
from tests.models import enhancers
from tests.models.enhancers import batch, inputs, loss, train

TINY = {"width": 4, "filters": 2, "visual": 6, "channels": (4, 6), "lstm": 8, "fc": 12}
KINDS = ("mel", "complex")


def make(kind, **options):
    torch.manual_seed(0)
    if kind == "mel":
        return L2L(L2LConf(**(TINY | options)))
    return L2LComplex(L2LComplexConf(**(TINY | {"embedding": 10} | options)))


def fitted(kind, frames=(10, 15), **options):
    """A model and the batch that its statistics are of."""
    model = make(kind, **options)
    b = batch(model, frames)
    if kind == "complex":  # samples
        b["noisy_mel"], b["clean_mel"] = 0.1 * (b["noisy_mel"] - 1), 0.1 * (b["clean_mel"] - 0.5)
    model.fit_statistics([b])
    return model, b


def count(module):
    return sum(p.numel() for p in module.parameters())


def conv(c_in, c_out, kernel):
    """Weights, bias, batch norm."""
    return c_in * c_out * kernel + c_out + 2 * c_out


def network_count(channels, bins, embedding, outputs):
    """The published layers, all but what turns pictures into embeddings."""
    audio = conv(channels, 96, 7) + conv(96, 96, 7) + 12 * conv(96, 96, 25) + conv(96, 8, 1)
    visual = conv(embedding, 256, 7) + 5 * conv(256, 256, 5)
    lstm = 2 * (4 * 400 * (8 * bins + 256 + 400) + 8 * 400)
    return audio + visual + lstm + 801 * 600 + 2 * 601 * 600 + 601 * outputs


@pytest.mark.parametrize(
    ("name", "shape", "millions", "with_pictures"),
    [("l2l", (1, 80, 256, 80), 10.7, True), ("l2l_faithful", (2, 257, 1024, 514), 16.5, False)],
)
def test_parameters_of_the_paper_size(name, shape, millions, with_pictures):
    with torch.device("meta"):
        model = build_model(load_system(name).model)
    pictures = conv(1, 32, 25) + conv(32, 64, 9) + conv(64, 128, 9) + conv(128, 256, 9)
    embed = 0 if name == "l2l" else 257 * 1024
    assert count(model) == network_count(*shape) + pictures + embed
    # One face, as printed: the original's face network is frozen and not counted.
    printed = count(model) if with_pictures else count(model) - pictures - embed
    assert round(printed / 1e6, 1) == millions


def all_through(stream):
    """Positive weights, so that no ReLU shuts."""
    for layer in stream.convs:
        torch.nn.init.constant_(layer.weight, 0.1)
        torch.nn.init.zeros_(layer.bias)


def reaches(stream, x, *rest):
    """For each convolution in the order in which they run: (axis 2, axis 3, ...) offsets from the middle of the input
    that the middle of its output depends on."""
    outputs, found = [], []
    for layer in stream.convs:
        layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    x = x.requires_grad_()
    stream(x, *rest)
    for out in outputs:
        middle = tuple(size // 2 for size in out.shape[2:])
        (grad,) = torch.autograd.grad(out[(0, slice(None), *middle)].sum(), x, retain_graph=True)
        heard = grad.reshape(out.shape[2:])  # of the one channel
        found.append([int(i.max()) - at for i, at in zip(heard.nonzero().T, middle, strict=True)])
    return found


def ends(*steps):
    """How far each of a row of convolutions reaches with all before it."""
    return np.cumsum(steps, axis=0).tolist()


def test_the_audio_stream_reaches_as_far_as_its_dilations_in_their_order():
    """Table 1 of the paper, (frequency, time): 7 bands, 7 frames, 5x5 dilated in time, 5x5 dilated in both, 1x1."""
    stream = AudioStream(1, 2, 2).eval()
    all_through(stream)
    steps = [(3, 0), (0, 3)]
    steps += [(2, 2), (2, 4), (2, 8), (2, 16), (2, 32), (2, 64)]
    steps += [(2, 2), (4, 4), (8, 8), (16, 16), (32, 32), (64, 64), (0, 0)]
    size = 2 * sum(time for _, time in steps) + 11
    assert reaches(stream, torch.rand(1, 1, size, size), None) == ends(*steps)


def test_the_visual_stream_reaches_as_far_as_its_dilations_in_their_order():
    stream = VisualStream(1, 2).eval()
    all_through(stream)
    steps = [(3,), (2,), (4,), (8,), (16,), (32,)]
    assert reaches(stream, torch.rand(1, 201, 1), torch.tensor([201])) == ends(*steps)


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_sees_the_picture_at_its_middle(kind):
    (model, b), seen = fitted(kind, (10,)), []
    model.eval()
    model.net.visual.register_forward_hook(lambda m, x, y: torch.arange(10.0)[None, :, None].expand(y.shape))
    model.net.lstm.register_forward_hook(lambda m, x, y: seen.append(x[0][0, :, -1].tolist()))
    model.estimate(*inputs(model, b))
    if kind == "mel":
        assert seen[0] == [t // 4 for t in range(40)]
    else:  # 25 ms from sample 160 t on; a picture lasts 640 samples
        assert seen[0] == [(160 * t + 200) // 640 for t in range(38)]


def test_loss_of_the_complex_form_by_hand():
    (model, b), out = fitted("complex", (10, 5)), []
    model.net.out.register_forward_hook(lambda m, x, y: out.append(y.detach().double().numpy()))
    with torch.no_grad():
        total, cells = model.eval().loss(b["noisy_mel"], b["clean_mel"], b["crop80"], b["frames"])
    expected, number = 0.0, 0
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    for i, frames in enumerate((38, 18)):
        noisy, clean = (b[f"{name}_mel"][i].flatten().double().numpy() for name in ("noisy", "clean"))
        for t in range(frames):
            y, s = (np.fft.rfft(x[160 * t : 160 * t + 400] * window, 512) for x in (noisy, clean))
            y, s = (x * np.abs(x) ** (0.3 - 1) for x in (y, s))
            mask = 1 / (1 + np.exp(-out[0][i, t]))
            error = (mask[:257] + 1j * mask[257:]) * y - s
            expected += (np.abs(error) ** 2).sum()
            number += 2 * 257
    assert int(cells) == number and float(total) == pytest.approx(expected, rel=1e-4)


def test_a_mask_of_one_gives_the_sound_back():
    model, b = fitted("complex", (12, 5))
    model.eval()
    with torch.no_grad():
        model.net.out.weight.zero_()
        model.net.out.bias[:257], model.net.out.bias[257:] = 50, -50
    found = model.estimate(*inputs(model, b))
    torch.testing.assert_close(found[0].flatten()[60:6000], b["noisy_mel"][0].flatten()[60:6000], atol=1e-4, rtol=1e-3)
    for i, whole in enumerate((40, 20)):  # no whole slice, or padding
        torch.testing.assert_close(found[i, whole:], b["noisy_mel"][i, whole:], atol=0, rtol=0)


def test_the_tanh_mask_can_turn_the_sign():
    model, b = fitted("complex", (5,), mask="tanh")
    model.eval()
    with torch.no_grad():
        model.net.out.weight.zero_()
        model.net.out.bias[:257], model.net.out.bias[257:] = -50, 0
    found = model.estimate(*inputs(model, b))[0].flatten()
    torch.testing.assert_close(found[60:3000], -b["noisy_mel"][0].flatten()[60:3000], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_padding(kind):
    enhancers.check_padding(make(kind))
    enhancers.check_padding_in_training(lambda: make(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns(kind):
    enhancers.check_every_weight_learns(make(kind))


def test_overfits_one_batch_and_uses_the_video():
    enhancers.check_overfits_and_sees(make("mel"))


def test_the_complex_form_overfits_one_batch_and_uses_the_video():
    """Two tones in both, one of which each utterance is to keep; its pictures are dark or light."""
    model, b = fitted("complex", (5, 5), fc=32)
    n = torch.arange(3200) / 16000
    low, high = torch.sin(2 * torch.pi * 500 * n), torch.sin(2 * torch.pi * 3000 * n)
    b["noisy_mel"] = 0.05 * (low + high).view(1, 20, 160).repeat(2, 1, 1)
    b["clean_mel"] = 0.05 * torch.stack([low, high]).view(2, 20, 160)
    b["crop80"] = torch.stack([b["crop80"][0] // 4, 255 - b["crop80"][1] // 4])
    model.fit_statistics([b])
    losses = train(model, b, 100, 5e-3)
    assert losses[-1] < 0.3 * losses[0]
    model.eval()
    with torch.no_grad():
        right, wrong = loss(model, b), loss(model, b | {"crop80": b["crop80"].flip(0)})
    assert wrong > 2 * right


def test_training_as_published():
    conf = training_conf(load_system("l2l_faithful"))
    assert (conf.lr, conf.batch, conf.all_phases()[0].options) == (3e-5, 6, {"seconds": [3, 3]})


def test_wrong_sizes():
    with pytest.raises(UsageError, match="positive"):
        L2LNetworkConf(width=0)
