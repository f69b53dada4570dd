"""Each option of MHCA-AVCRN (docs/decisions.md) does in the network what it says: what the decoder sees, what attends
to what, which pictures and slices reach which columns.

That each of them builds and trains is in test_mhca_avcrn.py; the block's equations are in tests/layers/test_mhca.py.
"""

import pytest
import torch
from torch.nn.functional import conv2d

from avsr.models.enhancement.mhca_avcrn import MHCAAVCRN, MHCAAVCRNConf
from tests.models.enhancers import batch, inputs, shake

TINY = {"channels": (4, 4, 8, 8, 8), "lstm": 16}
SIZES = [(4, 40, 10), (4, 20, 5), (8, 10, 5), (8, 5, 5), (8, 5, 5)]  # channels, bins, columns of each level


def make(**options):
    torch.manual_seed(0)
    return shake(MHCAAVCRN(MHCAAVCRNConf(**(TINY | options)))).eval()


def watched(model, b, *names):
    """Inputs and output of the modules of each list (`fusion`, `mhca`, `decoder`) in one estimate, by level."""
    found = {name: {} for name in names}
    hooks = []
    for name in names:
        for level, module in enumerate(getattr(model, name).children()):

            def keep(module, args, result, name=name, level=level):
                found[name][level] = (args, result)

            hooks.append(module.register_forward_hook(keep))
    model.estimate(*inputs(model, b))
    for hook in hooks:
        hook.remove()
    return [found[name] for name in names]


@pytest.mark.parametrize("skip", ["gate", "gate_concat"])
def test_mhca_skip_replaces_the_skip_connection_or_joins_it(skip):
    model = make(mhca_skip=skip)
    fusion, mhca, decoder = watched(model, batch(model), "fusion", "mhca", "decoder")
    for level in range(5):
        fused, gated = fusion[level][1], mhca[level][1]
        expected = gated if skip == "gate" else torch.cat([gated, fused], 1)
        torch.testing.assert_close(decoder[level][0][0], expected, atol=0, rtol=0)
        assert mhca[level][0][0] is fused


@pytest.mark.parametrize("skip", ["gate", "gate_concat"])
def test_without_the_block_decoder_and_fused_feature_are_joined(skip):
    model = make(balancing=False, filtering=False, mhca_skip=skip)
    fusion, decoder = watched(model, batch(model), "fusion", "decoder")
    for level in range(4):
        expected = torch.cat([decoder[level + 1][1], fusion[level][1]], 1)
        torch.testing.assert_close(decoder[level][0][0], expected, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("options", "heads", "groups"),
    [({}, 5, 1), ({"heads": 1}, 1, 1), ({"head_axis": "channel_groups", "heads": 4}, 4, 4), ({"stage2": "bin"}, 5, 1)],
    ids=str,
)
def test_who_attends_to_whom(options, heads, groups):
    """Maps of every head: channels to channels, or with stage2=bin positions of the head to positions."""
    model = make(**options)
    for (c, f, t), maps in zip(SIZES, model.maps(*inputs(model, batch(model))), strict=True):
        tokens = c // groups
        assert maps.balance.shape == (5, heads, tokens, tokens)  # five slices of two utterances
        if options.get("stage2") == "bin":
            tokens = f * t // heads
        assert maps.filter.shape == (5, heads, tokens, tokens)
        for x in (maps.balance, maps.filter):
            torch.testing.assert_close(x.sum(2), torch.ones(5, heads, x.shape[3]))
        assert maps.gate.shape == (5, c, f, t) and 0 < maps.gate.min() and maps.gate.max() < 1


@pytest.mark.parametrize("ablation", [{}, {"balancing": False}, {"filtering": False}], ids=str)
@pytest.mark.parametrize("residual", [True, False])
def test_residual_lets_the_fused_feature_through_from_the_start(residual, ablation):
    """With alpha = beta = 0 the gate is the sigmoid of the transposed convolution of V, or of its bias alone."""
    model = make(residual=residual, **ablation)
    for name, p in model.mhca.named_parameters():
        if name.endswith(("alpha", "beta")):
            torch.nn.init.zeros_(p)
    (mhca,) = watched(model, batch(model), "mhca")
    for level, block in enumerate(model.mhca.values()):
        (fused, decoded, *_), out = mhca[level]
        with torch.no_grad():
            logit = block.gate(block.value(fused)) if residual else block.gate.bias[:, None, None]
        torch.testing.assert_close(out, decoded / (1 + torch.exp(-logit)), atol=1e-6, rtol=1e-5)


