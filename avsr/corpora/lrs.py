"""LRS3-TED (Afouras, Chung, Zisserman 2018) and LRS2-BBC: sentences with faces, a folder for each video.

LRS3  {pretrain,trainval,test}/<video id>/<5 digits>.mp4 and .txt. Training: pretrain and trainval; validation: whole
      videos held out of trainval, of which pretrain is left out too; test: test.
LRS2  {main,pretrain}/<video id>/<5 digits>.mp4 and .txt; pretrain.txt, train.txt, val.txt, test.txt list the clips of
      the splits, `<video id>/<5 digits>` a line.

The speaker of an utterance is the id of its video. An utterance is `<video id>-<clip>`, of pretrain, which has the same
numbers again, `<video id>-p<clip>`, and a part of a long clip `<video id>-p<clip>-<two digits>`. Ids of videos may
begin with `-`, which no utterance may: `_` is put before them, and before those that begin with underscores and then
`-`, so that no two are the same.
"""

import logging
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsr.corpora.lrs_cut import cut
from avsr.corpora.lrs_text import Transcript, read_transcript
from avsr.corpora.splits import check_split
from avsr.errors import AvsrError, UtteranceError
from avsr.rng import unit
from avsr.storage.datadir import FPS, Utterance
from avsr.text import Characters

log = logging.getLogger("avsr")
EXTENSION = ".mp4"
NUMBER = re.compile(r"[0-9]{5}")
LISTED = re.compile(r"([A-Za-z0-9_-]+)/([0-9]{5})")
PRETRAIN = "pretrain"
UNUSED = "unused"  # of a split: clips of pretrain whose video validates
HELD_OUT = 200  # videos of LRS3's trainval, where there are ten times as many
BEYOND = 0.2  # seconds that a word may end after its clip, as sound may after its pictures
LAYOUTS = {"lrs3": (PRETRAIN, "trainval", "test"), "lrs2": (PRETRAIN, "main")}  # folders
PROTOCOLS = tuple(LAYOUTS)


@dataclass(frozen=True)
class Clip:
    """A clip on disk: `folder` is one of its layout, `number` its five digits."""

    folder: str
    video: str
    number: str
    path: Path

    @property
    def speaker(self) -> str:
        return f"_{self.video}" if re.match("_*-", self.video) else self.video

    @property
    def utt(self) -> str:
        return f"{self.speaker}-{'p' if self.folder == PRETRAIN else ''}{self.number}"


Split = dict[str, list[Clip]]  # train, valid, test, and UNUSED


def find_splits(corpus: Path, protocol: str, valid_videos: int | None, seed: int) -> Split:
    """The clips of each split; of LRS3 `valid_videos` videos of trainval validate (None: a tenth, 1 to 200).

    Raises AvsrError: not this layout, an empty set, a list that names what is not there, a tested video in training."""
    corpus = Path(corpus)
    if not corpus.is_dir():
        raise AvsrError(f"{corpus}: there is no such folder; give the corpus's folder with --corpus-dir")
    folders = LAYOUTS[protocol]
    if not (corpus / folders[-1]).is_dir():
        other = next((name for name, needed in LAYOUTS.items() if (corpus / needed[-1]).is_dir()), None)
        cure = f"use --protocol {other}" if other else "see --corpus-dir"
        raise AvsrError(f"{corpus}: has not the folders of {protocol.upper()} ({', '.join(folders)}); {cure}")
    split = _split_lrs3(corpus, valid_videos, seed) if protocol == "lrs3" else _split_lrs2(corpus)
    unused = split.pop(UNUSED, [])
    try:
        check_split(split, one=False)
    except AvsrError as error:
        raise AvsrError(f"{corpus}: {error} (a speaker is a video id); take it out of one of them") from None
    return {**split, UNUSED: unused}


def utterances(clip: Clip, pause: float, longest: float) -> list[Utterance]:
    """The utterance of a clip, or the parts of one of pretrain that lasts more than `longest` seconds: cut at pauses
    of more than `pause` seconds; none where it has no word times.

    Opens the .txt and the video, of which nothing is decoded. Raises UtteranceError: a damaged .txt or video, a word
    that ends after the clip."""
    from avsr.media.video import probe

    txt = clip.path.with_suffix(".txt")
    said, source = read_transcript(txt), probe(clip.path)
    seconds = source.frames / source.fps
    _check_words(txt, said, seconds)
    whole = Utterance(clip.utt, clip.speaker, said.text, clip.path, None, seconds, said.words)
    if clip.folder != PRETRAIN or seconds <= longest:
        return [whole]
    try:
        parts = cut(said.words, round(seconds * FPS), pause, longest) if said.words else []
    except UtteranceError as error:
        raise UtteranceError(f"{txt}: {error}") from error
    made = []
    for number, (first, end, words) in enumerate(parts):
        text = " ".join(word for _, _, word in words)
        if Characters().clean(text)[0]:  # something is said
            place = (first / FPS, end / FPS)
            made.append(
                Utterance(
                    f"{clip.utt}-{number:02d}", clip.speaker, text, clip.path, None, (end - first) / FPS, words,
                    part=place,
                )
            )  # fmt: skip
    return made


