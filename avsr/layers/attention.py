"""Luong's dot-product attention over a projected memory, for several decoders stacked on a dimension k.

Legend: k stacked decoders, b utterance, j hypotheses of one utterance, t memory frame, e memory width, u units.
"""

import torch
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """`stack` linear layers side by side: (k, n, in) -> (k, n, out)."""

    def __init__(self, stack: int, inputs: int, outputs: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(stack, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(stack, 1, outputs)) if bias else None
        for weight in self.weight.detach():
            nn.init.xavier_uniform_(weight)

    def forward(self, x_kni: Tensor) -> Tensor:
        if self.bias is None:
            return torch.bmm(x_kni, self.weight.mT)
        return torch.baddbmm(self.bias, x_kni, self.weight.mT)


class StackedEmbedding(nn.Module):
    """`stack` tables of character vectors: tokens (...) -> (k, ..., width)."""

    def __init__(self, stack: int, classes: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(stack, classes, width))
        nn.init.uniform_(self.weight, -1.0, 1.0)

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.stack([nn.functional.embedding(tokens, table) for table in self.weight])


class LuongAttention(nn.Module):
    """Scores are the dot products of the query with the memory projected to its width, without bias.

    `scaled` divides them by the square root of that width: attention then starts out wide, and is learnt from few
    utterances. Luong et al. do not. The attended vector is tanh(W [query; context]), Luong et al. 2015, eq. 5.
    """

    def __init__(self, stack: int, memory: int, units: int, scaled: bool = False):
        super().__init__()
        self.scale = units**-0.5 if scaled else 1.0
        self.memory = StackedLinear(stack, memory, units, bias=False)
        self.combine = StackedLinear(stack, 2 * units, units, bias=False)

    def keys(self, memory_kbte: Tensor) -> Tensor:
        """(k, b, t, e) -> (k, b, t, u); once an utterance."""
        return self.memory(memory_kbte.flatten(1, 2)).unflatten(1, memory_kbte.shape[1:3])

    def forward(self, query_knu: Tensor, keys_kbtu: Tensor, penalty_bt: Tensor) -> tuple[Tensor, Tensor]:
        """Attended vectors (k, n, u) and weights (k, b, j, t).

        The n = b * j queries have the rows of an utterance together; the penalty is added to the scores (0, or minus
        infinity at padding).
        """
        stack, batch = keys_kbtu.shape[:2]
        query_mju = query_knu.reshape(stack * batch, -1, query_knu.shape[-1])
        keys_mtu = keys_kbtu.flatten(0, 1)
        scores_mjt = self.scale * torch.bmm(query_mju, keys_mtu.mT).unflatten(0, (stack, batch)) + penalty_bt[:, None]
        weights_kbjt = torch.softmax(scores_mjt, dim=-1)
        context_knu = torch.bmm(weights_kbjt.flatten(0, 1), keys_mtu).reshape(query_knu.shape)
        return torch.tanh(self.combine(torch.cat([query_knu, context_knu], dim=-1))), weights_kbjt
