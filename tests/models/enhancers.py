"""Random batches and a few steps for enhancement systems."""

import torch

from avsr.features.mel import bands
from avsr.models.enhancement.avse import PICTURES

FEATURES = 512  # of a lip-reading front-end, for a picture


def batch(model, frames=(10, 15), seed=0):
    """Utterances of so many video frames, in the features that `model` hears and sees."""
    draw = torch.Generator().manual_seed(seed)
    count, longest = len(frames), max(frames)
    clean = torch.rand(count, 4 * longest, bands(model.mel_set), generator=draw)
    noisy = clean + torch.rand(clean.shape, generator=draw)
    b = {"noisy_mel": noisy, "clean_mel": clean, "frames": torch.tensor(frames)}
    if model.video_input == "feats":
        b["feats"] = torch.randn(count, longest, FEATURES, generator=draw)
    elif model.video_input:
        shape = (count, longest, *2 * (PICTURES[model.video_input],))
        b[model.video_input] = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw)
    return b


def inputs(model, b):
    """Of `model.estimate`; None in the place of pictures that it does not see."""
    return b["noisy_mel"], b.get(model.video_input), b["frames"]


def loss(model, b):
    total, count = model.loss(b["noisy_mel"], b["clean_mel"], b.get(model.video_input), b["frames"])
    return total / count


def alone(model, b, i):
    n = int(b["frames"][i])
    video = b[model.video_input][i : i + 1, :n] if model.video_input else None
    return b["noisy_mel"][i : i + 1, : 4 * n], video, b["frames"][i : i + 1]


def shake(model):
    """Moves every parameter and every running statistic off its starting value."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    return model


def train(model, b, steps, lr=5e-3):
    optimiser = torch.optim.Adam(model.parameters(), lr)
    losses = []
    for _ in range(steps):
        value = loss(model, b)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(float(value.detach()))
    return losses


def contrast(model, frames=20):
    """Two utterances of one sound and other targets, low bands or high ones: only the pictures tell them apart.

    Of several slices, for the variance that a batch norm keeps is twice that of two slices.
    """
    b = batch(model, (frames, frames))
    half = b["noisy_mel"].shape[2] // 2
    b["noisy_mel"][1] = b["noisy_mel"][0]
    b["clean_mel"] = b["noisy_mel"].clone()
    b["clean_mel"][0, :, :half] *= 0.1
    b["clean_mel"][1, :, half:] *= 0.1
    return b


def check_padding(model):
    """Alone and in a padded batch an utterance is estimated alike."""
    b = batch(model, (7, 15, 10))
    model.fit_statistics([b])
    train(model, b, 1)
    model.eval()
    together = model.estimate(*inputs(model, b))
    for i in range(3):
        by_itself = model.estimate(*alone(model, b, i))[0]
        torch.testing.assert_close(together[i, : len(by_itself)], by_itself, atol=1e-5, rtol=1e-5)


def check_padding_in_training(make):
    """Loss, gradients and batch statistics depend neither on what lies in the padding nor on how much there is."""
    results = []
    for extra, fill in ((0, 0.0), (0, 9.0), (10, 9.0)):
        torch.manual_seed(0)
        model = make()
        b = batch(model, (5, 15))
        for name in ("noisy_mel", "clean_mel"):
            b[name][0, 20:] = fill
            b[name] = torch.nn.functional.pad(b[name], (0, 0, 0, 4 * extra))
        if model.video_input:
            b[model.video_input][0, 5:] = int(fill)
            b[model.video_input] = torch.nn.functional.pad(b[model.video_input], (0, 0, 0, 0, 0, extra))
        value = loss(model, b)
        value.backward()
        found = [m.running_var for m in model.modules() if hasattr(m, "running_var")]
        found += [p.grad.flatten() for p in model.parameters()]
        results.append(torch.cat([value.detach()[None], *found]))
    torch.testing.assert_close(results[1], results[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(results[2], results[0], atol=1e-6, rtol=1e-5)


def check_slices_are_apart(model):
    """A change of sound or pictures in one slice changes that slice of the estimate and no other."""
    model.eval()
    b = batch(model, (15,))
    before = model.estimate(*inputs(model, b))
    for name, per_slice, factor in (("noisy_mel", 20, 0.5), (model.video_input, 5, 0)):
        changed = dict(b, **{name: b[name].clone()})
        changed[name][:, per_slice : 2 * per_slice] *= factor
        after = model.estimate(*inputs(model, changed))
        for s in range(3):
            moved = (after - before)[:, 20 * s : 20 * (s + 1)].abs().max()
            assert moved > 1e-6 if s == 1 else moved == 0, (name, s)


def check_every_weight_learns(model):
    """Only the bias of a convolution or linear layer in front of a batch norm may have no gradient."""
    b = batch(model, (10, 10))
    model.fit_statistics([b])
    loss(model, b).backward()
    names = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in names if not name.endswith("bias")]


def check_overfits_and_sees(model, steps=80, lr=1e-2, frames=20):
    b = contrast(model, frames)
    model.fit_statistics([b])
    losses = train(model, b, steps, lr)
    assert losses[-1] < 0.1 * losses[0]
    model.eval()
    wrong = dict(b, **{model.video_input: b[model.video_input].flip(0)})
    with torch.no_grad():
        assert loss(model, wrong) > 5 * loss(model, b)
