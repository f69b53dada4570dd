"""Beam search over sums of log-probabilities, no language model (AE-MSR section 5.1).

The paper's code ranks by the sum alone (`length_penalty` 0), which favours short texts: a network that is not sure of
its characters loses whole words. A length penalty of 1 ranks by the mean of a text's log-probabilities.

Legend: b utterances still running, w beam, n = b * w hypotheses, v classes, l tokens written.
"""

import torch
from torch import Tensor

from avsr.decoding.greedy import forbid_specials, greedy, step_limits
from avsr.text import BOS, EOS


def decode(model, memory, frames_b: Tensor, beam: int = 30, length_penalty: float = 0.0) -> list[list[int]]:
    """Token ids (without EOS) of each utterance of an encoded batch; beam 1 is greedy.

    Texts are ranked by the sum of their log-probabilities over (their tokens, EOS counted) ** length_penalty.

    `model` has start, step and select as recognisers do and should be in evaluation mode; `frames_b` are video frames.
    """
    if beam == 1:
        return greedy(model, memory, frames_b)
    return beam_search(model, memory, frames_b, beam, length_penalty)


@torch.no_grad()
def beam_search(model, memory, frames_b: Tensor, beam: int, length_penalty: float = 0.0) -> list[list[int]]:
    """The same for any beam. A finished hypothesis keeps its place in the beam while nothing better displaces it."""
    batch, device = len(frames_b), frames_b.device
    state = model.select(model.start(memory), torch.arange(batch, device=device).repeat_interleave(beam))
    scores_bw = torch.full((batch, beam), -torch.inf, device=device)
    scores_bw[:, 0] = 0.0
    done_bw = torch.zeros((batch, beam), dtype=torch.bool, device=device)
    tokens_bw = torch.full((batch, beam), BOS, device=device)
    texts_bwl = tokens_bw.new_empty((batch, beam, 0))
    norms_bw = torch.ones_like(scores_bw)  # what a sum is divided by: of a finished text that of its own length
    limits_b, utterance_b = step_limits(frames_b), torch.arange(batch, device=device)
    results: list[list[int]] = [[] for _ in range(batch)]
    for step in range(1, int(limits_b.max()) + 1):
        log_probs_nv, state = model.step(tokens_bw.flatten(), state)
        norms_bw = norms_bw.masked_fill(~done_bw, step**length_penalty)
        scores_bw, parents_bw, tokens_bw = _extend(log_probs_nv, scores_bw, done_bw, norms_bw)
        texts_bwl = texts_bwl.gather(1, parents_bw.unsqueeze(2).expand(-1, -1, step - 1))
        texts_bwl = torch.cat([texts_bwl, tokens_bw.unsqueeze(2)], dim=2)
        norms_bw = norms_bw.gather(1, parents_bw)
        done_bw = done_bw.gather(1, parents_bw) | (tokens_bw == EOS)
        rows_bw = torch.arange(len(limits_b), device=device).unsqueeze(1) * beam + parents_bw
        over_b = _settled(scores_bw, norms_bw, done_bw, limits_b**length_penalty) | (limits_b == step)
        for row in over_b.nonzero().squeeze(1).tolist():
            results[utterance_b[row]] = _best(texts_bwl[row], scores_bw[row] / norms_bw[row], done_bw[row])
        if over_b.all():
            break
        if over_b.any():
            running = ~over_b
            scores_bw, tokens_bw, done_bw, texts_bwl = (x[running] for x in (scores_bw, tokens_bw, done_bw, texts_bwl))
            limits_b, utterance_b, rows_bw, norms_bw = (x[running] for x in (limits_b, utterance_b, rows_bw, norms_bw))
        state = model.select(state, rows_bw.flatten())
    return results


def _extend(
    log_probs_nv: Tensor, scores_bw: Tensor, done_bw: Tensor, norms_bw: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The best w continuations: sums, the hypothesis each comes from, its new token. Finished ones add EOS freely."""
    classes = log_probs_nv.shape[1]
    log_probs_bwv = forbid_specials(log_probs_nv).unflatten(0, scores_bw.shape)
    only_eos_v = torch.full((classes,), -torch.inf, device=scores_bw.device, dtype=log_probs_bwv.dtype)
    only_eos_v[EOS] = 0.0
    log_probs_bwv = torch.where(done_bw.unsqueeze(2), only_eos_v, log_probs_bwv)
    sums_bwv = scores_bw.unsqueeze(2) + log_probs_bwv
    index_bw = (sums_bwv / norms_bw.unsqueeze(2)).flatten(1).topk(scores_bw.shape[1]).indices
    return sums_bwv.flatten(1).gather(1, index_bw), index_bw // classes, index_bw % classes


def _settled(scores_bw: Tensor, norms_bw: Tensor, done_bw: Tensor, longest_b: Tensor) -> Tensor:
    """Whether a finished hypothesis leads that nothing can overtake: sums only fall, and are divided by `longest_b` at
    most."""
    hope_b = scores_bw.masked_fill(done_bw, -torch.inf).amax(dim=1) / longest_b
    return done_bw[:, 0] & (scores_bw[:, 0] / norms_bw[:, 0] >= hope_b)


def _best(texts_wl: Tensor, ranks_w: Tensor, done_w: Tensor) -> list[int]:
    """The best finished hypothesis, or the best of all where none is; up to its EOS."""
    finished_w = ranks_w.masked_fill(~done_w, -torch.inf)
    best = finished_w.argmax() if finished_w.max() > -torch.inf else ranks_w.argmax()
    return [token for token in texts_wl[best].tolist() if token != EOS]