def test_scale_divides_the_logits_by_the_root_of_a_head_s_positions():
    model = make()
    literal = make(scale=False)
    literal.load_state_dict(model.state_dict())
    b = batch(model)
    pairs = zip(SIZES, *(m.maps(*inputs(m, b)) for m in (model, literal)), strict=True)
    for level, ((_, f, t), scaled, plain) in enumerate(pairs):
        logits = [maps.balance.log() - maps.balance.log()[:, :, :1] for maps in (scaled, plain)]
        near = plain.balance.amin(2, keepdim=True).expand_as(plain.balance) > 1e-6  # where none is rounded away
        assert near.any() or level == 0  # there sums of 80 products: one-hot, which is why they are scaled
        torch.testing.assert_close((logits[0] * (f * t / 5) ** 0.5)[near], logits[1][near], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("mode", ["sliced", "continuous"])
@pytest.mark.parametrize("layout", ["frames_as_channels", "framewise"])
def test_video_layout_says_which_columns_a_picture_reaches(layout, mode):
    """A change of the second picture of the second slice: in its own columns of that slice alone, or in all of them."""
    model = make(video_layout=layout, conv_mode=mode)
    b = batch(model, (15,))
    other = dict(b, crop80=b["crop80"].clone())
    other["crop80"][:, 6] = 255 - other["crop80"][:, 6]
    seen = [watched(model, x, "fusion")[0] for x in (b, other)]
    for level, (_, _, t) in enumerate(SIZES):
        one, two = (fusion[level][0][1] for fusion in seen)
        if mode == "sliced":  # slices side by side, as the other mode has them
            one, two = (x.permute(1, 2, 0, 3).flatten(2)[None] for x in (one, two))
        changed = (one != two)[0].any(0).any(0).nonzero().flatten().tolist()
        each = t // 5  # columns of a picture
        if layout == "framewise":
            assert changed == list(range(t + each, t + 2 * each))
            torch.testing.assert_close(one[..., ::each], one[..., each - 1 :: each], atol=0, rtol=0)
        else:
            assert changed == list(range(t, 2 * t))


@pytest.mark.parametrize("mode", ["sliced", "continuous"])
def test_conv_mode_says_whether_convolutions_cross_slices(mode):
    """The first convolution of sound, by hand: over each slice between zeros, or over the utterance."""
    model, found = make(conv_mode=mode), []
    b = batch(model, (15,))
    model.audio[0].conv.register_forward_hook(lambda m, x, y: found.append(y))
    model.estimate(*inputs(model, b))
    sound = 20 * b["noisy_mel"].clamp(min=1e-5).log10().mT[:, None]  # mean 0 and deviation 1 were never fitted
    pieces = sound.split(20 if mode == "sliced" else 60, 3)
    conv = model.audio[0].conv
    expected = torch.cat([conv2d(x, conv.weight, conv.bias, (2, 2), 2) for x in pieces])
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("both", [False, True])
def test_bidirectional_lets_the_end_reach_the_beginning(both):
    model = make(bidirectional=both)
    assert model.embedding.in_features == (32 if both else 16)
    b = batch(model, (15,))
    changed = dict(b, noisy_mel=b["noisy_mel"].clone())
    changed["noisy_mel"][:, 40:] *= 3  # the last of three slices
    moved = model.estimate(*inputs(model, changed)) - model.estimate(*inputs(model, b))
    assert moved[:, :40].any() == both and moved[:, 40:].any()


@pytest.mark.parametrize(
    "options",
    [
        {"heads": 1},
        {"head_axis": "channel_groups", "heads": 4},
        {"stage2": "bin"},
        {"residual": False},
        {"scale": False},
        {"conv_mode": "continuous"},
    ],
    ids=str,
)
def test_options_without_weights_of_their_own_change_the_estimate(options):
    model, other = make(), make(**options)
    other.load_state_dict(model.state_dict())
    b = batch(model)
    estimates = [m.estimate(*inputs(m, b)) for m in (model, other)]
    assert (estimates[0] - estimates[1]).abs().max() > 1e-4
