"""Luong attention against its equations for one query at a time."""

import pytest
import torch

from avsr.layers.attention import LuongAttention, StackedEmbedding


@pytest.mark.parametrize(("scaled", "divisor"), [(False, 1.0), (True, 2.0)])
def test_is_a_softmax_of_dot_products_over_the_real_frames(scaled, divisor):
    torch.manual_seed(1)
    attention = LuongAttention(stack=2, memory=6, units=4, scaled=scaled).double()
    memory = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    query = torch.randn(2, 3 * 2, 4, dtype=torch.float64)  # two hypotheses of each of three utterances
    lengths = [5, 2, 1]
    penalty = torch.zeros(3, 5, dtype=torch.float64)
    for row, length in enumerate(lengths):
        penalty[row, length:] = -torch.inf
    out, weights = attention(query, attention.keys(memory), penalty)
    for k in range(2):
        for n in range(6):
            b = n // 2
            keys = memory[k, b, : lengths[b]] @ attention.memory.weight[k].T
            alpha = torch.softmax(keys @ query[k, n] / divisor, dim=0)
            expected = torch.tanh(attention.combine.weight[k] @ torch.cat([query[k, n], alpha @ keys]))
            torch.testing.assert_close(out[k, n], expected)
            torch.testing.assert_close(weights[k, b, n % 2, : lengths[b]], alpha)
            assert (weights[k, b, n % 2, lengths[b] :] == 0).all()


def test_stacked_embedding_reads_each_table_and_learns_only_what_was_read():
    embedding = StackedEmbedding(stack=2, classes=5, width=3).double()
    tokens = torch.tensor([[4, 0], [4, 2]])
    out = embedding(tokens)
    assert out.shape == (2, 2, 2, 3)
    for k, row, column in ((0, 0, 0), (1, 0, 1), (1, 1, 1)):
        assert torch.equal(out[k, row, column], embedding.weight[k, tokens[row, column]])
    out[1].sum().backward()
    read = torch.tensor([1.0, 0.0, 1.0, 0.0, 2.0], dtype=torch.float64)  # how often each token of the second table
    assert torch.equal(embedding.weight.grad[1], read.unsqueeze(1).expand(5, 3))
    assert (embedding.weight.grad[0] == 0).all()
