"""Deep-learning AV-SE: counts, shapes, the mask by hand, losses, slices, padding, training."""

import numpy as np
import pytest
import torch

from avsr.errors import UsageError
from avsr.layers.same_conv import SameConv2d, SameConvTranspose2d
from avsr.models.enhancement.dl_avse import DLAVSE, DLAVSEConf, ideal_amplitude_mask
from avsr.models.registry import build_model
from avsr.models.systems import load_system
from tests.models import enhancers
from tests.models.enhancers import batch, inputs

TINY = {"channels": (3, 4, 5, 6, 4, 4), "video_channels": (4, 4, 6, 6, 8, 8), "fc": 24, "dropout": 0.0}
FORMS = {"comparable": {}, "published": {"features": "stft", "pictures": "crop128", "loss_domain": "mask"}}


def make(form="comparable", **options):
    torch.manual_seed(0)
    return DLAVSE(DLAVSEConf(**(TINY | FORMS[form] | options)))


def conv(c_in, c_out, kernel):
    """Weights, bias, batch norm."""
    return c_in * c_out * kernel**2 + c_out + 2 * c_out


@pytest.mark.parametrize(("name", "rows", "millions"), [("dl_avse", 5, 18.86), ("dl_avse_faithful", 11, 28.94)])
def test_parameters_of_the_paper_size(name, rows, millions):
    audio = conv(1, 64, 5) + conv(64, 64, 4) + conv(64, 128, 4) + 3 * conv(128, 128, 2)
    video = conv(5, 128, 5) + conv(128, 128, 5) + conv(128, 256, 3) + conv(256, 256, 3) + conv(256, 512, 3)
    video += conv(512, 512, 3)
    sound = 128 * rows * 5
    middle = (sound + 2048 + 3) * 1312 + (1312 + 3) * 1312 + (1312 + 1) * sound + 2 * 128
    decoder = conv(128, 128, 2) + conv(256, 128, 2) + conv(128, 128, 2) + conv(256, 64, 4) + conv(64, 64, 4)
    decoder += conv(128, 64, 5) + 64 + 1
    with torch.device("meta"):
        model = build_model(load_system(name).model)
    found = sum(p.numel() for p in model.parameters())
    assert found == audio + video + middle + decoder
    assert round(found / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("form", "chain"),
    [
        ("comparable", [(40, 10), (40, 10), (20, 5), (10, 5), (5, 5), (5, 5)]),
        ("published", [(161, 10), (161, 10), (81, 5), (41, 5), (21, 5), (11, 5)]),
    ],
)
def test_shapes_of_the_levels(form, chain):
    model, seen = make(form).eval(), []
    for layer in (*model.audio.norms, *model.decoder.norms):
        layer.register_forward_hook(lambda m, x, y: seen.append(tuple(y.shape[2:])))
    b = batch(model)
    assert model.estimate(*inputs(model, b)).shape == b["noisy_mel"].shape
    size = (model.bands, 20)
    assert seen == [*chain, *reversed([size, *chain[:-1]])]


def test_skips_come_from_layers_1_3_and_5():
    model, inputs_of = make().eval(), {}
    for i, layer in enumerate(model.decoder.convs):  # what a hook returns that is not None would replace the output
        layer.register_forward_hook(lambda m, x, y, i=i: inputs_of.update({i: x[0]}))
    encoded = []
    model.audio.register_forward_hook(lambda m, x, y: encoded.extend(y))
    model.estimate(*inputs(model, batch(model)))
    for i, channels in enumerate(TINY["channels"]):
        if i in (0, 2, 4):
            torch.testing.assert_close(inputs_of[i][:, channels:], encoded[i], atol=0, rtol=0)
        else:
            assert inputs_of[i].shape[1] == channels


