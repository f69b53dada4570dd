"""Both recognisers, writing characters and pieces: beam 1 is greedy search, and neither depends on the batch."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch

from avsr.decoding.beam import beam_search, decode
from avsr.decoding.greedy import greedy, step_limits
from avsr.models.recognition.eg_seq2seq import EgConf, EgSeq2Seq
from avsr.models.recognition.seq2seq import Seq2Seq
from avsr.models.recognition.tm_seq2seq import TmConf, TmSeq2Seq
from avsr.pieces import UNKNOWN, Pieces, train_pieces
from avsr.text import EOS, Characters
from tests.models.utterances import example, one
from tests.stages.tiny import SENTENCES

FRAMES = [12, 5, 9, 1, 12, 7]


class Case(NamedTuple):
    model: Seq2Seq
    units: Characters
    batch: list[torch.Tensor]

    def decode(self, batch: list[torch.Tensor], beam: int, search: Callable = decode) -> list[list[int]]:
        """Token ids of each utterance of a batch."""
        with torch.no_grad():
            return search(self.model, self.model.encode(*batch[:3]), batch[2], beam)


@pytest.fixture(scope="module", params=["characters", "unigram", "bpe"])
def units(request) -> Characters:
    return Characters() if request.param == "characters" else Pieces(train_pieces(SENTENCES, request.param, 50))


@pytest.fixture(params=["eg", "tm"])
def case(request, units) -> Case:
    """A network with random weights, sure enough of what it writes to write another text for each utterance."""
    torch.manual_seed(4)
    sizes = {"video": 64, "classes": units.size}
    if request.param == "eg":
        model = EgSeq2Seq(EgConf(conv=32, audio_fc=32, units=32, embedding=32, **sizes))
    else:
        model = TmSeq2Seq(TmConf(width=32, heads=4, hidden=64, encoder_layers=1, decoder_layers=2, **sizes))
    with torch.no_grad():
        model.decoder.output.weight.normal_(std=8.0)
    return Case(model.eval(), units, example(FRAMES, [3] * len(FRAMES)))


def test_beam_1_is_greedy_search(case):
    found = case.decode(case.batch, 1, beam_search)
    assert found == case.decode(case.batch, 1) == case.decode(case.batch, 1, lambda m, k, f, beam: greedy(m, k, f))
    assert len({*map(tuple, found)}) >= 5  # the case is not trivial
    assert all(len(ids) <= limit for ids, limit in zip(found, step_limits(case.batch[2]), strict=True))
    texts = [case.units.decode(ids) for ids in found]
    assert any(texts) and all(case.units.clean(text) == (" ".join(text.split()), 0) for text in texts)


@pytest.mark.parametrize("beam", [1, 5])
def test_side_by_side_is_one_by_one(case, beam):
    together = case.decode(case.batch, beam)
    alone = [case.decode(one(case.batch, row), beam)[0] for row in range(len(FRAMES))]
    assert together == alone and len({*map(tuple, alone)}) >= 4


@pytest.mark.parametrize("units", ["unigram", "bpe"], indirect=True)
def test_a_beam_reads_what_pieces_spell(units):
    """A network that knows one sentence by heart, whatever it hears; its state is the number of pieces written."""
    gold = units.encode(SENTENCES[0])

    class ByHeart:
        def start(self, memory):
            return 0

        def step(self, tokens_n, written):
            log_probs_nv = torch.full((len(tokens_n), units.size), -9.0)
            log_probs_nv[:, gold[written] if written < len(gold) else EOS] = -0.1
            log_probs_nv[:, UNKNOWN] = -4.0
            return log_probs_nv, written + 1

        def select(self, written, index_n):
            return written

    for beam in (1, 4):
        found = decode(ByHeart(), None, torch.tensor([30, 30]), beam)
        assert [units.decode(ids) for ids in found] == [SENTENCES[0]] * 2
