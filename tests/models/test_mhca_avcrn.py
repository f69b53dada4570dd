"""MHCA-AVCRN: counts, shapes, options, padding, ablations, training."""

import io
import itertools

import pytest
import torch

from avsr.errors import UsageError
from avsr.layers.mhca import TwoStageMHCA
from avsr.models.enhancement.mhca_avcrn import MHCAAVCRN, Fusion, MHCAAVCRNConf, VideoLevel

TINY = {"channels": (4, 4, 8, 8, 8), "lstm": 16}
PRESETS = {
    "base": {},
    "small": {"channels": (16, 32, 64, 64, 128), "lstm": 256},
    "tiny": {"channels": (8, 8, 16, 16, 16), "lstm": 64},
}
ABLATIONS = ({}, {"balancing": False}, {"filtering": False}, {"balancing": False, "filtering": False})


def make(**options):
    torch.manual_seed(0)
    return MHCAAVCRN(MHCAAVCRNConf(**(TINY | options)))


def batch(frames=(10, 15), seed=0):
    draw = torch.Generator().manual_seed(seed)
    b, t = len(frames), max(frames)
    clean = torch.rand(b, 4 * t, 80, generator=draw)
    noisy = clean + torch.rand(b, 4 * t, 80, generator=draw)
    crops = torch.randint(0, 256, (b, t, 80, 80), dtype=torch.uint8, generator=draw)
    return {"noisy_mel": noisy, "clean_mel": clean, "crop80": crops, "frames": torch.tensor(frames)}


def alone(b, i):
    n = int(b["frames"][i])
    return b["noisy_mel"][i : i + 1, : 4 * n], b["crop80"][i : i + 1, :n], b["frames"][i : i + 1]