def test_the_transposed_convolution_leads_back_to_odd_sizes():
    """<conv(x), y> = <x, deconv(y)> for 321 bins, of which 161 are left."""
    torch.manual_seed(0)
    forward, back = (kind(1, 1, 5, (2, 2)).double() for kind in (SameConv2d, SameConvTranspose2d))
    back.weight.data.copy_(forward.weight)
    torch.nn.init.zeros_(forward.bias), torch.nn.init.zeros_(back.bias)
    x, y = torch.randn(1, 1, 321, 20, dtype=torch.double), torch.randn(1, 1, 161, 10, dtype=torch.double)
    assert back(y, (321, 20)).shape == x.shape
    torch.testing.assert_close((forward(x) * y).sum(), (x * back(y, (321, 20))).sum())


def test_ideal_amplitude_mask():
    noisy, clean = torch.tensor([2.0, 1.0, 0.01, 0.0, 0.0]), torch.tensor([1.0, 3.0, 1.0, 1.0, 0.0])
    torch.testing.assert_close(ideal_amplitude_mask(noisy, clean), torch.tensor([0.5, 3.0, 10.0, 10.0, 0.0]))


@pytest.mark.parametrize("form", FORMS)
def test_mask_and_losses_by_hand(form):
    model, out = make(form).eval(), []
    b = batch(model, (10, 5))
    b["clean_mel"][0, :2] = 1000.0  # beyond what the mask can reach
    model.fit_statistics([b])
    model.decoder.last.register_forward_hook(lambda m, x, y: out.append(y.detach()))
    with torch.no_grad():
        total, count = model.loss(b["noisy_mel"], b["clean_mel"], b[model.video_input], b["frames"])
        estimate = model.estimate(*inputs(model, b)).double().numpy()
    mask = np.minimum(np.log1p(np.exp(out[0].double().numpy())), 10)[:, 0].transpose(0, 2, 1)  # slices, frames, bands
    noisy, clean = (
        np.concatenate([b[name][0, :20], b[name][0, 20:40], b[name][1, :20]]).reshape(3, 20, -1).astype(np.float64)
        for name in ("noisy_mel", "clean_mel")
    )
    found = np.concatenate([estimate[0, :20], estimate[0, 20:40], estimate[1, :20]]).reshape(3, 20, -1)
    np.testing.assert_allclose(found, mask * noisy, rtol=1e-4)
    if form == "published":
        errors = mask - np.minimum(clean / noisy, 10)
    else:
        dbs = [20 * np.log10(np.maximum(x, 1e-5)) for x in (mask * noisy, clean)]
        errors = (dbs[0] - dbs[1]) / model.mel_std.double().numpy()
    assert float(total) == pytest.approx((errors**2).sum(), rel=1e-4)
    assert int(count) == errors.size


def test_the_mask_may_amplify_up_to_ten_times():
    model = make().eval()
    b = batch(model, (5,))
    for bias, gain in ((5.0, 5.0067), (100.0, 10.0), (-100.0, 0.0)):
        with torch.no_grad():
            model.decoder.last.weight.zero_()
            model.decoder.last.bias.fill_(bias)
        torch.testing.assert_close(model.estimate(*inputs(model, b)), gain * b["noisy_mel"], atol=1e-6, rtol=1e-3)
        assert torch.isfinite(enhancers.loss(model, b))


@pytest.mark.parametrize("form", FORMS)
def test_slices_and_padding(form):
    enhancers.check_slices_are_apart(enhancers.shake(make(form)))
    enhancers.check_padding(make(form))
    enhancers.check_padding_in_training(lambda: make(form))


@pytest.mark.parametrize("form", FORMS)
def test_every_weight_learns(form):
    enhancers.check_every_weight_learns(make(form))


@pytest.mark.parametrize("form", FORMS)
def test_overfits_one_batch_and_uses_the_video(form):
    enhancers.check_overfits_and_sees(make(form))


def test_wrong_options():
    with pytest.raises(UsageError, match="model.head must be mask, not direct"):
        make("published", head="direct")
    with pytest.raises(UsageError, match="positive"):
        make(fc=0)
