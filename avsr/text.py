"""Text as the recognisers spell it: 41 characters (AE-MSR section 4.3).

The paper counts 26 letters, 10 digits, PAD, EOS, BOS and SPACE as 41; they are 40. The one that its own sample
outputs need besides is the apostrophe.
"""

import re
from collections.abc import Collection

PAD, EOS, BOS = 0, 1, 2


class Characters:
    """Ids: 0 PAD, 1 EOS, 2 BOS, 3 space, 4 apostrophe, 5-30 A-Z, 31-40 0-9."""

    symbols = " 'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    size = 3 + len(symbols)

    def __init__(self):
        self._ids = {symbol: number for number, symbol in enumerate(self.symbols, start=3)}

    def clean(self, text: str) -> tuple[str, int]:
        """Upper case, `{...}` tags removed, characters outside the set removed, single spaces; and how many
        characters were removed (tags and spaces not counted)."""
        text = re.sub(r"\{[^}]*\}", " ", text).replace("’", "'").upper()
        words = text.split()
        kept = ["".join(c for c in word if c in self._ids) for word in words]
        dropped = sum(map(len, words)) - sum(map(len, kept))
        return " ".join(word for word in kept if word), dropped

    def remarks(self, texts: Collection[str]) -> list[str]:
        """What is left out of transcripts, with counts: one line each, nothing where all can be spelt."""
        cleaned = [self.clean(text) for text in texts]
        spoilt, characters = sum(dropped > 0 for _, dropped in cleaned), sum(dropped for _, dropped in cleaned)
        empty = sum(not text for text, _ in cleaned)
        lines = []
        if spoilt:
            lines.append(
                f"{spoilt} of {len(cleaned)} transcripts have characters outside the set A-Z 0-9 ' and space; "
                f"these {characters} characters are left out (spell them out to keep them)"
            )
        if empty:
            lines.append(f"{empty} of {len(cleaned)} transcripts are empty; their utterances are left out")
        return lines

    def encode(self, text: str) -> list[int]:
        """Ids of the cleaned text and the final EOS (no BOS: models put it in front themselves)."""
        return [self._ids[c] for c in self.clean(text)[0]] + [EOS]

    def decode(self, ids: list[int]) -> str:
        """Text of ids up to the first EOS; PAD and BOS are left out."""
        if EOS in ids:
            ids = ids[: ids.index(EOS)]
        return "".join(self.symbols[i - 3] for i in ids if i > BOS)

    def label(self, token: int) -> str:
        """How a figure names a token: the space is an underscore."""
        return "end" if token == EOS else self.decode([token]).replace(" ", "_")

    def kept(self) -> dict:
        """What a checkpoint holds of them: nothing."""
        return {}
