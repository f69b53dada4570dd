"""OVA: counts, the safe gate, its audio branch alone, losses by hand, padding, training."""

import logging

import numpy as np
import pytest
import torch

from avsr.errors import UsageError
from avsr.models.enhancement.avse import log_mel
from avsr.models.enhancement.ova import OVA, OVAConf, power_binary_mask
from avsr.models.registry import build_model
from avsr.models.systems import load_system, training_conf
from avsr.training.freezing import freeze, trainable
from avsr.training.task import Task
from avsr.training.tasks.enhance import EnhanceTask
from tests.models import enhancers
from tests.models.enhancers import batch, contrast, loss, train

TINY = {"audio": 12, "visual": 6, "gate": 8, "channels": (4, 4, 6, 8)}


def make(**options):
    torch.manual_seed(0)
    return OVA(OVAConf(**(TINY | options)))


def fitted(frames=(10, 15), **options):
    """A model and the batch that its statistics are of."""
    model = make(**options)
    b = batch(model, frames)
    model.fit_statistics([b])
    return model, b


def total(model, b):
    return model.loss(b["noisy_mel"], b["clean_mel"], b["crop80"], b["frames"])


def logits(model, b):
    """Fused, audio and visual logits."""
    whole, video, slices = model._whole_slices(b["noisy_mel"], b["crop80"], b["frames"])
    return model._output(model._domain(whole), video, slices).chunk(3, -1)


def lstm(inputs, units, directions):
    return directions * (4 * units * (inputs + units) + 8 * units)


def test_parameters_of_the_paper_size():
    audio = lstm(80, 512, 1) + lstm(512, 512, 1) + 513 * 80
    cnn = 16 * (25 + 1) + 32 * (9 * 16 + 1) + 64 * (9 * 32 + 1) + 128 * (9 * 64 + 1) + 2 * (16 + 32 + 64 + 128)
    visual = cnn + lstm(128, 256, 2) + lstm(512, 256, 2) + 513 * 80
    gate = 256 * (240 + 1) + 80 * (256 + 1)
    with torch.device("meta"):
        model = build_model(load_system("ova").model)
    found = sum(p.numel() for p in model.parameters())
    assert found == audio + visual + gate
    assert round(found / 1e6, 2) == 5.95


def test_power_binary_mask_is_that_of_a_loop():
    draw = torch.Generator().manual_seed(1)
    clean, lengths = torch.rand(2, 12, 5, generator=draw), (12, 7)
    valid = torch.arange(12)[None, :, None] < torch.tensor(lengths)[:, None, None]
    found = power_binary_mask(clean, valid)
    for i, length in enumerate(lengths):
        power = clean[i, :length].double().numpy() ** 2
        for band in range(5):
            mean = sum(power[:, band]) / length
            assert [float(x) for x in found[i, :length, band]] == [float(x > mean) for x in power[:, band]]
    assert not found[1, 7:].any()


