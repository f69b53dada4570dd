"""1DRN-AE and TCN-AE: sizes, shapes, the mask's promises, padding, and that it learns."""

import pytest
import torch

from avsr.models.enhancement.ae import Ae, AeConf

STREAMS = ["1drn", "tcn"]
TINY = {"hidden": 96, "stream": 64, "units": 128, "fc": 128}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def example(frames: list[int], seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy and clean magnitudes, lip features, frames."""
    torch.manual_seed(seed)
    batch, time = len(frames), max(frames)
    clean = torch.rand(batch, 4 * time, 80) ** 4
    noisy = clean + 0.5 * torch.rand(batch, 4 * time, 80)
    return noisy, clean, torch.randn(batch, time, 512), torch.tensor(frames)


def test_numbers_of_parameters():
    with torch.device("meta"):
        tcn, res = Ae(AeConf()), Ae(AeConf(streams="1drn", hidden=1536))
        assert (count(tcn), count(tcn.audio), count(tcn.video)) == (19_504_512, 5_048_936, 11_770_456)
        assert (count(res), count(res.audio), count(res.video)) == (56_445_632, 12_375_808, 41_384_704)
        assert round(count(Ae(AeConf(bidirectional=False))) / 1e6, 2) == 19.64
        assert round(count(Ae(AeConf(streams="1drn", hidden=1536, bidirectional=False))) / 1e6, 2) == 56.58


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("frames", [1, 4, 29, 75])
def test_four_mel_frames_a_video_frame(frames, streams):
    model = Ae(AeConf(streams=streams, **TINY)).eval()
    noisy, _, video, lengths = example([frames])
    with torch.no_grad():
        assert model.estimate(noisy, video, lengths).shape == (1, 4 * frames, 80)


@pytest.mark.parametrize("streams", STREAMS)
def test_mask_lies_between_0_and_1_and_only_takes_away(streams):
    model = Ae(AeConf(streams=streams, **TINY)).eval()
    noisy, _, video, lengths = example([9, 9])
    with torch.no_grad():
        mask, estimate = model.mask(noisy, video, lengths), model.estimate(noisy, video, lengths)
    assert ((mask > 0) & (mask < 1)).all()
    assert (estimate <= noisy).all()
    torch.testing.assert_close(estimate, mask * noisy)
    assert 0.65 < mask.mean() < 0.8  # starts at sigmoid(1), not dark


@pytest.mark.parametrize(
    "options",
    [{}, {"streams": "1drn"}, {"bidirectional": False, "cell": "gru", "input_transform": "cbrt"}],
)
def test_padding_changes_nothing(options):
    model = Ae(AeConf(hidden=16, stream=16, units=16, fc=16, **options)).eval()
    noisy, clean, video, lengths = example([9, 5])
    noisy[1, 20:], clean[1, 20:], video[1, 5:] = 100.0, 50.0, 100.0
    with torch.no_grad():
        padded = model.estimate(noisy, video, lengths)
        alone = model.estimate(noisy[1:, :20], video[1:, :5], lengths[1:])
        torch.testing.assert_close(padded[1, :20], alone[0], rtol=0, atol=1e-5)
        both, number = model.loss(noisy, clean, video, lengths)
        apart = [
            model.loss(noisy[i : i + 1, : 4 * n], clean[i : i + 1, : 4 * n], video[i : i + 1, :n], lengths[i : i + 1])
            for i, n in enumerate([9, 5])
        ]
    torch.testing.assert_close(both, sum(total for total, _ in apart))
    assert number == sum(number for _, number in apart) == 80 * 4 * 14


@pytest.mark.parametrize("domain", ["linear", "log", "cbrt"])
def test_loss_is_the_absolute_error_in_its_domain(domain):
    model = Ae(AeConf(hidden=16, stream=16, units=16, fc=16, loss_domain=domain)).eval()
    noisy, clean, video, lengths = example([3, 3])
    with torch.no_grad():
        total, _ = model.loss(noisy, clean, video, lengths)
        estimate = model.estimate(noisy, video, lengths)
    of = {"linear": lambda x: x, "log": lambda x: torch.log(x + 1e-3), "cbrt": lambda x: x.clamp(min=1e-9) ** (1 / 3)}
    torch.testing.assert_close(total, (of[domain](estimate) - of[domain](clean)).abs().sum())


@pytest.mark.parametrize("domain", ["linear", "log"])
def test_the_noisy_loss_is_that_of_a_mask_that_lets_all_through(domain):
    model = Ae(AeConf(hidden=16, stream=16, units=16, fc=16, loss_domain=domain)).eval()
    noisy, clean, video, lengths = example([5, 3])
    noisy[1, 12:] = 100.0
    torch.nn.init.zeros_(model.fc_mask.weight)
    torch.nn.init.constant_(model.fc_mask.bias, 30.0)
    with torch.no_grad():
        expected, number = model.loss(noisy, clean, video, lengths)
        found, count = model.noisy_loss(noisy, clean, lengths)
    torch.testing.assert_close(found, expected)
    assert number == count == 80 * 4 * 8


@pytest.mark.parametrize("streams", STREAMS)
def test_learns_eight_clips_to_under_30_percent_of_the_noisy_error(streams):
    torch.manual_seed(3)
    noisy, clean, video, lengths = example([6] * 8)
    # Sparse clean speech: what is noise alone can be masked, which leaves a floor far under the target.
    clean = clean * (torch.rand_like(clean) < 0.3)
    noisy = clean + torch.rand_like(clean) * (clean == 0)
    model = Ae(AeConf(streams=streams, hidden=64, stream=64, units=64, fc=128, dropout=0.0)).train()
    model.fit_statistics([{"noisy_mel": noisy, "frames": lengths}])
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    floor = (noisy - clean).abs().mean()
    for _ in range(150):
        optimiser.zero_grad()
        total, number = model.loss(noisy, clean, video, lengths)
        (total / number).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        if total / number < 0.3 * floor:
            return
    raise AssertionError(f"loss {float(total / number):.4f}, noisy {float(floor):.4f}")
