"""The .txt beside every clip of LRS2 and LRS3: what is said and, in most of them, when each word is.

Its parts are found by their names, never by their place: `Text:`, and the table `WORD START END ASDSCORE`. The others
(`Conf:`, `Ref:`, the table `FRAME X Y W H`) are not read.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from avsr.errors import UtteranceError

Word = tuple[float, float, str]  # start and end in seconds, the word
CURE = "mend it, or leave the clip out"


@dataclass(frozen=True)
class Transcript:
    """The text with single spaces, `{...}` tags and all; the words in the order of time, none without a table."""

    text: str
    words: tuple[Word, ...]


def read_transcript(path: Path) -> Transcript:
    """The transcript of a clip. Raises UtteranceError: no such file, not UTF-8, no `Text:`, a broken table."""
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UtteranceError(f"{path}: cannot be read ({error.strerror}); copy it again from the corpus") from error
    except UnicodeDecodeError as error:
        raise UtteranceError(f"{path}: is not UTF-8 text; convert it") from error
    texts = [line.split(":", 1)[1] for line in lines if line.startswith("Text:")]
    if not texts:
        raise UtteranceError(f"{path}: has no line 'Text: ...'; {CURE}")
    return Transcript(" ".join(texts[0].split()), tuple(_words(path, lines)))


def _words(path: Path, lines: list[str]) -> list[Word]:
    heads = [number for number, line in enumerate(lines) if line.split()[:1] == ["WORD"]]
    if not heads:
        return []
    columns = lines[heads[0]].split()
    if not {"START", "END"} <= set(columns):
        raise UtteranceError(f"{path} line {heads[0] + 1}: a table of words needs START and END; {CURE}")
    start_at, end_at = columns.index("START"), columns.index("END")
    words: list[Word] = []
    for number, line in enumerate(lines[heads[0] + 1 :], heads[0] + 2):
        if not line.strip():
            break
        where, cells = f"{path} line {number}", line.split()
        try:
            times = [float(cell) for cell in cells[1:]]
        except ValueError:
            times = []
        if len(cells) != len(columns) or len(times) != len(columns) - 1 or not all(map(math.isfinite, times)):
            raise UtteranceError(f"{where}: must read '{' '.join(columns)}', numbers but the first; {CURE}")
        start, end = times[start_at - 1], times[end_at - 1]
        if not 0 <= start <= end:
            raise UtteranceError(f"{where}: {cells[0]} goes from {start:g} to {end:g} s; {CURE}")
        if words and start < words[-1][0]:
            raise UtteranceError(f"{where}: {cells[0]} starts before the word above; {CURE}")
        words.append((start, end, cells[0]))
    return words