def test_the_gate_mixes_the_two_masks():
    model, b = fitted()
    model.eval()
    fused, audio, visual = (torch.sigmoid(x) for x in logits(model, b))
    assert (fused >= torch.minimum(audio, visual) - 1e-5).all() and (fused <= torch.maximum(audio, visual) + 1e-5).all()
    heard = torch.cat([(log_mel(b["noisy_mel"]) - model.mel_mean) / model.mel_std, audio, visual], -1).double()
    inner = (heard @ model.gate[0].weight.T.double() + model.gate[0].bias.double()).clamp(min=0)
    g = 1 / (1 + torch.exp(-(inner @ model.gate[2].weight.T.double() + model.gate[2].bias.double())))
    expected = (1 - g) * audio.double() + g * visual.double()
    torch.testing.assert_close(fused[1].double(), expected[1], atol=1e-5, rtol=1e-5)  # the longer utterance
    for bias, mask in ((-50.0, audio), (50.0, visual)):  # shut: what sound alone can do is not lost
        with torch.no_grad():
            model.gate[2].bias.fill_(bias)
        torch.testing.assert_close(torch.sigmoid(logits(model, b)[0]), mask, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("safe", [True, False])
def test_the_gate_teaches_the_audio_branch_only_where_it_is_not_safe(safe):
    model, b = fitted(safe=safe)
    model.eval()  # in eval mode the loss is that of the mixed mask alone
    loss(model, b).backward()
    branch = [p.grad for name, p in model.named_parameters() if name.startswith("audio_")]
    assert all((grad is None or not grad.any()) == safe for grad in branch)
    assert model.gate[0].weight.grad.any() and model.visual_lstm.weight_ih_l0.grad.any()


def test_losses_by_hand():
    """Training: both masks' errors and a tenth of the cross entropy; validation: that of the mixed mask alone."""
    model, b = fitted((12, 5))
    with torch.no_grad():
        fused, audio, visual = (x.double().numpy() for x in logits(model, b))
        found = total(model, b)
        alone = total(model.eval(), b)
    mean, std = model.mel_mean.double().numpy(), model.mel_std.double().numpy()
    noisy, clean = b["noisy_mel"].double().numpy(), b["clean_mel"].double().numpy()
    errors, entropy = {"fused": 0.0, "audio": 0.0}, 0.0
    for i, steps in enumerate((40, 20)):
        target = (20 * np.log10(np.maximum(clean[i, :steps], 1e-5)) - mean) / std
        power = clean[i, :steps] ** 2
        for name, out in (("fused", fused), ("audio", audio)):
            masked = noisy[i, :steps] / (1 + np.exp(-out[i, :steps]))
            errors[name] += (((20 * np.log10(np.maximum(masked, 1e-5)) - mean) / std - target) ** 2).sum()
        p = 1 / (1 + np.exp(-visual[i, :steps]))
        entropy -= np.where(power > power.mean(0), np.log(p), np.log(1 - p)).sum()
    assert int(found[1]) == int(alone[1]) == 3 * 20 * 80
    assert float(found[0]) == pytest.approx(errors["fused"] + errors["audio"] + 0.1 * entropy, rel=1e-4)
    assert float(alone[0]) < float(found[0])
    with torch.no_grad():
        bound = model.audio_loss(b["noisy_mel"], b["clean_mel"], b["frames"])
    assert float(bound[0]) == pytest.approx(errors["audio"], rel=1e-4) and model.output == "fused"


def test_the_audio_branch_alone_needs_no_pictures():
    model, b = fitted()
    model.eval()
    audio = torch.sigmoid(logits(model, b)[1])
    model.output = "audio"
    estimate = model.estimate(b["noisy_mel"], None, b["frames"])
    torch.testing.assert_close(estimate[1], (audio * b["noisy_mel"])[1])
    torch.testing.assert_close(model.estimate(b["noisy_mel"], b["crop80"].flip(0), b["frames"]), estimate)


def test_validation_says_when_the_pictures_do_harm(caplog, monkeypatch):
    model, b = fitted((10, 10))
    task = EnhanceTask.__new__(EnhanceTask)
    for mean, warned in ((1e9, True), (0.0, False)):
        monkeypatch.setattr(Task, "validate", lambda self, model, batches, phase, mean=mean: (
            list(batches), {"loss": mean})[1])  # fmt: skip
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            with torch.no_grad():
                task.validate(model, iter([b]), None)
        assert ("is not below that of the audio branch alone" in caplog.text) == warned


@pytest.mark.parametrize("domain", ["log_mel", "magnitude"])
def test_padding(domain):
    enhancers.check_padding(make(domain=domain))
    enhancers.check_padding_in_training(lambda: make(domain=domain))


def test_every_weight_learns():
    enhancers.check_every_weight_learns(make())


@pytest.mark.parametrize("domain", ["log_mel", "magnitude"])
def test_overfits_one_batch_and_uses_the_video(domain):
    model = make(domain=domain)
    b = contrast(model)
    model.fit_statistics([b])
    train(model, b, 150, 1e-2)
    model.eval()
    with torch.no_grad():
        right, wrong = loss(model, b), loss(model, b | {"crop80": b["crop80"].flip(0)})
        bound = model.audio_loss(b["noisy_mel"], b["clean_mel"], b["frames"])
    assert wrong > 3 * right
    assert right < 0.5 * bound[0] / bound[1]  # sound alone cannot tell the two apart


def test_as_published_it_is_trained_in_two_steps_on_magnitudes():
    system = load_system("ova_faithful", "tiny")
    audio, fused = training_conf(system).all_phases()
    model = build_model(system.model)
    free = trainable(model)
    freeze(model, audio.freeze, free)
    first = {name for name, p in model.named_parameters() if p.requires_grad}
    freeze(model, fused.freeze, free)
    second = {name for name, p in model.named_parameters() if p.requires_grad}
    assert first | second == free and not first & second
    assert {name.split(".")[0] for name in first} == {"audio_lstm", "audio_mask"}
    b = batch(model, (10, 10))
    model.fit_statistics([b])
    freeze(model, audio.freeze, free)
    with torch.no_grad():  # the epoch that is kept is that of the audio branch: the rest is as it was drawn
        found, bound = total(model.eval(), b), model.audio_loss(b["noisy_mel"], b["clean_mel"], b["frames"])
    assert float(found[0]) == pytest.approx(float(bound[0])) and int(found[1]) == int(bound[1])
    freeze(model.train(), fused.freeze, free)
    kept = {name: p.clone() for name, p in model.named_parameters()}
    train(model, b, 2, 1e-3)
    assert {name for name, p in model.named_parameters() if not torch.equal(p, kept[name])} <= second
    with torch.no_grad():
        out = logits(model.eval(), b)[0].double()
        found, count = total(model, b)
    error = (torch.sigmoid(out) * b["noisy_mel"] - b["clean_mel"]) / model.mel_std
    assert float(found) == pytest.approx(float(error.square().sum()), rel=1e-4) and int(count) == 2 * 40 * 161


def test_wrong_options():
    with pytest.raises(UsageError, match="model.head must be mask, not direct"):
        make(head="direct")
    with pytest.raises(UsageError, match="positive"):
        make(gate=0)
