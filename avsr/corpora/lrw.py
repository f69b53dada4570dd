"""LRW, Lip Reading in the Wild (Chung & Zisserman 2016): clips of 29 pictures with one word in the middle of each.

`lipread_mp4/<WORD>/{train,val,test}/<WORD>_<5 digits>.mp4`. The folder's name is the word. The .txt beside a clip is
not read: the length of the word that it tells is no input of the systems compared (AE-MSR Table 1). LRW does not say
who speaks, so each clip stands for a speaker of its own.
"""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from avsr.errors import AvsrError
from avsr.rng import unit
from avsr.storage.datadir import Utterance

log = logging.getLogger("avsr")
FRAMES = 29
SECONDS = FRAMES / 25
FOLDERS = {"train": "train", "valid": "val", "test": "test"}  # our splits -> LRW's folders
CLIP = re.compile(r"([A-Z']+)_(\d{5})")
EXTENSION = ".mp4"


def find_root(corpus: Path) -> Path:
    """The folder that holds the words' folders: `lipread_mp4` in the corpus, or the corpus itself.

    Raises AvsrError when it is not there."""
    corpus = Path(corpus)
    if not corpus.is_dir():
        raise AvsrError(f"{corpus}: there is no such folder; give LRW's folder with --corpus-dir")
    root = corpus / "lipread_mp4"
    return root if root.is_dir() else corpus


def read_split(corpus: Path, split: str, most: int | None = None, seed: int = 0) -> list[Utterance]:
    """The clips of a split (train, valid, test), of each word at most so many, chosen by the seed. Words without a
    clip there are said.

    Raises AvsrError when there is no word at all."""
    root = find_root(corpus)
    words = [path for path in sorted(root.iterdir()) if any((path / folder).is_dir() for folder in FOLDERS.values())]
    if not words:
        raise AvsrError(f"{root}: holds no word of LRW (<WORD>/train/<WORD>_00001{EXTENSION}); see --corpus-dir")
    utterances, empty = [], []
    for folder in words:
        found = list(_clips(folder, split))
        utterances += sorted(found, key=lambda utt: unit(seed, utt.id, "limit"))[:most]
        if not found:
            empty.append(folder.name)
    if empty:
        log.warning(
            "%s: no clip for %s of %d of %d words, first: %s", root, split, len(empty), len(words), empty[0]
        )
    return utterances


def _clips(word: Path, split: str) -> Iterable[Utterance]:
    for path in sorted((word / FOLDERS[split]).glob(f"*{EXTENSION}")):
        named = CLIP.fullmatch(path.stem)
        if named is None or named[1] != word.name:
            log.warning("%s: is not named %s_<5 digits>; left out", path, word.name)
            continue
        name = f"{word.name.replace(chr(39), '-')}_{FOLDERS[split]}_{named[2]}"  # the same numbers stand in each folder
        yield Utterance(name, name, word.name, path.absolute(), None, SECONDS, ((0.0, SECONDS, word.name),))
