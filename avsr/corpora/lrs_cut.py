"""Long clips become parts: cut at pauses, each part as long as may be.

Decision (AE-MSR cuts nothing; others cut LRS3 at pauses into 15 s at most): stretches of speech between pauses are put
together again, in the order of time, for as long as they fit. A single stretch that does not fit is cut at its longest
gap between two words, of those in its middle half; where none begins there, at the one nearest to its middle.
"""

from collections.abc import Iterator, Sequence
from math import ceil, floor

from avsr.corpora.lrs_text import Word
from avsr.errors import UtteranceError
from avsr.storage.datadir import FPS

Part = tuple[int, int, tuple[Word, ...]]  # first picture, the one after the last, words with times in the part


def cut(words: Sequence[Word], frames: int, pause: float, longest: float) -> list[Part]:
    """Parts of at most `longest` seconds of a clip of so many pictures at 25 a second.

    A part begins and ends half a `pause` (s) beside its words, or in the middle of what is shorter, at a whole picture.
    Raises UtteranceError for a single word that does not fit.
    """
    cutter = _Cutter(words, frames, pause, floor(longest * FPS))
    ranges: list[tuple[int, int]] = []
    for first, end in cutter.pieces():
        if ranges and cutter.fits(ranges[-1][0], end):
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((first, end))
    return [cutter.part(first, end) for first, end in ranges]


class _Cutter:
    """Ranges of words: from one to before another."""

    def __init__(self, words: Sequence[Word], frames: int, pause: float, most: int):
        self.words, self.frames, self.pause, self.most = words, frames, pause, most
        # before each word, and behind the last one; beside the outermost there is silence
        between = [following[0] - word[1] for word, following in zip(words, words[1:], strict=False)]
        self.gaps = [pause, *between, pause]

    def pieces(self) -> Iterator[tuple[int, int]]:
        """The stretches between pauses, cut where they do not fit."""
        starts = [k for k in range(1, len(self.words)) if self.gaps[k] > self.pause]
        for first, end in zip([0, *starts], [*starts, len(self.words)], strict=True):
            yield from self._halves(first, end)

    def fits(self, first: int, end: int) -> bool:
        start, stop = self.borders(first, end)
        return stop - start <= self.most

    def borders(self, first: int, end: int) -> tuple[int, int]:
        """The pictures of a range of words: the first one, and the one after the last."""
        start = self.words[first][0] - min(self.gaps[first], self.pause) / 2
        stop = self.words[end - 1][1] + min(self.gaps[end], self.pause) / 2
        # 1.16 * 25 is a little less than 29
        return max(floor(round(start * FPS, 6)), 0), min(ceil(round(stop * FPS, 6)), self.frames)

    def part(self, first: int, end: int) -> Part:
        start, stop = self.borders(first, end)
        length = (stop - start) / FPS
        words = tuple(
            (_within(begins - start / FPS, length), _within(ends - start / FPS, length), word)
            for begins, ends, word in self.words[first:end]
        )
        return start, stop, words

    def _halves(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        if self.fits(first, end):
            yield first, end
            return
        if end - first == 1:
            start, stop, word = self.words[first]
            raise UtteranceError(f"{word} lasts {stop - start:.1f} s, longer than prepare.longest; leave the clip out")
        begins, ends = self.words[first][0], self.words[end - 1][1]
        apart = {
            k: abs((self.words[k - 1][1] + self.words[k][0]) / 2 - (begins + ends) / 2) for k in range(first + 1, end)
        }
        middle = [k for k in apart if apart[k] <= (ends - begins) / 4]
        chosen = min(middle or apart, key=lambda k: (-round(self.gaps[k], 3) if middle else 0, apart[k]))
        yield from self._halves(first, chosen)
        yield from self._halves(chosen, end)


def _within(seconds: float, length: float) -> float:
    return round(min(max(seconds, 0.0), length), 3)
