"""Audio-only CRN: published counts, causality, padding, training, the published form."""

import numpy as np
import pytest
import torch

from avsr.errors import UsageError
from avsr.features.mel import mel
from avsr.models.enhancement.audio_only_crn import CRN, AudioOnlyCRN, AudioOnlyCRNConf
from avsr.models.gmac import multiply_adds
from tests.models import enhancers
from tests.models.enhancers import batch, inputs, shake

TINY = AudioOnlyCRNConf(channels=(4, 4, 8, 8, 8))
PUBLISHED = AudioOnlyCRNConf("direct", TINY.channels, "magnitude")


def make(conf):
    torch.manual_seed(0)
    return AudioOnlyCRN(conf)


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("bins", "domain", "millions"), [(161, "linear", 17.58), (80, "mel", 10.24)])
def test_parameters(bins, domain, millions):
    with torch.device("meta"):
        net = CRN(bins, (16, 32, 64, 128, 256), domain)
    assert round(count(net) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("bins", "domain", "chain"), [(161, "linear", (80, 39, 19, 9, 4)), (80, "mel", (40, 20, 10, 5, 3))]
)
def test_shapes_of_the_levels(bins, domain, chain):
    net, seen = CRN(bins, (4, 4, 8, 8, 8), domain).eval(), []
    for conv in (*net.encoder, *net.decoder):
        conv.register_forward_hook(lambda m, x, y: seen.append(y.shape[3]))  # append gives None: output kept
    assert net(torch.rand(2, 7, bins)).shape == (2, 7, bins)
    assert tuple(seen) == (*chain, *reversed((bins, *chain[:-1])))


@pytest.mark.parametrize(("bins", "domain"), [(161, "linear"), (80, "mel")])
def test_causal(bins, domain):
    net = CRN(bins, (4, 4, 8, 8, 8), domain).eval()
    x = torch.rand(1, 30, bins)
    changed = x.clone()
    changed[:, 17:] += 1
    before, after = net(x), net(changed)
    torch.testing.assert_close(before[:, :17], after[:, :17], atol=0, rtol=0)
    assert (before[:, 17:] - after[:, 17:]).abs().min(-1).values.max() > 0


def test_linear_domain_gives_magnitudes():
    assert (CRN(161, (4, 4, 8, 8, 8), "linear")(torch.randn(2, 9, 161)) > 0).all()


def test_cost_of_the_paper_size():
    model = AudioOnlyCRN(AudioOnlyCRNConf())
    lstm = multiply_adds(model.net.lstm, lambda: model.net.lstm(torch.zeros(1, 300, 768)))
    whole = multiply_adds(model, lambda: model.estimate(torch.ones(1, 300, 80), None, torch.tensor([75])))
    assert round(lstm / 1e9, 1) == 2.8 and round((whole - lstm) / 1e9, 1) == 0.9


def test_cost_of_the_published_form():
    model = AudioOnlyCRN(AudioOnlyCRNConf("direct", domain="magnitude"))
    lstm = multiply_adds(model.net.lstm, lambda: model.net.lstm(torch.zeros(1, 300, 1024)))
    whole = multiply_adds(model, lambda: model.estimate(torch.ones(1, 300, 161), None, torch.tensor([75])))
    assert round(lstm / 1e9, 1) == 5.0 and round((whole - lstm) / 1e9, 1) == 1.4


def test_padding_changes_nothing():
    """Alone or beside a longer one: the same estimate in evaluation, the same batch statistics in training."""
    torch.manual_seed(0)
    model = AudioOnlyCRN(TINY)
    mel = torch.rand(2, 80, 80)
    frames = torch.tensor([10, 20])
    model.eval()
    both = model.estimate(mel, None, frames)
    torch.testing.assert_close(both[:1, :40], model.estimate(mel[:1, :40], None, frames[:1]), atol=1e-5, rtol=1e-5)
    other = mel.clone()
    other[0, 40:] = 7.0
    torch.testing.assert_close(both[:, :40], model.estimate(other, None, frames)[:, :40], atol=1e-5, rtol=1e-5)

    model.train()
    model.loss(mel, mel, None, frames)
    audio = 20 * mel.clamp(min=1e-5).log10()  # mean 0 and deviation 1 were never fitted
    first = model.net.encoder[0](audio.unsqueeze(1))[:, :, :-1]
    valid = torch.cat([first[0, :, :40], first[1]], 1)  # channels, valid frames, bins
    expected = 0.1 * valid.mean((1, 2))  # momentum 0.1 from zero
    torch.testing.assert_close(model.net.encoder_norm[0].running_mean, expected, atol=1e-4, rtol=1e-4)


