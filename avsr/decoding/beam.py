"""Beam search over sums of log-probabilities, no length penalty, no language model (AE-MSR section 5.1).

Legend: b utterances still running, w beam, n = b * w hypotheses, v classes, l tokens written.
"""

import torch
from torch import Tensor

from avsr.decoding.greedy import forbid_specials, greedy, step_limits
from avsr.text import BOS, EOS


def decode(model, memory, frames_b: Tensor, beam: int = 30) -> list[list[int]]:
    """Token ids (without EOS) of each utterance of an encoded batch; beam 1 is greedy.

    `model` has start, step and select as recognisers do and should be in evaluation mode; `frames_b` are video frames.
    """
    return greedy(model, memory, frames_b) if beam == 1 else beam_search(model, memory, frames_b, beam)


@torch.no_grad()
def beam_search(model, memory, frames_b: Tensor, beam: int) -> list[list[int]]:
    """The same for any beam. A finished hypothesis keeps its place in the beam while nothing better displaces it."""
    batch, device = len(frames_b), frames_b.device
    state = model.select(model.start(memory), torch.arange(batch, device=device).repeat_interleave(beam))
    scores_bw = torch.full((batch, beam), -torch.inf, device=device)
    scores_bw[:, 0] = 0.0
    done_bw = torch.zeros((batch, beam), dtype=torch.bool, device=device)
    tokens_bw = torch.full((batch, beam), BOS, device=device)
    texts_bwl = tokens_bw.new_empty((batch, beam, 0))
    limits_b, utterance_b = step_limits(frames_b), torch.arange(batch, device=device)
    results: list[list[int]] = [[] for _ in range(batch)]
    for step in range(1, int(limits_b.max()) + 1):
        log_probs_nv, state = model.step(tokens_bw.flatten(), state)
        scores_bw, parents_bw, tokens_bw = _extend(log_probs_nv, scores_bw, done_bw)
        texts_bwl = texts_bwl.gather(1, parents_bw.unsqueeze(2).expand(-1, -1, step - 1))
        texts_bwl = torch.cat([texts_bwl, tokens_bw.unsqueeze(2)], dim=2)
        done_bw = done_bw.gather(1, parents_bw) | (tokens_bw == EOS)
        rows_bw = torch.arange(len(limits_b), device=device).unsqueeze(1) * beam + parents_bw
        # Scores only fall, so nothing can overtake a finished hypothesis that leads.
        over_b = done_bw[:, 0] | (limits_b == step)
        for row in over_b.nonzero().squeeze(1).tolist():
            results[utterance_b[row]] = _best(texts_bwl[row], scores_bw[row], done_bw[row])
        if over_b.all():
            break
        if over_b.any():
            running = ~over_b
            scores_bw, tokens_bw, done_bw, texts_bwl = (x[running] for x in (scores_bw, tokens_bw, done_bw, texts_bwl))
            limits_b, utterance_b, rows_bw = limits_b[running], utterance_b[running], rows_bw[running]
        state = model.select(state, rows_bw.flatten())
    return results


def _extend(log_probs_nv: Tensor, scores_bw: Tensor, done_bw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best w continuations: scores, the hypothesis each comes from, its new token. Finished ones add EOS freely."""
    classes = log_probs_nv.shape[1]
    log_probs_bwv = forbid_specials(log_probs_nv).unflatten(0, scores_bw.shape)
    only_eos_v = torch.full((classes,), -torch.inf, device=scores_bw.device, dtype=log_probs_bwv.dtype)
    only_eos_v[EOS] = 0.0
    log_probs_bwv = torch.where(done_bw.unsqueeze(2), only_eos_v, log_probs_bwv)
    scores_bw, index_bw = (scores_bw.unsqueeze(2) + log_probs_bwv).flatten(1).topk(scores_bw.shape[1])
    return scores_bw, index_bw // classes, index_bw % classes


def _best(texts_wl: Tensor, scores_w: Tensor, done_w: Tensor) -> list[int]:
    """The best finished hypothesis, or the best of all where none is; up to its EOS."""
    finished_w = scores_w.masked_fill(~done_w, -torch.inf)
    best = finished_w.argmax() if finished_w.max() > -torch.inf else scores_w.argmax()
    return [token for token in texts_wl[best].tolist() if token != EOS]
