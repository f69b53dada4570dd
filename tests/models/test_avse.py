"""What all enhancement systems share: normalisation, heads, slices, loss, estimate."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from avsr.errors import UtteranceError
from avsr.models.enhancement.avse import AVSE, AVSEConf, log_mel


class Constant(AVSE):
    """A network whose output is one number; keeps what it was given."""

    def __init__(self, head="direct", value=0.0, video=True):
        self.video_input = "crop80" if video else None
        super().__init__(AVSEConf(head))
        self.value = value

    def network(self, audio_btf: Tensor, video_bthw: Tensor | None, slices_b: Tensor) -> Tensor:
        self.audio, self.video = audio_btf, video_bthw
        return torch.full_like(audio_btf, self.value)


def batch(frames=(12, 5), seed=0):
    draw = torch.Generator().manual_seed(seed)
    b, t = len(frames), max(frames)
    mel = torch.rand(b, 4 * t, 80, generator=draw) * 0.1
    crops = torch.randint(0, 256, (b, t, 80, 80), dtype=torch.uint8, generator=draw)
    for i, length in enumerate(frames):
        mel[i, 4 * length :], crops[i, length:] = 0, 0
    return {"noisy_mel": mel, "clean_mel": mel * 0.5, "crop80": crops, "frames": torch.tensor(frames)}


def test_log_mel_has_a_fixed_floor():
    mel = torch.tensor([0.0, 1e-7, 1e-5, 1e-3, 1.0])
    torch.testing.assert_close(log_mel(mel), torch.tensor([-100.0, -100.0, -100.0, -60.0, 0.0]))


def test_statistics_are_those_of_the_valid_frames():
    model = Constant()
    batches = [batch((12, 5), 1), batch((7, 9), 2)]
    model.fit_statistics(batches)
    rows = [b["noisy_mel"][i, : 4 * n].numpy() for b in batches for i, n in enumerate(b["frames"].tolist())]
    db = 20 * np.log10(np.maximum(np.concatenate(rows).astype(np.float64), 1e-5))
    np.testing.assert_allclose(model.mel_mean, db.mean(0), rtol=1e-5)
    np.testing.assert_allclose(model.mel_std, db.std(0), rtol=1e-4)
    pictures = [b["crop80"][i, :n].numpy() for b in batches for i, n in enumerate(b["frames"].tolist())]
    pictures = np.concatenate(pictures) / 255
    np.testing.assert_allclose(model.picture_mean, pictures.mean(0), rtol=1e-5)
    np.testing.assert_allclose(model.picture_std, pictures.std(0), rtol=1e-4)


def test_a_picture_element_that_never_changes_does_not_explode():
    model, still = Constant(), batch()
    still["crop80"][:] = 100
    model.fit_statistics([still])
    torch.testing.assert_close(model.picture_std, torch.full((80, 80), 0.01))


def test_the_network_sees_normalised_slices_and_zeros():
    model, b = Constant(), batch((12, 5))
    model.fit_statistics([b])
    model.estimate(b["noisy_mel"], b["crop80"], b["frames"])
    assert model.audio.shape == (2, 40, 80) and model.video.shape == (2, 10, 80, 80)  # two slices and one
    expected = (log_mel(b["noisy_mel"][0, :40]) - model.mel_mean) / model.mel_std
    torch.testing.assert_close(model.audio[0], expected)
    expected = (b["crop80"][0, :10] / 255 - model.picture_mean) / model.picture_std
    torch.testing.assert_close(model.video[0], expected)
    assert not model.audio[1, 20:].any() and not model.video[1, 5:].any()


def test_loss_of_a_direct_head_is_the_mean_square_over_valid_slices():
    model, b = Constant("direct", 0.3), batch((12, 5))
    model.fit_statistics([b])
    total, count = model.loss(b["noisy_mel"], b["clean_mel"], b["crop80"], b["frames"])
    assert int(count) == 3 * 20 * 80  # 12 frames hold two slices, 5 frames one
    clean = np.concatenate([b["clean_mel"][0, :40].numpy(), b["clean_mel"][1, :20].numpy()]).astype(np.float64)
    target = (20 * np.log10(np.maximum(clean, 1e-5)) - model.mel_mean.numpy()) / model.mel_std.numpy()
    assert float(total) == pytest.approx(((0.3 - target) ** 2).sum(), rel=1e-4)


@pytest.mark.parametrize("head", ["mask", "residual", "direct"])
def test_heads_say_what_the_output_means(head):
    """One number out of the network, the estimate by hand, and the loss in agreement with it."""
    model, b = Constant(head, -0.4), batch((10,))
    model.fit_statistics([b])
    estimate = model.estimate(b["noisy_mel"], b["crop80"], b["frames"]).double().numpy()
    noisy = b["noisy_mel"].double().numpy()
    mean, std = model.mel_mean.double().numpy(), model.mel_std.double().numpy()
    expected = {
        "mask": noisy / (1 + math.exp(0.4)),
        "residual": np.maximum(noisy, 1e-5) * 10 ** (-0.4 * std / 20),
        "direct": np.broadcast_to(10 ** ((mean - 0.4 * std) / 20), noisy.shape),
    }[head]
    np.testing.assert_allclose(estimate, expected, rtol=1e-4)
    total, _ = model.loss(b["noisy_mel"], b["clean_mel"], b["crop80"], b["frames"])
    db = [20 * np.log10(np.maximum(x, 1e-5)) for x in (expected, b["clean_mel"].double().numpy())]
    assert float(total) == pytest.approx((((db[0] - db[1]) / std) ** 2).sum(), rel=1e-3)


def test_estimate_passes_the_cut_tail_through():
    model, b = Constant("mask", -2.0), batch((12, 5))
    model.fit_statistics([b])
    estimate = model.estimate(b["noisy_mel"], b["crop80"], b["frames"])
    assert estimate.shape == b["noisy_mel"].shape
    torch.testing.assert_close(estimate[0, 40:], b["noisy_mel"][0, 40:])  # frames 10 and 11: no whole slice
    assert (estimate[0, :40] < b["noisy_mel"][0, :40]).all()
    assert not estimate[1, 20:].any()


@pytest.mark.parametrize("use", ["loss", "estimate"])
def test_shorter_than_a_slice(use):
    model, b = Constant(), batch((12, 4))
    inputs = (b["noisy_mel"], *([b["clean_mel"]] if use == "loss" else []), b["crop80"], b["frames"])
    with pytest.raises(UtteranceError, match="4 video frames.*at least 5"):
        getattr(model, use)(*inputs)


def test_padding_that_is_not_finite_stays_out_of_the_loss():
    model, b = Constant(), batch((10, 5))
    model.fit_statistics([b])
    plain = model.loss(b["noisy_mel"], b["clean_mel"], b["crop80"], b["frames"])[0]
    b["clean_mel"][1, 20:] = float("nan")
    assert model.loss(b["noisy_mel"], b["clean_mel"], b["crop80"], b["frames"])[0] == plain


def test_an_audio_only_system_needs_no_pictures():
    model, b = Constant(video=False), batch()
    b.pop("crop80")
    model.fit_statistics([b])
    assert not hasattr(model, "picture_mean")
    assert model.estimate(b["noisy_mel"], None, b["frames"]).shape == b["noisy_mel"].shape
