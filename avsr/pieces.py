"""Text as pieces of words: a sentencepiece model, unigram or BPE, that the recipe trains on its training text.

Every character of the set of 41 is a piece too, so that all clean text can be spelt, in whatever words.
"""

import base64
import hashlib
import io
import re
from collections.abc import Iterable
from typing import Literal

from avsr.errors import AvsrError, UsageError
from avsr.text import BOS, EOS, PAD, Characters

Units = Literal["characters", "unigram", "bpe"]  # what recognisers write: the key `units`
UNKNOWN = 3  # sentencepiece must have it; no text is encoded with it
SPACE = "▁"  # how pieces write the space before a word
FEWEST = 4 + len(Characters.symbols)  # PAD, EOS, BOS, UNKNOWN and the characters


class Pieces(Characters):
    """Ids: 0 PAD, 1 EOS, 2 BOS, 3 unknown, then the pieces of a sentencepiece model. Text is cleaned as characters are.

    `model`: the bytes of the model's file. Raises AvsrError, beginning with `where`, for what is none with these ids.
    """

    def __init__(self, model: bytes, where: str = "units"):
        from sentencepiece import SentencePieceProcessor

        super().__init__()
        self.model, self.digest = model, digest_of(model)
        self._processor = SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError:
            raise AvsrError(
                f"{where}: not a sentencepiece model; delete it, stage 7 (recognise) trains the recipe's own"
            ) from None
        processor = self._processor
        ids = (processor.pad_id(), processor.eos_id(), processor.bos_id(), processor.unk_id())
        if ids != (PAD, EOS, BOS, UNKNOWN):
            raise AvsrError(
                f"{where}: a sentencepiece model of another recipe (its PAD, EOS, BOS, unknown are {ids}, not "
                "(0, 1, 2, 3)); delete it, stage 7 (recognise) trains the recipe's own"
            )
        self.size = processor.get_piece_size()

    def encode(self, text: str) -> list[int]:
        """Ids of the cleaned text and the final EOS (no BOS: models put it in front themselves)."""
        return [*self._processor.encode(self.clean(text)[0]), EOS]

    def decode(self, ids: list[int]) -> str:
        """Text of ids up to the first EOS; PAD, BOS and unknown are left out; single spaces."""
        if EOS in ids:
            ids = ids[: ids.index(EOS)]
        return " ".join(self._processor.decode([i for i in ids if i > UNKNOWN]).split())

    def label(self, token: int) -> str:
        """How a figure names a piece: the space before a word is an underscore."""
        return "end" if token == EOS else self._processor.id_to_piece(token).replace(SPACE, "_")

    def vocabulary(self) -> str:
        """All pieces in the order of their ids, one a line with its score."""
        rows = range(self.size)
        return "".join(f"{self._processor.id_to_piece(i)}\t{self._processor.get_score(i):g}\n" for i in rows)

    def kept(self) -> dict:
        """What a checkpoint holds of them, as plain data: `units_of` makes them from it again."""
        return {"units": base64.b64encode(self.model).decode("ascii")}


def digest_of(model: bytes) -> str:
    """The digest of a sentencepiece model, as configurations hold it."""
    return hashlib.blake2b(model, digest_size=12).hexdigest()


def train_pieces(texts: Iterable[str], kind: str, pieces: int, where: str = "the training text") -> bytes:
    """A sentencepiece model of `pieces` pieces in all, of clean texts; the same bytes for the same texts.

    Raises UsageError, beginning with `where` (what the texts were read from), for a number that the text does not
    allow.
    """
    from sentencepiece import SentencePieceTrainer

    texts = [text for text in texts if text]
    if not texts:
        raise UsageError(f"{where}: has no text to train {kind} pieces on; set units: characters")
    if pieces < FEWEST:
        raise UsageError(f"pieces: {pieces} are too few for the characters alone; set it to {FEWEST} or more")
    found = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=found, model_type=kind, vocab_size=pieces,
            pad_id=PAD, eos_id=EOS, bos_id=BOS, unk_id=UNKNOWN,
            normalization_rule_name="identity",  # the texts are clean
            required_chars=Characters.symbols.strip(), character_coverage=1.0,
            max_sentence_length=1 << 20,  # bytes: longer lines would be left out without a word
            num_threads=1,  # with more the bytes may differ
            minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        most = re.search(r"too high .*<= (\d+)", str(error))
        if most is None:
            reason = " ".join(str(error).split())[:160]
            raise UsageError(f"{where}: sentencepiece makes no {pieces} {kind} pieces of it ({reason})") from None
        raise UsageError(
            f"{where}: has too little text for {pieces} {kind} pieces; set pieces to {most[1]} or fewer"
        ) from None
    return found.getvalue()


def units_of(content: dict, where: str) -> Characters:
    """The units that the recogniser of a checkpoint writes; `content` is what the checkpoint holds, `where` its path.

    Raises AvsrError where its pieces are not those that it was trained with.
    """
    described = content["config"]["system"].get("units")
    if described is None:
        return Characters()
    try:
        model = base64.b64decode(content["units"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise AvsrError(f"{where}: without the pieces of its text; train it again") from None
    if digest_of(model) != described["digest"]:
        raise AvsrError(
            f"{where}: holds a sentencepiece model of another recipe ({digest_of(model)}, trained with "
            f"{described['digest']}); take the checkpoint as its training wrote it, or train again"
        )
    return Pieces(model, where)
