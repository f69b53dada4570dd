"""Beam search against exhaustive search, greedy search, and itself on other batches."""

from itertools import product
from typing import NamedTuple

import pytest
import torch

from avsr.decoding import beam as beam_module
from avsr.decoding.beam import beam_search, decode
from avsr.decoding.greedy import greedy, step_limits
from avsr.rng import rng
from avsr.text import BOS, EOS

NAMES = [f"utt{number}" for number in range(12)]


class ToyState(NamedTuple):
    names: list[str]
    history: list[tuple[int, ...]]


class ToyModel:
    """A recogniser whose log-probabilities are a fixed random function of the utterance and all tokens so far.

    `memory` is a list of utterance names; every call answers for each hypothesis by itself."""

    def __init__(self, classes: int, eos_bonus: float = 0.0):
        self.classes, self.eos_bonus = classes, eos_bonus

    def log_probs(self, name: str, history: tuple[int, ...]) -> torch.Tensor:
        scores = torch.from_numpy(rng("toy", name, history).normal(size=self.classes) * 1.5)
        scores[1] += self.eos_bonus
        return scores.log_softmax(0).float()

    def start(self, memory: list[str]) -> ToyState:
        return ToyState(list(memory), [()] * len(memory))

    def step(self, tokens_n: torch.Tensor, state: ToyState) -> tuple[torch.Tensor, ToyState]:
        history = [past + (int(token),) for past, token in zip(state.history, tokens_n, strict=True)]
        rows = [self.log_probs(name, past) for name, past in zip(state.names, history, strict=True)]
        return torch.stack(rows), ToyState(state.names, history)

    def select(self, state: ToyState, index_n: torch.Tensor) -> ToyState:
        index = index_n.tolist()
        return ToyState([state.names[i] for i in index], [state.history[i] for i in index])


def best_by_trying_all(model: ToyModel, name: str, longest: int, length_penalty: float = 0.0) -> list[int]:
    """The likeliest of all texts that end within `longest` tokens, EOS counted."""
    best, best_score = None, -float("inf")
    for length in range(longest):
        for text in product(range(3, model.classes), repeat=length):
            score, history = 0.0, (BOS,)
            for token in (*text, EOS):
                score += float(model.log_probs(name, history)[token])
                history += (token,)
            score /= (length + 1) ** length_penalty
            if score > best_score:
                best, best_score = list(text), score
    return best


@pytest.mark.parametrize("eos_bonus", [0.0, -2.0])
def test_a_wide_beam_finds_what_exhaustive_search_finds(monkeypatch, eos_bonus):
    monkeypatch.setattr(beam_module, "step_limits", lambda frames_b: torch.full_like(frames_b, 4))
    model = ToyModel(classes=6, eos_bonus=eos_bonus)
    found = beam_search(model, NAMES, torch.full((12,), 50), beam=60)
    expected = [best_by_trying_all(model, name, 4) for name in NAMES]
    assert found == expected
    assert len({len(text) for text in expected}) > 1  # the case is not trivial


@pytest.mark.parametrize("length_penalty", [0.5, 1.0])
def test_a_length_penalty_ranks_by_the_mean_as_exhaustive_search_does(monkeypatch, length_penalty):
    monkeypatch.setattr(beam_module, "step_limits", lambda frames_b: torch.full_like(frames_b, 4))
    model, frames = ToyModel(classes=6), torch.full((12,), 50)
    found = beam_search(model, NAMES, frames, beam=150, length_penalty=length_penalty)
    expected = [best_by_trying_all(model, name, 4, length_penalty) for name in NAMES]
    assert found == expected
    by_sum = beam_search(model, NAMES, frames, beam=60)
    assert sum(map(len, found)) > sum(map(len, by_sum))  # the case is not trivial


def test_the_search_goes_on_while_a_longer_text_may_still_win():
    """At step 1 the end leads (-0.7 a token), and the text of five certain tokens wins in the end (-0.9 / 6)."""

    class Patient(ToyModel):
        def log_probs(self, name, history):
            scores = torch.full((5,), -50.0)
            if len(history) == 1:
                scores[EOS], scores[3], scores[4] = -0.7, -0.9, -2.0
            else:
                scores[3 if len(history) < 6 else EOS] = 0.0
            return scores

    frames = torch.tensor([20])
    assert decode(Patient(5), NAMES[:1], frames, beam=3, length_penalty=1.0) == [[3] * 5]
    assert decode(Patient(5), NAMES[:1], frames, beam=3) == [[]]


@pytest.mark.parametrize("eos_bonus", [0.0, 1.0, -8.0])
def test_beam_1_is_greedy(eos_bonus):
    model, frames = ToyModel(classes=9, eos_bonus=eos_bonus), torch.arange(12) + 1
    expected = greedy(model, NAMES, frames)
    assert beam_search(model, NAMES, frames, beam=1) == decode(model, NAMES, frames, beam=1) == expected
    assert len({len(text) for text in expected}) > 1


def test_a_wider_beam_differs_from_greedy_here():
    model, frames = ToyModel(classes=9), torch.full((12,), 20)
    assert decode(model, NAMES, frames, beam=8) != decode(model, NAMES, frames, beam=1)


def test_results_do_not_depend_on_the_batch():
    model, frames = ToyModel(classes=9, eos_bonus=-1.0), torch.arange(12) + 1
    together = decode(model, NAMES, frames, beam=4)
    apart = [decode(model, [name], frames[i : i + 1], beam=4)[0] for i, name in enumerate(NAMES)]
    backwards = decode(model, NAMES[::-1], frames.flip(0), beam=4)[::-1]
    assert together == apart == backwards


@pytest.mark.parametrize("beam", [1, 5])
def test_a_text_that_never_ends_is_cut_at_the_limit(beam):
    model = ToyModel(classes=9, eos_bonus=-1e4)
    assert [len(text) for text in decode(model, NAMES[:3], torch.tensor([1, 7, 400]), beam)] == [11, 17, 300]


def test_limit_is_a_token_a_frame_and_ten_more_up_to_300():
    assert step_limits(torch.tensor([1, 75, 289, 290, 291, 1000])).tolist() == [11, 85, 299, 300, 300, 300]


@pytest.mark.parametrize("beam", [1, 3])
def test_pad_and_bos_are_never_written(beam):
    class LovesPad(ToyModel):
        def log_probs(self, name, history):
            scores = super().log_probs(name, history)
            scores[0], scores[BOS] = 0.0, -0.01
            return scores

    texts = decode(LovesPad(classes=9), NAMES, torch.full((12,), 20), beam)
    assert all(3 <= token < 9 for text in texts for token in text)