def say_left_out(split: str, read: Collection[Sequence[Utterance]], longest: float) -> None:
    """How many of the clips that were read gave no utterance, in one line."""
    without = sum(not found for found in read)
    if without:
        log.info(
            "%s: %d of %d clips last more than %g s and have no word times to cut them by; left out",
            split, without, len(read), longest,
        )  # fmt: skip


def _split_lrs3(corpus: Path, valid_videos: int | None, seed: int) -> Split:
    sets = {folder: _clips(corpus, folder) for folder in LAYOUTS["lrs3"]}
    for folder in ("trainval", "test"):
        if not sets[folder]:
            raise AvsrError(f"{corpus / folder}: holds no clip (<video id>/<5 digits>{EXTENSION}); see --corpus-dir")
    if not sets[PRETRAIN]:
        log.warning("%s: holds no clip; training has those of trainval alone", corpus / PRETRAIN)
    videos = {clip.video for clip in sets["trainval"]}
    count = min(HELD_OUT, max(1, len(videos) // 10)) if valid_videos is None else valid_videos
    if count >= len(videos):
        raise AvsrError(
            f"{corpus}/trainval: has {len(videos)} videos, of which {count} shall validate; see prepare.valid_videos"
        )
    held_out = set(sorted(videos, key=lambda video: unit(seed, video, "held-out video"))[:count])
    train = [clip for clip in sets[PRETRAIN] + sets["trainval"] if clip.video not in held_out]
    valid = [clip for clip in sets["trainval"] if clip.video in held_out]
    unused = [clip for clip in sets[PRETRAIN] if clip.video in held_out]
    log.info("%d of %d videos of trainval validate; %d clips of pretrain are of them and do not train",
             count, len(videos), len(unused))  # fmt: skip
    return {"train": train, "valid": valid, "test": sets["test"], UNUSED: unused}


def _split_lrs2(corpus: Path) -> Split:
    pretrain: list[Clip] = []
    if (corpus / PRETRAIN).is_dir():
        pretrain = _listed(corpus, "pretrain.txt", PRETRAIN)
    else:
        log.warning("%s: is not there; training has the clips of main alone", corpus / PRETRAIN)
    lists = {name: _listed(corpus, f"{name}.txt", "main") for name in ("train", "val", "test")}
    return {"train": pretrain + lists["train"], "valid": lists["val"], "test": lists["test"]}


def _clips(corpus: Path, folder: str) -> list[Clip]:
    """All clips of a folder, by name; hidden files are passed over."""
    found = []
    root = corpus.absolute() / folder
    for video in sorted(_names(root)) if root.is_dir() else ():
        for name in sorted(_names(root / video)) if (root / video).is_dir() else ():
            stem, extension = os.path.splitext(name)
            if extension != EXTENSION:
                continue
            if NUMBER.fullmatch(stem):
                found.append(Clip(folder, video, stem, root / video / name))
            else:
                log.warning("%s: is not named <5 digits>%s; left out", root / video / name, EXTENSION)
    return found


def _listed(corpus: Path, name: str, folder: str) -> list[Clip]:
    """The clips of a split list; what stands behind a clip (NF, MV in test.txt) is not read."""
    path = corpus / name
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise AvsrError(f"{path}: cannot be read ({error.strerror}); put LRS2's split lists into {corpus}") from None
    except UnicodeDecodeError:
        raise AvsrError(f"{path}: is not UTF-8 text; convert it") from None
    clips: dict[str, Clip] = {}
    for number, line in enumerate(lines, 1):
        entry = (line.split() or [""])[0]
        if not entry:
            continue
        named = LISTED.fullmatch(entry)
        if named is None or entry in clips:
            raise AvsrError(f"{path} line {number}: {entry!r} must read '<video id>/<5 digits>', each once; mend it")
        clip = clips[entry] = Clip(folder, *named.groups(), corpus.absolute() / folder / f"{entry}{EXTENSION}")
        if not clip.path.is_file():
            raise AvsrError(f"{path} line {number}: {clip.path} is not there; copy it again, or take out the line")
    if not clips:
        raise AvsrError(f"{path}: names no clip; copy it again from the corpus")
    return list(clips.values())


def _names(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if not name.startswith(".")]


def _check_words(txt: Path, said: Transcript, seconds: float) -> None:
    for _, end, word in said.words:
        if end > seconds + BEYOND:
            raise UtteranceError(
                f"{txt}: {word} ends at {end:.2f} s, the clip after {seconds:.2f} s; mend it, or leave the clip out"
            )
