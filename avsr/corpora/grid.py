"""GRID (Cooke, Barker, Cunningham, Shao 2006): where its clips lie, what they say, and when each word is spoken.

A clip's name spells its sentence: `bbaf2n` is bin blue at f two now. The sound is taken from the video, since the
separate 25 kHz tracks are cut differently; an alignment is needed only where word times are.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avsr.errors import AvsrError, UtteranceError
from avsr.storage.datadir import Utterance

log = logging.getLogger("avsr")

COMMANDS = {"b": "bin", "l": "lay", "p": "place", "s": "set"}
COLOURS = {"b": "blue", "g": "green", "r": "red", "w": "white"}
PREPOSITIONS = {"a": "at", "b": "by", "i": "in", "w": "with"}
LETTERS = {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"}  # no w: it has three syllables
DIGITS = dict(zip("z123456789", "zero one two three four five six seven eight nine".split(), strict=True))
ADVERBS = {"a": "again", "n": "now", "p": "please", "s": "soon"}
GRAMMAR = (COMMANDS, COLOURS, PREPOSITIONS, LETTERS, DIGITS, ADVERBS)

EXTENSIONS = (".mpg", ".mp4", ".mkv", ".avi")
ALIGN_UNIT = 25_000  # of an .align file, per second: 1000 a video frame
INSIDE = re.compile(r"(?i)videos?|mpg(_\w+)?|mp4|mkv|avi|align(ments?)?")  # folders of a speaker, no names of one
DURATION = 3.0  # seconds of a clip
SILENCES = ("SIL", "SP")
MEN = (
    "s1",
    "s2",
    "s3",
    "s5",
    "s6",
    "s8",
    "s9",
    "s10",
    "s12",
    "s13",
    "s14",
    "s17",
    "s19",
    "s26",
    "s27",
    "s28",
    "s30",
    "s32",
)
WOMEN = (
    "s4",
    "s7",
    "s11",
    "s15",
    "s16",
    "s18",
    "s20",
    "s22",
    "s23",
    "s24",
    "s25",
    "s29",
    "s31",
    "s33",
    "s34",
)  # s21: no video
# The corpus as it is distributed today holds these talkers' alignments under another talker's name.
MISPLACED_ALIGNMENTS = {
    5: 6, 6: 5, 10: 13, 11: 10, 12: 11, 13: 12, 14: 15, 15: 14, 18: 19, 19: 18, 20: 21, 22: 23, 23: 22,
    26: 27, 27: 26, 28: 29, 29: 28, 32: 33, 33: 32,
}  # fmt: skip


@dataclass(frozen=True)
class Clip:
    """One video file. `id` is the six letters."""

    speaker: str
    id: str
    video: Path

    @property
    def utt(self) -> str:
        """The utterance id: speaker first, so that sorting by utterance sorts by speaker, as Kaldi demands."""
        return f"{self.speaker}-{self.id}"


def sentence(clip: str) -> str:
    """The six words that a clip's name spells. ValueError when it is no GRID name."""
    if len(clip) != 6:
        raise ValueError(f"{clip!r} has not six letters")
    try:
        return " ".join(words[letter] for words, letter in zip(GRAMMAR, clip.lower(), strict=True))
    except KeyError as error:
        raise ValueError(f"{clip!r}: letter {error} does not stand for a word there") from None


