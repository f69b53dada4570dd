"""The 2-stage block against its equations in float64 loops, and the literal form's dead point."""

import itertools
import math

import pytest
import torch

from avsr.errors import UsageError
from avsr.layers.mhca import MHCAConf, TwoStageMHCA, attend


def make(channels=10, **options):
    torch.manual_seed(0)
    block = TwoStageMHCA(channels, MHCAConf(**options)).double().eval()
    # trained-looking values: the block must not sit at its special starting point
    with torch.no_grad():
        for name, p in block.named_parameters():
            if name in ("alpha", "beta") and p == 0 and options.get("residual", True):
                p.fill_(0.7)
    return block


def features(channels=10, bins=10, t=3, n=2):
    torch.manual_seed(1)
    return torch.randn(n, channels, bins, t).double(), torch.randn(n, channels, bins, t).double()


def loop_attention(q, v, scale):
    """q, v: (tokens, d) float64. out_j = sum_i softmax_i(q_i . v_j) v_i, written out."""
    tokens, d = q.shape
    out = torch.zeros_like(v)
    for j in range(tokens):
        logits = [float(q[i] @ v[j]) / (math.sqrt(d) if scale else 1) for i in range(tokens)]
        top = max(logits)
        weights = [math.exp(x - top) for x in logits]
        for i in range(tokens):
            out[j] += weights[i] / sum(weights) * v[i]
    return out


@pytest.mark.parametrize("scale", [True, False])
def test_one_head_is_the_corrected_equations(scale):
    block = make(heads=1, scale=scale)
    fused, decoded = features()
    key, value, query = (m(x).flatten(2) for m, x in ((block.key, fused), (block.value, fused), (block.query, decoded)))
    norm = math.sqrt(key.shape[2]) if scale else 1
    x_nij = torch.einsum("nip,njp->nij", key, value).div(norm).softmax(1)
    g = block.alpha * torch.einsum("nij,nip->njp", x_nij, value) + value
    y_nij = torch.einsum("nip,njp->nij", query, g).div(norm).softmax(1)
    result = block.beta * torch.einsum("nij,nip->njp", y_nij, g) + g
    expected = decoded * torch.sigmoid(block.gate(result.view_as(fused)))
    # the map itself is rounded to float32 on its way
    torch.testing.assert_close(block(fused, decoded), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("scale", [True, False])
def test_attention_is_a_loop(scale):
    q, v = torch.randn(6, 4).double(), torch.randn(6, 4).double()
    out, weights = attend(q, v, scale)
    torch.testing.assert_close(out, loop_attention(q, v, scale), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(weights.sum(0), torch.ones(6).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("axis", "heads"), [("frequency", 5), ("channel_groups", 2)])
@pytest.mark.parametrize("stage2", ["channel", "bin"])
def test_heads_are_blocks_of_their_axis(axis, heads, stage2):
    """Each head is the one-head loop on its own part of the map: a fifth of the bins, or a group of channels."""
    block = make(heads=heads, head_axis=axis, stage2=stage2)
    fused, decoded = features(n=1)
    with torch.no_grad():
        key, value, query = block.key(fused)[0], block.value(fused)[0], block.query(decoded)[0]
        result = torch.zeros_like(value)
        dim = 1 if axis == "frequency" else 0
        for k, v, q, r in zip(*(x.chunk(heads, dim) for x in (key, value, query, result)), strict=True):
            flat = [x.reshape(len(x), -1) for x in (k, v, q)]
            g = block.alpha * loop_attention(flat[0], flat[1], True) + flat[1]
            if stage2 == "channel":
                out = block.beta * loop_attention(flat[2], g, True) + g
            else:
                out = block.beta * loop_attention(flat[2].T, g.T, True).T + g
            r.copy_(out.view_as(r))
        expected = decoded * torch.sigmoid(block.gate(result[None]))
        torch.testing.assert_close(block(fused, decoded), expected, atol=1e-6, rtol=1e-5)


def test_attention_stays_within_a_slice():
    """Three slices along t, the maps of each equal those of the slice alone."""
    block = make()
    fused, decoded = features(t=9)
    with torch.no_grad():
        maps = block.maps(fused, decoded, slices=3)
        key, value = block.key(fused), block.value(fused)
        for s in range(3):
            part = slice(3 * s, 3 * s + 3)
            # head 0 of slice s, by hand from the maps of the convolutions
            k, v = key[0, :, :2, part].flatten(1), value[0, :, :2, part].flatten(1)
            expected = (k @ v.T / math.sqrt(6)).softmax(0)
            torch.testing.assert_close(maps.balance[s, 0], expected, atol=1e-6, rtol=1e-5)


def test_literal_form_is_a_dead_point():
    """alpha = beta = 0 without the residual: every gradient but the last bias is exactly zero, for ever."""
    block = TwoStageMHCA(10, MHCAConf(residual=False, heads=1, scale=False))
    fused, decoded = (x.float().requires_grad_() for x in features())
    optimiser = torch.optim.Adam(block.parameters(), 1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        block(fused, decoded).square().sum().backward()
        for name, p in block.named_parameters():
            if name == "gate.bias":
                assert p.grad.abs().min() > 0
            else:
                assert not p.grad.any(), name
        optimiser.step()
    assert not fused.grad.any()  # the fused feature cannot reach the decoder
    assert block.alpha == 0 and block.beta == 0


def test_residual_form_learns():
    block = TwoStageMHCA(10, MHCAConf())
    fused, decoded = (x.float() for x in features())
    optimiser = torch.optim.SGD(block.parameters(), 1e-2)
    for _ in range(2):  # alpha and beta leave zero in the first step, keys and queries follow in the second
        optimiser.zero_grad()
        block(fused, decoded).square().sum().backward()
        optimiser.step()
    dead = [name for name, p in block.named_parameters() if not p.grad.any() and not name.endswith("conv.bias")]
    assert not dead  # (a convolution's bias before batch norm has no gradient in any network)


def test_gate_lies_between_zero_and_one_and_starts_mostly_open():
    block = TwoStageMHCA(10, MHCAConf())
    fused, decoded = (x.float() for x in features(n=8))
    gate = block.maps(fused, decoded).gate
    assert 0 < gate.min() and gate.max() < 1
    assert abs(gate.mean() - torch.sigmoid(torch.tensor(1.0))) < 0.05


def test_every_combination_of_options_gives_the_shape_of_the_decoder_feature():
    fused, decoded = (x.float() for x in features())
    count = 0
    for axis, stage2, residual, scale, balancing, filtering in itertools.product(
        ("frequency", "channel_groups"), ("channel", "bin"), *[(True, False)] * 4
    ):
        conf = MHCAConf(5, axis, stage2, residual, scale, 0.1, 0.1, balancing, filtering)
        out = TwoStageMHCA(10, conf)(fused, decoded)
        assert out.shape == decoded.shape and torch.isfinite(out).all()
        count += 1
    assert count == 64


@pytest.mark.parametrize(("axis", "channels", "bins"), [("frequency", 10, 8), ("channel_groups", 8, 10)])
def test_heads_that_do_not_divide(axis, channels, bins):
    fused = torch.randn(1, channels, bins, 2)
    with pytest.raises(UsageError, match="5 does not divide 8"):
        TwoStageMHCA(channels, MHCAConf(head_axis=axis))(fused, fused)