def test_overfits_one_batch():
    torch.manual_seed(0)
    model = AudioOnlyCRN(TINY)
    clean = torch.rand(2, 40, 80)
    noisy, frames = clean + torch.rand(2, 40, 80), torch.tensor([10, 10])
    model.fit_statistics([{"noisy_mel": noisy, "frames": frames}])
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(150):
        total, number = model.loss(noisy, clean, None, frames)
        optimiser.zero_grad()
        (total / number).backward()
        optimiser.step()
        losses.append(float(total.detach() / number))
    assert losses[-1] < 0.35 * losses[0]


def test_the_published_form_hears_the_magnitudes_of_a_mixture_of_rms_1():
    """Of 320 Hann-weighted samples every 160, as they are: no logarithm, no statistics."""
    model, heard = make(PUBLISHED).eval(), []
    model.net.register_forward_hook(lambda m, x, y: heard.append(x[0]))
    draw = np.random.default_rng(1)
    wave = draw.standard_normal(3200)
    wave *= 0.05 / np.sqrt(np.mean(wave**2))  # the level of all mixtures
    sound = torch.from_numpy(mel(wave.astype(np.float32), model.mel_set))[None]
    model.fit_statistics([{"noisy_mel": sound, "frames": torch.tensor([5])}])
    model.estimate(sound, None, torch.tensor([5]))
    loud = wave / np.sqrt(np.mean(wave**2))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(320) / 320)
    for t in (1, 7, 19):
        expected = np.abs(np.fft.rfft(loud[160 * t - 160 : 160 * t + 160] * hann))
        np.testing.assert_allclose(heard[0][0, t], expected, rtol=1e-3, atol=1e-3)


def test_the_published_form_regresses_magnitudes():
    """Its output is the estimate; the error is that of magnitudes at an RMS of 1, over the valid frames and bins."""
    model, given = shake(make(PUBLISHED)).eval(), []
    b = batch(model, (12, 5))
    model.net.register_forward_hook(lambda m, x, y: given.append(y.detach().double().numpy()))
    total, number = model.loss(b["noisy_mel"], b["clean_mel"], None, b["frames"])
    out, clean = given[0], b["clean_mel"].double().numpy()
    valid = [(0, slice(0, 40)), (1, slice(0, 20))]  # whole slices
    assert int(number) == (40 + 20) * 161
    assert float(total.detach()) == pytest.approx(sum(((out[v] - clean[v] / 0.05) ** 2).sum() for v in valid), rel=1e-4)
    estimate = model.estimate(*inputs(model, b)).double().numpy()
    for v in valid:
        np.testing.assert_allclose(estimate[v], 0.05 * out[v], rtol=1e-4)
    np.testing.assert_allclose(estimate[0, 40:], b["noisy_mel"][0, 40:], rtol=1e-6)


def test_padding_changes_nothing_in_the_published_form():
    enhancers.check_padding(make(PUBLISHED))
    enhancers.check_padding_in_training(lambda: make(PUBLISHED))


def test_every_weight_learns_in_the_published_form():
    enhancers.check_every_weight_learns(make(PUBLISHED))


def test_the_published_form_overfits_one_batch():
    model = make(PUBLISHED)
    b = batch(model, (10, 10))
    b["noisy_mel"] *= 0.05  # the output's batch norm starts at a deviation of 1 and is slow to leave it
    b["clean_mel"] = b["noisy_mel"] * torch.cat([torch.full((80,), 0.1), torch.ones(81)])  # noise in the low bins
    losses = enhancers.train(model, b, 150, 2e-2)
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("head", ["mask", "residual"])
def test_the_published_form_has_one_head(head):
    with pytest.raises(UsageError, match=f"domain magnitude needs model.head direct, not {head}"):
        AudioOnlyCRN(AudioOnlyCRNConf(head, domain="magnitude"))