def shake(model):
    """Moves every parameter, so that nothing sits at a special starting value (alpha = beta = 0)."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


def train(model, b, steps, lr=5e-3):
    optimiser = torch.optim.Adam(model.parameters(), lr)
    losses = []
    for _ in range(steps):
        total, count = model.loss(b["noisy_mel"], b["clean_mel"], b["crop80"], b["frames"])
        optimiser.zero_grad()
        (total / count).backward()
        optimiser.step()
        losses.append(float(total.detach() / count))
    return losses


@pytest.mark.parametrize(
    ("preset", "skip", "millions"),
    [
        ("base", "gate", (20.73, 19.77, 19.77, 17.44)),
        ("base", "gate_concat", (21.28, 20.32, 20.32, 17.44)),
        ("base", "gated_skip", (21.28, 20.32, 20.32, 17.44)),
        ("small", "gate", (4.31, 4.07, 4.07, 3.51)),
        ("tiny", "gate", (0.18, 0.17, 0.17, 0.15)),
    ],
)
def test_parameters(preset, skip, millions):
    for options, expected in zip(ABLATIONS, millions, strict=True):
        with torch.device("meta"):
            model = MHCAAVCRN(MHCAAVCRNConf(**PRESETS[preset], mhca_skip=skip, **options))
        assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == expected


@pytest.mark.parametrize("layout", ["frames_as_channels", "framewise"])
@pytest.mark.parametrize(("mode", "n", "columns"), [("sliced", 5, 1), ("continuous", 2, 3)])
def test_shapes_of_the_levels(mode, n, columns, layout):
    """Both streams and the fused feature agree at every level; 5 valid slices of a batch of 2 and 3."""
    model, fused, seen = make(conv_mode=mode, video_layout=layout).eval(), [], []

    def keep(module, args, result):
        fused.append(args[0].shape == args[1].shape)
        seen.append(result.shape)

    for module in model.modules():
        if isinstance(module, Fusion):
            module.register_forward_hook(keep)
    b = batch()
    out = model.estimate(b["noisy_mel"], b["crop80"], b["frames"])
    assert out.shape == b["noisy_mel"].shape and all(fused)
    maps = [(4, 40, 10), (4, 20, 5), (8, 10, 5), (8, 5, 5), (8, 5, 5)]
    assert [tuple(s) for s in seen] == [(n, c, f, t * columns) for c, f, t in maps]


def test_picture_maps_of_the_paper_size():
    x, found = torch.randn(1, 5, 80, 80), []
    for i, (c_in, c_out) in enumerate(((5, 64), (64, 64), (64, 128), (128, 128), (128, 256))):
        x = VideoLevel(i, c_in, c_out).eval()(x)
        found.append(tuple(x.shape[1:]))
    assert found == [(64, 40, 10), (64, 20, 5), (128, 10, 5), (128, 5, 5), (256, 5, 5)]


OPTIONS = {
    "head": ("mask", "direct", "residual"),
    "mhca_skip": ("gate", "gate_concat", "gated_skip"),
    "mhca_levels": ((1, 2, 3, 4, 5), (2, 4), ()),
    "heads": (5, 1),
    "stage2": ("channel", "bin"),
    "residual": (True, False),
    "scale": (True, False),
    "video_layout": ("frames_as_channels", "framewise"),
    "conv_mode": ("sliced", "continuous"),
    "bidirectional": (False, True),
    "balancing": (True, False),
    "filtering": (True, False),
}
SINGLE = [{key: value} for key, values in OPTIONS.items() for value in values[1:]]
SINGLE += [{"head_axis": "channel_groups", "heads": 4}, {"alpha0": 0.1, "beta0": 0.1, "residual": False}]
PAIRS = [a | b for a, b in itertools.combinations(SINGLE, 2) if {"video_layout", "conv_mode"} <= set(a | b)]


@pytest.mark.parametrize("options", SINGLE + PAIRS, ids=str)
def test_every_option_builds_and_steps(options):
    model, b = make(**options), batch()
    model.fit_statistics([b])
    losses = train(model, b, 2, 1e-3)
    assert all(0 < loss < 1e4 for loss in losses) and losses[0] != losses[1]


@pytest.mark.parametrize(
    "options",
    [{}, {"bidirectional": True}, {"conv_mode": "continuous"}, {"mhca_skip": "gate_concat", "stage2": "bin"}]
    + [{"conv_mode": "continuous", "bidirectional": True, "video_layout": "framewise"}, *ABLATIONS[1:]],
    ids=str,
)
def test_padding_changes_nothing(options):
    model, b = shake(make(**options)), batch((7, 15, 10))
    model.fit_statistics([b])
    train(model, b, 1)  # so that the running statistics are not trivial
    model.eval()
    together = model.estimate(b["noisy_mel"], b["crop80"], b["frames"])
    for i in range(3):
        frames = int(b["frames"][i])
        torch.testing.assert_close(together[i, : 4 * frames], model.estimate(*alone(b, i))[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", ["sliced", "continuous"])
def test_padding_stays_out_of_training(mode):
    """Loss, gradients and batch statistics do not depend on what lies in the padding, nor on how much there is."""
    results = []
    for extra, fill in ((0, 0.0), (0, 9.0), (10, 9.0)):
        model, b = shake(make(conv_mode=mode)), batch((5, 15))
        b["noisy_mel"][0, 20:], b["clean_mel"][0, 20:], b["crop80"][0, 5:] = fill, fill, int(fill)
        mel = [torch.nn.functional.pad(b[k], (0, 0, 0, 4 * extra)) for k in ("noisy_mel", "clean_mel")]
        crops = torch.nn.functional.pad(b["crop80"], (0, 0, 0, 0, 0, extra))
        total, count = model.loss(*mel, crops, b["frames"])
        (total / count).backward()
        found = [m.running_var for m in model.modules() if hasattr(m, "running_var")]
        found += [p.grad.flatten() for p in model.parameters()]
        results.append(torch.cat([(total / count).detach()[None], *found]))
    torch.testing.assert_close(results[1], results[0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(results[2], results[0], atol=1e-6, rtol=1e-5)


def test_batch_statistics_in_continuous_mode_are_those_of_valid_columns():
    """The masked statistics of the padded batch equal plain ones of the utterances side by side (level 1)."""
    model, b = make(conv_mode="continuous"), batch((10, 15))
    model.fit_statistics([b])
    found = []
    model.audio[0].conv.register_forward_hook(lambda m, x, y: found.append(y.detach()))
    model.loss(b["noisy_mel"], b["clean_mel"], b["crop80"], b["frames"])
    valid = torch.cat([found[0][0, :, :, :20], found[0][1]], 2)
    torch.testing.assert_close(model.audio[0].norm.running_mean, 0.1 * valid.mean((1, 2)), atol=1e-6, rtol=1e-4)


def test_sliced_and_continuous_share_their_weights_and_differ_only_at_seams():
    sliced = shake(make()).eval()
    continuous = make(conv_mode="continuous").eval()
    continuous.load_state_dict(sliced.state_dict())
    one, two = batch((5, 5)), batch((10,))
    same = [m.estimate(one["noisy_mel"], one["crop80"], one["frames"]) for m in (sliced, continuous)]
    torch.testing.assert_close(*same, atol=1e-5, rtol=1e-5)
    seam = [m.estimate(two["noisy_mel"], two["crop80"], two["frames"]) for m in (sliced, continuous)]
    assert (seam[0] - seam[1]).abs().max() > 1e-4


def test_only_the_recurrence_looks_beyond_a_slice():
    """Unidirectional: a change in the last slice leaves the slices before it alone; one in the first reaches them."""
    model, b = shake(make()).eval(), batch((15,))
    before = model.estimate(b["noisy_mel"], b["crop80"], b["frames"])
    for first, last in ((40, 60), (0, 20)):
        changed = b["noisy_mel"].clone()
        changed[:, first:last] *= 3
        after = model.estimate(changed, b["crop80"], b["frames"])
        if first:
            torch.testing.assert_close(after[:, :40], before[:, :40], atol=0, rtol=0)
        else:
            assert (after[:, 40:] - before[:, 40:]).abs().max() > 0


def test_literal_block_never_leaves_its_starting_point():
    model, b = make(residual=False, alpha0=0.0, beta0=0.0, heads=1, scale=False), batch((10, 10))
    model.fit_statistics([b])
    train(model, b, 3, 1e-2)
    for block in model.mhca.values():
        assert block.alpha == 0 and block.beta == 0
        dead = [p.grad.any() for name, p in block.named_parameters() if name != "gate.bias"]
        assert not any(dead)
    assert not any(p.grad.any() for p in model.fusion.parameters())  # fused features are never heard


def test_ablations_have_no_parameters_to_spare():
    b = batch((10, 10))
    for options in ABLATIONS:
        model = shake(make(**options))
        model.fit_statistics([b])
        train(model, b, 1)
        unused = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert not [name for name in unused if not name.endswith("conv.bias")], options


def test_overfits_one_batch_and_uses_the_video():
    """Other targets for the same sound, low bands or high ones: only the pictures tell them apart."""
    model, b = make(), batch((5, 5))
    b["noisy_mel"][1] = b["noisy_mel"][0]
    b["clean_mel"] = b["noisy_mel"].clone()
    b["clean_mel"][0, :, :40] *= 0.1
    b["clean_mel"][1, :, 40:] *= 0.1
    model.fit_statistics([b])
    losses = train(model, b, 80, 1e-2)
    assert losses[-1] < 0.1 * losses[0]
    model.eval()
    right, _ = model.loss(b["noisy_mel"], b["clean_mel"], b["crop80"], b["frames"])
    wrong, _ = model.loss(b["noisy_mel"], b["clean_mel"], b["crop80"].flip(0), b["frames"])
    assert wrong > 5 * right


def test_checkpoint_round_trip_with_statistics():
    model, b = shake(make()), batch()
    model.fit_statistics([b])
    train(model, b, 1)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = make()
    other.load_state_dict(torch.load(file, weights_only=True))
    for buffer in ("mel_mean", "mel_std", "picture_mean", "picture_std"):
        torch.testing.assert_close(getattr(other, buffer), getattr(model, buffer), atol=0, rtol=0)
    outs = [m.eval().estimate(b["noisy_mel"], b["crop80"], b["frames"]) for m in (model, other)]
    torch.testing.assert_close(*outs, atol=0, rtol=0)


@pytest.mark.parametrize("mode", ["sliced", "continuous"])
def test_channels_last_gives_the_same(mode):
    model, b = shake(make(conv_mode=mode)).eval(), batch((7, 15))
    plain = model.estimate(b["noisy_mel"], b["crop80"], b["frames"])
    model = model.to(memory_format=torch.channels_last)
    other = model.estimate(b["noisy_mel"], b["crop80"], b["frames"])
    torch.testing.assert_close(plain, other, atol=1e-5, rtol=1e-5)


def test_gated_skip_is_the_plain_skip_with_its_fused_feature_gated():
    """An open gate gives the system without the block; so does a system without levels that have it."""
    gated, plain, b = make(mhca_skip="gated_skip"), make(balancing=False, filtering=False), batch()
    shake(plain)
    gated.load_state_dict(plain.state_dict(), strict=False)
    for block in gated.mhca.values():
        torch.nn.init.zeros_(block.gate.weight)
        torch.nn.init.constant_(block.gate.bias, 30.0)
    nowhere = make(mhca_levels=())
    nowhere.load_state_dict(plain.state_dict())
    outputs = [model.eval().estimate(b["noisy_mel"], b["crop80"], b["frames"]) for model in (plain, gated, nowhere)]
    assert torch.equal(outputs[0], outputs[2])
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    for block in gated.mhca.values():
        torch.nn.init.constant_(block.gate.bias, -30.0)
    shut = gated.estimate(b["noisy_mel"], b["crop80"], b["frames"])
    assert (shut - outputs[0]).abs().max() > 1e-3


def test_a_gate_without_attention_is_the_block_whose_alpha_and_beta_stay_zero():
    gate, full, b = make(balancing=False, filtering=False, gate_alone=True), make(), batch()
    full.load_state_dict(gate.state_dict(), strict=False)  # the rest are keys, queries, and alpha = beta = 0
    left = {name for name, _ in full.named_parameters()} - {name for name, _ in gate.named_parameters()}
    assert {name.split(".")[2] for name in left} == {"key", "query", "alpha", "beta"}
    estimates = [model.eval().estimate(b["noisy_mel"], b["crop80"], b["frames"]) for model in (gate, full)]
    torch.testing.assert_close(*estimates, rtol=1e-5, atol=1e-6)


def test_levels_that_have_the_block():
    model = make(mhca_levels=(1, 3))
    assert sorted(model.mhca) == ["0", "2"] and model.joined == [False, True, False, True, True]
    assert len(model.eval().maps(*(batch()[name] for name in ("noisy_mel", "crop80", "frames")))) == 2
    with pytest.raises(UsageError, match="mhca_levels: levels are 1 to 5"):
        make(mhca_levels=(0,))


def test_maps_for_figures():
    model, b = shake(make()).eval(), batch((10, 15))
    maps = model.maps(b["noisy_mel"], b["crop80"], b["frames"])
    assert len(maps) == 5
    for (c, f, t), level in zip([(4, 40, 10), (4, 20, 5), (8, 10, 5), (8, 5, 5), (8, 5, 5)], maps, strict=True):
        assert level.balance.shape == level.filter.shape == (5, 5, c, c)  # slices, heads
        assert level.gate.shape == (5, c, f, t)
        assert 0 < level.gate.min() and level.gate.max() < 1
        torch.testing.assert_close(level.filter.sum(2), torch.ones(5, 5, c))
    assert make(balancing=False, filtering=False).maps(b["noisy_mel"], b["crop80"], b["frames"]) == []
    assert not any(m._forward_hooks for m in model.modules() if isinstance(m, TwoStageMHCA))
