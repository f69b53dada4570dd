"""A generated corpus in a folder: claims it, makes what is missing of it, and says at the end that it is whole."""

import errno
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from avsr.corpora.synthesis.clip import Talker
from avsr.errors import AvsrError
from avsr.parallel import map_unordered, progress
from avsr.storage.atomic import write_json

CHUNK = 20  # utterances of one speaker that a process makes at once


class Utterance(Protocol):
    """What is made: an id, who speaks, and in which split."""

    id: str
    talker: Talker
    split: str


def make(
    folder: Path, made_from: dict, utterances: Sequence[Utterance], files_of: Callable[[Utterance], Sequence[Path]],
    write: Callable[[Utterance], None], finish: Callable[[], None], nj: int,
) -> None:
    """Makes what is not there yet, `nj` processes side by side, then calls `finish` for what makes the corpus whole.

    `made_from` (plain data) says what the folder is for; `write` must be picklable.
    Raises AvsrError when the folder cannot be written, holds something else, or the disk is full.
    """
    try:
        _claim(folder, made_from)
        _make([utt for utt in utterances if not all(path.exists() for path in files_of(utt))], folder, write, nj)
        finish()
    except OSError as error:
        raise _plain(folder, error) from None


def _claim(folder: Path, made_from: dict) -> None:
    """Writes down what the folder is for; refuses one that is for something else."""
    claim = folder / "corpus.json"
    made_from = json.loads(json.dumps(made_from))
    if claim.exists():
        try:
            found = json.loads(claim.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != made_from:
            raise AvsrError(f"{folder}: holds a corpus of another seed or configuration; delete it or name a new one")
    elif folder.is_dir() and any(folder.iterdir()):
        raise AvsrError(f"{folder}: is not empty and holds no generated corpus (no corpus.json); name a new folder")
    else:
        write_json(claim, made_from)


def _make(wanted: Sequence[Utterance], folder: Path, write: Callable[[Utterance], None], nj: int) -> None:
    chunks: list[list[Utterance]] = []
    for utt in wanted:
        if chunks and chunks[-1][0].talker == utt.talker and len(chunks[-1]) < CHUNK:
            chunks[-1].append(utt)
        else:
            chunks.append([utt])
    work = partial(_make_chunk, write)
    nj = min(nj, len(chunks))
    made = map_unordered(work, chunks, nj) if nj > 1 else (work(chunk) or chunk for chunk in chunks)
    for _ in progress(made, len(chunks), f"{folder}: parts of up to {CHUNK} clips"):
        pass


def _make_chunk(write: Callable[[Utterance], None], chunk: Sequence[Utterance]) -> None:
    for utt in chunk:
        write(utt)


def _plain(folder: Path, error: OSError) -> AvsrError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return AvsrError(f"{folder}: the disk is full; free 300 kB for every clip and run again, it goes on from there")
    return AvsrError(f"{folder}: cannot be written ({os.strerror(error.errno or 0)}); name a folder that can")
