"""Pieces of words: their ids, the round trip, what is refused."""

import io

import pytest
import sentencepiece

from avsr.errors import AvsrError, UsageError
from avsr.pieces import FEWEST, UNKNOWN, Pieces, train_pieces, units_of
from avsr.rng import rng
from avsr.text import BOS, EOS, PAD, Characters

WORDS = ("BIN", "LAY", "PLACE", "SET", "BLUE", "GREEN", "RED", "WHITE", "NOW", "PLEASE", "SOON", "AGAIN")
TEXTS = [" ".join(rng("text", n).choice(WORDS, 6)) for n in range(100)]
KINDS = ("unigram", "bpe")


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_characters_spell_is_spelt(kind):
    pieces, characters = Pieces(train_pieces(TEXTS, kind, 50)), Characters()
    assert pieces.size == 50
    for text in (*TEXTS[:5], "QUEEN'S 0123456789 Z", "'", "A", "X Y", "  don’t {LAUGH} – stop "):
        ids = pieces.encode(text)
        assert ids[-1] == EOS and all(UNKNOWN < i < 50 for i in ids[:-1])
        assert pieces.decode(ids) == characters.decode(characters.encode(text)) == pieces.clean(text)[0]
    assert len(pieces.encode("PLACE BLUE")) < len(characters.encode("PLACE BLUE"))
    assert pieces.encode("") == [EOS] and pieces.decode([]) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_network_may_write_is_read(kind):
    pieces = Pieces(train_pieces(TEXTS, kind, 50))
    ids = pieces.encode("SET RED")
    assert pieces.decode([BOS, UNKNOWN, *ids[:-1], PAD, EOS, ids[0]]) == "SET RED"
    bare = next(i for i in range(50) if pieces.label(i) == "_")
    assert pieces.decode([bare, bare, *ids[:-1], bare]) == "SET RED"
    assert "".join(pieces.label(i) for i in ids) == "_SET_REDend"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_make_the_same_bytes(kind):
    first = train_pieces(TEXTS, kind, 50)
    assert first == train_pieces(iter(TEXTS), kind, 50)
    assert first != train_pieces(TEXTS[1:] + ["ANOTHER TEXT"], kind, 50)
    table = [line.split("\t")[0] for line in Pieces(first).vocabulary().splitlines()]
    assert len(table) == len({*table}) == 50 and {*Characters.symbols.strip()} <= {*table}


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_that_the_text_does_not_allow_is_one_line_with_the_one_that_it_does(kind):
    with pytest.raises(UsageError, match=r"^data/train/text: has too little text for 5000 \w+ pieces; set pieces") as e:
        train_pieces(TEXTS, kind, 5000, "data/train/text")
    most = int(str(e.value).split()[-3])
    assert Pieces(train_pieces(TEXTS, kind, most)).size == most
    with pytest.raises(UsageError, match=f"pieces: {FEWEST - 1} are too few .* {FEWEST} or more"):
        train_pieces(TEXTS, kind, FEWEST - 1)
    assert Pieces(train_pieces(TEXTS, kind, FEWEST)).size == FEWEST
    with pytest.raises(UsageError, match="has no text to train .* units: characters"):
        train_pieces(["", ""], kind, 50)


def test_a_checkpoint_carries_its_pieces_and_no_others():
    pieces, other = (Pieces(train_pieces(TEXTS[n:], "bpe", 50)) for n in (0, 50))
    config = {"config": {"system": {"units": {"kind": "bpe", "pieces": 50, "digest": pieces.digest}}}}
    found = units_of(config | pieces.kept(), "best.pt")
    assert found.encode("PLACE BLUE AT F TWO") == pieces.encode("PLACE BLUE AT F TWO")
    with pytest.raises(AvsrError, match=r"^best.pt: holds a sentencepiece model of another recipe .* train again$"):
        units_of(config | other.kept(), "best.pt")
    for units in ({}, {"units": 3}, {"units": "§"}):
        with pytest.raises(AvsrError, match=r"^best.pt: without the pieces of its text; train it again$"):
            units_of(config | units, "best.pt")
    assert type(units_of({"config": {"system": {}}} | Characters().kept(), "best.pt")) is Characters


def test_a_model_with_other_ids_and_rubbish_are_refused():
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=made, vocab_size=40, model_type="bpe", minloglevel=2
    )
    with pytest.raises(AvsrError, match=r"^x.model: a sentencepiece model of another recipe .*delete it"):
        Pieces(made.getvalue(), "x.model")
    for rubbish in (b"", b"rubbish" * 20):
        with pytest.raises(AvsrError, match=r"^x.model: not a sentencepiece model; delete it"):
            Pieces(rubbish, "x.model")
