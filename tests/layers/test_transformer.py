"""Transformer blocks against those of torch."""

import pytest
import torch
from torch import nn

from avsr.layers.transformer import DecoderLayer, Encoder, EncoderLayer, MultiHeadAttention, positions

WIDTH, HEADS, HIDDEN = 24, 3, 40
LENGTHS = [5, 3]


def copy_attention(own: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    """The weights of torch's attention, whose projections lie in one matrix."""
    for layer, weight, bias in zip(
        (own.query, own.key, own.value), theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3), strict=True
    ):
        layer.weight.data.copy_(weight)
        layer.bias.data.copy_(bias)
    own.output.load_state_dict(theirs.out_proj.state_dict())


def copy_layer(own: EncoderLayer | DecoderLayer, theirs: nn.Module, norms: list[nn.Module]) -> None:
    copy_attention(own.attention, theirs.self_attn)
    own.feed_forward[0].load_state_dict(theirs.linear1.state_dict())
    own.feed_forward[3].load_state_dict(theirs.linear2.state_dict())
    for norm, of_torch in zip(own.norms, norms, strict=True):
        norm.load_state_dict(of_torch.state_dict())


@pytest.fixture
def scattered():
    """Weights that start at 0 or 1 are moved, so that a swapped one is seen."""

    def scatter(module: nn.Module) -> nn.Module:
        torch.manual_seed(0)
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3)
        return module.double().eval()

    return scatter


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    x = torch.randn(2, 5, WIDTH, dtype=torch.float64)
    return x, torch.arange(5) < torch.tensor(LENGTHS)[:, None]


def test_attention_and_its_weights_are_torch_s(scattered):
    theirs = scattered(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True))
    own = MultiHeadAttention(WIDTH, HEADS, 0.1).double().eval()
    copy_attention(own, theirs)
    x, real = inputs()
    query = torch.randn(2, 4, WIDTH, dtype=torch.float64)
    expected, weights = theirs(query, x, x, key_padding_mask=~real)
    mask = real[:, None, None]
    torch.testing.assert_close(own(query, own.memory(x), mask), expected)
    torch.testing.assert_close(own.weights(query, own.memory(x), mask), weights)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"heads \(5\) must divide the width \(24\)"):
        MultiHeadAttention(24, 5, 0.1)


def test_encoder_layer_is_torch_s(scattered):
    theirs = scattered(nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, batch_first=True))
    own = EncoderLayer(WIDTH, HEADS, HIDDEN, 0.1).double().eval()
    copy_layer(own, theirs, [theirs.norm1, theirs.norm2])
    x, real = inputs()
    with torch.no_grad():
        expected = theirs.train(False)(x, src_key_padding_mask=~real)
        found = own(x, real[:, None, None])
    torch.testing.assert_close(found[real], expected[real])


@pytest.mark.parametrize("together", [1, 2])
def test_decoder_layer_of_one_modality_is_torch_s_in_a_whole_and_step_by_step(scattered, together):
    theirs = scattered(nn.TransformerDecoderLayer(WIDTH, HEADS, HIDDEN, batch_first=True))
    own = DecoderLayer(1, WIDTH, HEADS, HIDDEN, 0.1).double().eval()
    copy_layer(own, theirs, [theirs.norm1, theirs.norm2, theirs.norm3])
    copy_attention(own.modalities[0], theirs.multihead_attn)
    memory, real = inputs()
    y = torch.randn(2 * together, 4, WIDTH, dtype=torch.float64)
    future = nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
    rows = torch.arange(2).repeat_interleave(together)
    with torch.no_grad():
        expected = theirs(y, memory[rows], future, memory_key_padding_mask=~real[rows])
        keys = [own.modalities[0].memory(memory)]
        past = own.attention.memory(y)
        steps = [
            own(y[:, i : i + 1], tuple(x[:, :, : i + 1] for x in past), keys, real[:, None, None], False, together)
            for i in range(4)
        ]
        torch.testing.assert_close(torch.cat(steps, dim=1), expected)
        if together == 1:
            torch.testing.assert_close(own(y, past, keys, real[:, None, None], True), expected)


def test_decoder_layer_of_two_modalities_by_its_equations(scattered):
    own = scattered(DecoderLayer(2, WIDTH, HEADS, HIDDEN, 0.1))
    memory, real = inputs()
    y = torch.randn(2, 1, WIDTH, dtype=torch.float64)
    memories = [own.modalities[m].memory(x) for m, x in enumerate((memory, 2 * memory))]
    mask = real[:, None, None]
    with torch.no_grad():
        found = own(y, own.attention.memory(y), memories, mask, causal=False)
        q = own.norms[0](y + own.attention(y, own.attention.memory(y), None))
        contexts = [own.norms[1 + m](q + own.modalities[m](q, memories[m], mask)) for m in range(2)]
        wide = torch.cat(contexts, dim=-1)
        hidden = (wide @ own.feed_forward[0].weight.T + own.feed_forward[0].bias).relu()
        expected = own.norms[3](q + hidden @ own.feed_forward[3].weight.T + own.feed_forward[3].bias)
    torch.testing.assert_close(found, expected)


def test_positions_are_sines_and_cosines_of_slower_and_slower_rates():
    found = positions(4, 6, torch.zeros(1, dtype=torch.float64), first=2)
    for row, place in enumerate(range(2, 6)):
        for pair in range(3):
            angle = torch.tensor(place / 10_000 ** (2 * pair / 6), dtype=torch.float64)
            torch.testing.assert_close(found[row, 2 * pair], angle.sin(), rtol=0, atol=1e-6)
            torch.testing.assert_close(found[row, 2 * pair + 1], angle.cos(), rtol=0, atol=1e-6)


def test_encoder_adds_positions_before_its_layers(scattered):
    own = scattered(Encoder(2, WIDTH, HEADS, HIDDEN, 0.1))
    x, real = inputs()
    with torch.no_grad():
        expected = x + positions(5, WIDTH, x)
        for layer in own.layers:
            expected = layer(expected, real[:, None, None])
        torch.testing.assert_close(own(x, real[:, None, None]), expected)
