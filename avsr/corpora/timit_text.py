"""What TIMIT's sentences say: a .txt beside the clip, or TIMIT's list of prompts somewhere in the corpus.

    sa1.txt       0 46797 She had your dark suit in greasy wash water all year.
    prompts.txt   She had your dark suit in greasy wash water all year. (sa1)

Numbers that begin a line of a .txt are times and not read; lines of prompts that begin with `;` are remarks.
"""

import re
from pathlib import Path

from avsr.errors import AvsrError, UtteranceError

PROMPT = re.compile(r"(.+)\((s[aix]\d+)\)\s*")
LIST = "prompts.txt"


def words_of(text: str) -> str:
    """Capitals and apostrophes with single spaces: hyphens part words, other marks go."""
    return " ".join(re.sub(r"[^A-Z0-9' ]", "", re.sub(r"[-\s]", " ", text.upper().replace("’", "'"))).split())


def read_prompts(path: Path) -> dict[str, str]:
    """The words of every sentence of a list of prompts, by its name in small letters.

    Raises AvsrError for a file that is no such list."""
    found = {}
    for number, line in enumerate(_read(path, AvsrError).splitlines(), 1):
        if not line.strip() or line.startswith(";"):
            continue
        prompt = PROMPT.fullmatch(line.lower())
        if prompt is None:
            raise AvsrError(f"{path} line {number}: must read '<sentence> (sa1)'; mend it or remove it")
        found[prompt[2]] = words_of(prompt[1])
    return found


def read_text(path: Path) -> str:
    """The words of the .txt of one clip. Raises UtteranceError: cannot be read, says nothing."""
    lines = _read(path, UtteranceError).splitlines()
    text = words_of(" ".join(re.sub(r"^\s*\d+\s+\d+\s", "", line) for line in lines))
    if not text:
        raise UtteranceError(f"{path}: says nothing; copy it again from the corpus")
    return text


class Prompts:
    """The sentences of a corpus: `of(video, name)` finds what a clip says."""

    def __init__(self, corpus: Path):
        self._known: dict[str, str] = {}
        for path in sorted(Path(corpus).rglob("*")):
            if path.name.lower() == LIST:
                self._known |= read_prompts(path)

    def of(self, video: Path, name: str) -> str:
        """The words of a clip. Raises UtteranceError where it has neither a .txt nor a prompt."""
        beside = next((path for path in (video.with_suffix(".txt"), video.with_suffix(".TXT")) if path.exists()), None)
        if beside is not None:
            return read_text(beside)
        if name not in self._known:
            raise UtteranceError(f"{video}: no .txt beside it, no {LIST} names {name}; add one, or prepare.text phones")
        return self._known[name]


def _read(path: Path, error_class: type[AvsrError]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise error_class(f"{path}: cannot be read ({error.strerror}); copy it again from the corpus") from error
    except UnicodeDecodeError as error:
        raise error_class(f"{path}: is not UTF-8 text; convert it") from error
