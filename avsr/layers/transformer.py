"""Transformer blocks as TM-seq2seq has them (Vaswani et al. 2017, normalised after each addition; Afouras et al. 2018).

Legend: b batch, h heads, q queries, t keys, d model width, c width of a head.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

Keys = tuple[Tensor, Tensor]  # keys and values (b, h, t, c)


class MultiHeadAttention(nn.Module):
    """Scaled dot products in `heads` parts of the width. Keys and values are made apart, so that they can be kept."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        if width % heads:
            raise ValueError(f"heads ({heads}) must divide the width ({width})")
        self.heads, self.dropout = heads, dropout
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def memory(self, x_btd: Tensor) -> Keys:
        """Of what is attended to."""
        return self._split(self.key(x_btd)), self._split(self.value(x_btd))

    def forward(self, x_bqd: Tensor, memory: Keys, mask: Tensor | None, causal: bool = False) -> Tensor:
        """`mask`: bool, broadcast to (b, h, q, t), True where a key may be seen (None: everywhere)."""
        dropout = self.dropout if self.training else 0.0
        query_bhqc = self._split(self.query(x_bqd))
        found_bhqc = scaled_dot_product_attention(query_bhqc, *memory, mask, dropout, is_causal=causal)
        return self.output(found_bhqc.transpose(1, 2).flatten(2))

    def weights(self, x_bqd: Tensor, memory: Keys, mask: Tensor | None) -> Tensor:
        """Attention weights (b, q, t), the mean over the heads."""
        scores_bhqt = self._split(self.query(x_bqd)) @ memory[0].mT / math.sqrt(x_bqd.shape[-1] // self.heads)
        if mask is not None:
            scores_bhqt = scores_bhqt.masked_fill(~mask, -torch.inf)
        return scores_bhqt.softmax(dim=-1).mean(dim=1)

    def _split(self, x_btd: Tensor) -> Tensor:
        return x_btd.unflatten(2, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Two linear layers with a ReLU between; `inputs` may be wider than the model."""

    def __init__(self, inputs: int, hidden: int, width: int, dropout: float):
        super().__init__(nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward layer, each with its residual connection and layer norm: (b, t, d)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, dropout)
        self.feed_forward = FeedForward(width, hidden, width, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_btd: Tensor, mask_b11t: Tensor) -> Tensor:
        found_btd = self.attention(x_btd, self.attention.memory(x_btd), mask_b11t)
        x_btd = self.norms[0](x_btd + self.dropout(found_btd))
        return self.norms[1](x_btd + self.dropout(self.feed_forward(x_btd)))


class Encoder(nn.Module):
    """`layers` encoder layers over inputs with positions added: (b, t, d)."""

    def __init__(self, layers: int, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(width, heads, hidden, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_btd: Tensor, mask_b11t: Tensor) -> Tensor:
        x_btd = self.dropout(x_btd + positions(x_btd.shape[1], x_btd.shape[2], x_btd))
        for layer in self.layers:
            x_btd = layer(x_btd, mask_b11t)
        return x_btd


class DecoderLayer(nn.Module):
    """Masked self-attention, attention to each modality's memory side by side, a feed-forward layer over both.

    With two modalities the feed-forward layer reads both context vectors together and adds to the self-attention's
    output; with one it is the usual layer (Afouras et al. 2018, figure 2; the details of two are those of
    docs/decisions.md).
    """

    def __init__(self, modalities: int, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, dropout)
        self.modalities = nn.ModuleList(MultiHeadAttention(width, heads, dropout) for _ in range(modalities))
        self.feed_forward = FeedForward(modalities * width, hidden, width, dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 + modalities))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x_bld: Tensor, past: Keys, memories: list[Keys], mask_b11t: Tensor, causal: bool, together: int = 1
    ) -> Tensor:
        """New x.

        `past`: keys and values of all tokens up to these. `together`: so many rows of x, hypotheses of one utterance,
        share a row of the memories.
        """
        q_bld = self.norms[0](x_bld + self.dropout(self.attention(x_bld, past, None, causal)))
        contexts = [self._context(number, q_bld, memory, mask_b11t, together) for number, memory in enumerate(memories)]
        rest_bld = contexts[0] if len(contexts) == 1 else q_bld
        return self.norms[-1](rest_bld + self.dropout(self.feed_forward(torch.cat(contexts, dim=-1))))

    def _context(self, number: int, q_bld: Tensor, memory: Keys, mask_b11t: Tensor, together: int) -> Tensor:
        rows_bld = q_bld
        if together > 1:  # the hypotheses of an utterance, one token each, ask as the tokens of one text do
            rows_bld = q_bld.unflatten(0, (-1, together)).squeeze(2)
        found_bld = self.modalities[number](rows_bld, memory, mask_b11t).view(q_bld.shape)
        return self.norms[1 + number](q_bld + self.dropout(found_bld))


def positions(count: int, width: int, like: Tensor, first: int = 0) -> Tensor:
    """Sinusoidal positions (count, width) from `first` on: sines in the even places, cosines in the odd ones."""
    rates = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10_000.0) / width))
    angles = torch.arange(first, first + count, device=like.device).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).to(like.dtype)