def find_clips(corpus: Path) -> dict[str, list[Clip]]:
    """All clips by speaker, in every layout met: `**/<speaker>/**/<id>.<ext>`.

    The speaker is the first folder named s1 ... s34; where there is none, the folder nearest to the clip that is not
    one of GRID's own inside a speaker's (video, mpg_6000): u01 in u01/<id>.mpg, video/u01/<id>.mpg and
    u01/video/mpg_6000/<id>.mpg. Clips without such a folder belong to one speaker, named as the corpus's folder.
    Raises AvsrError when there is no clip."""
    corpus = Path(corpus)
    if not corpus.is_dir():
        raise AvsrError(f"{corpus}: there is no such folder; give GRID's folder with --corpus-dir")
    found: dict[str, dict[str, Clip]] = {}
    for path in sorted(_videos(corpus)):
        speaker = _speaker(corpus, path)
        clip = Clip(speaker, path.stem.lower(), path.absolute())
        kept = found.setdefault(speaker, {}).setdefault(clip.id, clip)
        if kept is not clip:
            log.warning("%s: %s is there twice; %s is used", path, clip.utt, kept.video)
    if not found:
        raise AvsrError(f"{corpus}: holds no GRID clip (six-letter names as bbaf2n{'/'.join(EXTENSIONS)})")
    return {speaker: list(clips.values()) for speaker, clips in sorted(found.items(), key=lambda item: _order(item[0]))}


def utterance(clip: Clip, align: Path | None) -> Utterance:
    """The utterance of a clip; with an alignment it has words with times, and the length that the alignment has.

    Raises UtteranceError for a damaged alignment."""
    rows = read_align(align) if align else ()
    duration = rows[-1][1] if rows else DURATION
    words = tuple(row for row in rows if row[2] not in SILENCES)
    sex = "m" if clip.speaker in MEN else "f" if clip.speaker in WOMEN else ""
    return Utterance(clip.utt, clip.speaker, sentence(clip.id).upper(), clip.video, None, duration, words, sex)


def read_align(path: Path) -> tuple[tuple[float, float, str], ...]:
    """Start and end in seconds and the word, silences too. Raises UtteranceError for a file that cannot be opened and
    on other lines than `start end word`."""
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
        rows = [line.split() for line in lines if line.strip()]
        return tuple((int(start) / ALIGN_UNIT, int(end) / ALIGN_UNIT, word.upper()) for start, end, word in rows)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UtteranceError(f"{path}: cannot be read ({error.strerror}); mend it or remove it") from error
    except UnicodeDecodeError as error:
        raise UtteranceError(f"{path}: is not UTF-8 text; convert it or remove it") from error
    except ValueError as error:
        raise UtteranceError(f"{path}: every line must read 'start end word'; mend it or remove it") from error


class Alignments:
    """Finds the .align file of a clip: beside it, in the speaker's own folder, or in `alignments/<speaker>`.

    `alignments` is the folder of the corpus as distributed today, in which 19 talkers stand under another's name.
    """

    def __init__(self, corpus: Path):
        corpus = Path(corpus)
        self._own: dict[tuple[str, str], Path] = {}
        self._distributed: dict[tuple[str, str], Path] = {}
        for path in sorted(corpus.rglob("*.align")):
            table = self._distributed if "alignments" in path.relative_to(corpus).parts else self._own
            table[_speaker(corpus, path), path.stem.lower()] = path

    def find(self, clip: Clip) -> Path | None:
        """The clip's alignment, or None."""
        number = int(clip.speaker[1:]) if re.fullmatch(r"s\d+", clip.speaker) else None
        folder = f"s{MISPLACED_ALIGNMENTS.get(number, number)}" if number else clip.speaker
        return self._own.get((clip.speaker, clip.id)) or self._distributed.get((folder, clip.id))


def _videos(corpus: Path) -> Iterator[Path]:
    for path in corpus.rglob("*"):
        if path.suffix.lower() not in EXTENSIONS or "__MACOSX" in path.parts:
            continue
        try:
            sentence(path.stem)
        except ValueError:
            continue
        yield path


def _speaker(corpus: Path, path: Path) -> str:
    """Whose clip or alignment a file is, by the folders between it and the corpus."""
    folders = path.relative_to(corpus).parts[:-1]
    named = [folder for folder in folders if re.fullmatch(r"s\d{1,2}", folder)]
    others = [folder for folder in folders if not INSIDE.fullmatch(folder)]
    return named[0] if named else (others[-1] if others else corpus.absolute().name)


def _order(speaker: str) -> tuple:
    return (0, int(speaker[1:]), "") if re.fullmatch(r"s\d+", speaker) else (1, 0, speaker)
