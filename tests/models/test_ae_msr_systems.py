"""What every AE, EG-seq2seq and TM-seq2seq of the tree promises, alone and joined: AE-MSR as its YAML builds it."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from avsr.decoding.beam import beam_search, decode
from avsr.decoding.greedy import greedy
from avsr.models.listing import build_meta, parameters, random_batch, step
from avsr.models.recognition.seq2seq import after_bos
from avsr.models.registry import build_model
from avsr.models.systems import load_system, system_ids

ENHANCERS = [name for name in system_ids() if name.startswith("ae_")]
RECOGNISERS = [name for name in system_ids() if name.startswith(("eg_", "tm_"))]
FRAMES, TOKENS = (9, 5, 1), (7, 4, 2)


@cache
def model_of(name: str) -> nn.Module:
    """In evaluation mode, with statistics, and with biases that are not zero any more."""
    torch.manual_seed(1)
    model = build_model(load_system(name, "tiny").model)
    for part in (model.enhancer, model.recogniser) if hasattr(model, "enhancer") else (model,):
        part.fit_statistics([random_batch([20, 20], [3, 3])])
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model.eval()


def batch_with_rubbish(frames: tuple[int, ...] = FRAMES, tokens: tuple[int, ...] = TOKENS) -> dict[str, Tensor]:
    """Behind the end of each clip its sound and its features are far from any real ones."""
    torch.manual_seed(2)
    batch = random_batch(frames, tokens)
    for row, count in enumerate(frames):
        batch["noisy_mel"][row, 4 * count :], batch["feats"][row, count:] = 100.0, -100.0
    return batch


def clip_alone(batch: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    frames, tokens = int(batch["frames"][row]), int(batch["token_lengths"][row])
    one = {name: value[row : row + 1] for name, value in batch.items()}
    ends = {"noisy_mel": 4 * frames, "feats": frames, "tokens": tokens}
    return one | {name: one[name][:, :end] for name, end in ends.items()}


def memory_of(model: nn.Module, batch: dict[str, Tensor]):
    mel = batch["noisy_mel"] if model.audio_input else None
    return model.encode(mel, batch["feats"] if model.video_input else None, batch["frames"])


def logits_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return getattr(model, "recogniser", model).logits(after_bos(batch["tokens"]), memory_of(model, batch))


def test_all_24_systems_are_here():
    """The 22 of AE-MSR, and its two enhancers as they are trained beside those of MHCA-AVCRN."""
    assert len(ENHANCERS) + len(RECOGNISERS) == 24


@pytest.mark.parametrize("name", ENHANCERS)
def test_the_mask_of_a_clip_does_not_depend_on_its_batch(name):
    model, batch = model_of(name), batch_with_rubbish()
    with torch.no_grad():
        together = model.mask(batch["noisy_mel"], batch["feats"], batch["frames"])
        for row, frames in enumerate(FRAMES):
            one = clip_alone(batch, row)
            alone = model.mask(one["noisy_mel"], one["feats"], one["frames"])
            torch.testing.assert_close(together[row, : 4 * frames], alone[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", RECOGNISERS)
def test_the_logits_of_a_clip_do_not_depend_on_its_batch(name):
    model, batch = model_of(name), batch_with_rubbish()
    with torch.no_grad():
        together = logits_of(model, batch)
        for row, tokens in enumerate(TOKENS):
            alone = logits_of(model, clip_alone(batch, row))
            torch.testing.assert_close(together[row, :tokens], alone[0], rtol=0, atol=1e-5)
    assert together.std() > 0.01


@pytest.mark.parametrize("frames", [1, 4, 29, 75])
@pytest.mark.parametrize("name", ENHANCERS)
def test_enhancers_give_four_mel_frames_a_picture_and_only_take_away(name, frames):
    model, batch = model_of(name), batch_with_rubbish((frames,), (2,))
    with torch.no_grad():
        mask = model.mask(batch["noisy_mel"], batch["feats"], batch["frames"])
        estimate = model.estimate(batch["noisy_mel"], batch["feats"], batch["frames"])
    assert mask.shape == estimate.shape == (1, 4 * frames, 80)
    assert ((mask > 0) & (mask < 1)).all()
    assert (estimate >= 0).all() and (estimate <= batch["noisy_mel"]).all()


@pytest.mark.parametrize("frames", [1, 4, 29, 75])
@pytest.mark.parametrize("name", RECOGNISERS)
def test_recognisers_attend_to_every_picture_s_time(name, frames):
    model, batch = model_of(name), batch_with_rubbish((frames,), (3,))
    with torch.no_grad():
        weights = model.attention(memory_of(model, batch), batch["tokens"])
    modality = load_system(load_system(name).recogniser or name).model["modality"]
    assert weights.shape == (len(modality), 1, 3, frames)
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(modality), 1, 3))


@pytest.mark.parametrize("name", ["eg_av", "tm_av", "eg_va_tcn"])
def test_a_beam_of_one_is_greedy(name):
    model, batch = model_of(name), batch_with_rubbish((3, 1), (2, 2))
    with torch.no_grad():
        memory = memory_of(model, batch)
        expected = greedy(model, memory, batch["frames"])
        assert beam_search(model, memory, batch["frames"], beam=1) == expected
        assert decode(model, memory, batch["frames"], beam=1) == expected
    assert any(expected)


# What 321 bins add to 80 bands in the paper's sizes: columns of the layer that hears, rows and biases of a mask's.
ADDED = {
    "ae_tcn": 241 * 520 + 241 * (600 + 1),
    "ae_1drn": 241 * 1536 + 241 * (600 + 1),
    "eg_a": 241 * 1536,
    "tm_a": (1284 - 320) * 512,
    "eg_va_tcn": 241 * 520 + 241 * (600 + 1) + 241 * 1536,
}


@pytest.mark.parametrize("name", ADDED)
def test_networks_of_all_bins_of_the_stft_learn(name):
    sets = ["model.enhancer.mels=321", "model.recogniser.mels=321"] if "_va_" in name else ["model.mels=321"]
    bands, bins = (build_meta(load_system(name, "base", more)) for more in ((), sets))
    assert parameters(bins) - parameters(bands) == ADDED[name]
    assert (bands.mel_set, bins.mel_set) == ("mel_htk", "stft")
    assert "loss" in step(load_system(name, "tiny", sets))  # with statistics of 321 bins; refuses what is not finite
