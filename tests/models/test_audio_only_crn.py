"""Audio-only CRN: published counts, causality, padding, training."""

import pytest
import torch

from avsr.models.enhancement.audio_only_crn import CRN, AudioOnlyCRN, AudioOnlyCRNConf
from avsr.models.gmac import multiply_adds

TINY = AudioOnlyCRNConf(channels=(4, 4, 8, 8, 8))


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
