"""HTK master label files: the phones of many clips in one file, with times.

    #!MLF!#
    "Q:/Videos/TCD-TIMIT/volunteers/01M/Clips/straightcam/sa1.rec"
    0 10100000 sil
    10100000 10700000 w
    .

A quoted path begins a clip, a point ends it; times are in units of 100 ns.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from avsr.errors import AvsrError, UtteranceError

Phone = tuple[float, float, str]  # start and end in seconds, the phone in small letters
Row = tuple[int, str]  # number of a line, what it reads

HEADER = "#!MLF!#"
UNIT = 10_000_000  # of the times, per second
SILENCES = frozenset("sil sp pau epi h# #h bcl dcl gcl pcl tcl kcl q".split())
# TIMIT's 61 phones as the 39 that error rates are given for (Lee and Hon 1989); what is one of these stays.
FOLDED = {
    "ao": "aa", "ax": "ah", "ax-h": "ah", "axr": "er", "hv": "hh", "ix": "ih", "el": "l", "em": "m", "en": "n",
    "nx": "n", "eng": "ng", "zh": "sh", "ux": "uw",
}  # fmt: skip
CURE = "mend it, or leave the clip out"


def entries(path: Path) -> Iterator[tuple[str, list[Row]]]:
    """The path that each clip is named by, without quotes and with `/`, and its rows, which are not looked at.

    Raises AvsrError: cannot be read, not UTF-8, no master label file, a clip without its final point."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise AvsrError(f"{path}: cannot be read ({error.strerror}); copy it again from the corpus") from error
    except UnicodeDecodeError as error:
        raise AvsrError(f"{path}: is not UTF-8 text; convert it") from error
    name, rows = "", []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text == HEADER:
            continue
        if text.startswith('"') and not name:
            name, rows = text.strip('"').replace("\\", "/"), []
        elif name and text == ".":
            yield name, rows
            name = ""
        elif name and not text.startswith('"'):
            rows.append((number, text))
        else:
            raise AvsrError(f"{path} line {number}: a clip is a quoted path, rows 'start end phone' and '.'; mend it")
    if name:
        raise AvsrError(f"{path}: ends within {name}; copy it again from the corpus")


def read_phones(path: Path, rows: Iterable[Row], merge: bool = False) -> tuple[Phone, ...]:
    """The phones of a clip in the order of time, folded to 39, without silences.

    merge: a phone that stands twice in a row is one, until the next begins. One that is written twice with the same
    start always is.
    Raises UtteranceError for other rows than `start end phone` (more columns are passed over), and times that go back.
    """
    found: list[Phone] = []
    for number, text in rows:
        where, cells = f"{path} line {number}", text.split()
        try:
            start, end, name = int(cells[0]) / UNIT, int(cells[1]) / UNIT, cells[2].lower()
        except (ValueError, IndexError):
            raise UtteranceError(f"{where}: must read 'start end phone' in units of 100 ns; {CURE}") from None
        if not 0 <= start <= end:
            raise UtteranceError(f"{where}: {name} goes from {start:g} to {end:g} s; {CURE}")
        name = FOLDED.get(name, name)
        if found and name == found[-1][2] and (merge or start == found[-1][0]):
            found[-1] = (found[-1][0], max(end, found[-1][1]), name)
        elif found and start < found[-1][1]:
            raise UtteranceError(f"{where}: {name} starts before the phone above has ended; {CURE}")
        else:
            found.append((start, end, name))
    return tuple(phone for phone in found if phone[2] not in SILENCES)
