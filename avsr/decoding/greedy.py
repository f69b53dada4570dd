"""Greedy decoding, and how long an output may become."""

import torch
from torch import Tensor

from avsr.text import BOS, EOS, PAD


def step_limits(frames_b: Tensor) -> Tensor:
    """The most tokens of an utterance: one for each video frame (25 a second) and ten more, at most 300.

    The authors' code allows twice the reference's length, which is not known at test time.
    """
    return (frames_b + 10).clamp(max=300)


def forbid_specials(log_probs_nv: Tensor) -> Tensor:
    """PAD and BOS are never written."""
    log_probs_nv = log_probs_nv.clone()
    log_probs_nv[:, [PAD, BOS]] = -torch.inf
    return log_probs_nv


@torch.no_grad()
def greedy(model, memory, frames_b: Tensor) -> list[list[int]]:
    """The likeliest token at every step, for all utterances at once: token ids without EOS."""
    state = model.start(memory)
    tokens_b = torch.full_like(frames_b, BOS)
    limits_b, running_b = step_limits(frames_b), torch.ones_like(frames_b, dtype=torch.bool)
    steps = []
    for step in range(int(limits_b.max())):
        log_probs_bv, state = model.step(tokens_b, state)
        tokens_b = forbid_specials(log_probs_bv).argmax(dim=1)
        running_b = running_b & (tokens_b != EOS) & (step < limits_b)
        if not running_b.any():
            break
        steps.append(torch.where(running_b, tokens_b, PAD))
    rows = torch.stack(steps, dim=1).tolist() if steps else [[] for _ in limits_b]
    return [[token for token in row if token != PAD] for row in rows]
