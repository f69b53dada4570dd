"""Checks data directories: `python -m avsr.check data/train [--fast]`.

Says, one line each, what is missing, doubled (in one split or over several), unsorted, unreadable, too short, or out
of step between sound and picture. Exit code 0 when nothing is wrong, 1 otherwise.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from avsr.errors import AvsrError, UtteranceError
from avsr.features.frames import MAX_APART, SAMPLE_RATE
from avsr.storage.datadir import Utterance, read_datadir, read_table

TABLES = ("text", "wav.scp", "utt2spk", "utt2dur")
OPTIONAL = ("video.scp", "spk2gender")
MIN_FRAMES = 5  # a slice of 200 ms
VIDEO_RATE = 25


def table_problems(folder: Path) -> Iterator[str]:
    """What is wrong with the tables themselves, by Kaldi's rules."""
    tables = {}
    for name in (*TABLES, "spk2utt", *OPTIONAL):
        try:
            tables[name] = read_table(folder / name, required=name not in OPTIONAL)
        except AvsrError as error:
            yield str(error)
    if len(tables) < len(TABLES) + 1 + len(OPTIONAL):
        return
    utts = tables["utt2spk"]
    for name in TABLES:
        for utt in sorted(set(utts) ^ set(tables[name])):
            yield f"{folder}/{name}: {utt} is {'missing' if utt in utts else 'not in utt2spk'}"
    for utt, words in tables["text"].items():
        if not words:
            yield f"{folder}/text: {utt} has no words"
    for utt, seconds in tables["utt2dur"].items():
        if not _positive(seconds):
            yield f"{folder}/utt2dur: {utt} lasts {seconds!r}; it must be seconds above 0"
    speakers: dict[str, list[str]] = {}
    for utt, speaker in utts.items():
        speakers.setdefault(speaker, []).append(utt)
        if not utt.startswith(speaker):
            yield f"{folder}/utt2spk: {utt} does not start with its speaker {speaker}; Kaldi cannot sort it"
    for speaker, sex in tables["spk2gender"].items():
        if speaker not in speakers or sex not in ("m", "f"):
            yield f"{folder}/spk2gender: {speaker} {sex}: it must be a speaker of utt2spk and m or f"
    if {speaker: " ".join(ids) for speaker, ids in speakers.items()} != tables["spk2utt"]:
        yield f"{folder}/spk2utt: does not agree with utt2spk"


def media_problems(utterances: dict[str, Utterance]) -> Iterator[str]:
    """What is wrong with the files: every video is probed, every sound measured."""
    from avsr.media.audio import sound_seconds
    from avsr.media.video import probe

    for utt, row in utterances.items():
        frames = None
        if row.video is None:
            yield f"{utt}: has no video in video.scp"
        else:
            try:
                info = probe(row.video)
            except UtteranceError as error:
                yield f"{utt}: {error}"
                continue
            frames = round(info.frames / info.fps * VIDEO_RATE) if info.frames else None
        if frames is not None and frames < MIN_FRAMES:
            yield f"{utt}: {row.video}: {frames} frames at {VIDEO_RATE} a second; {MIN_FRAMES} are needed"
        try:
            seconds = sound_seconds(row.sound)
        except UtteranceError as error:
            yield f"{utt}: {error}"
            continue
        if seconds is None:
            yield f"{utt}: {row.sound}: has no sound"
        elif frames is not None and abs(seconds - frames / VIDEO_RATE) > MAX_APART / SAMPLE_RATE:
            yield f"{utt}: sound lasts {seconds:.2f} s, pictures {frames / VIDEO_RATE:.2f} s; they are out of step"


def main(argv: list[str] | None = None) -> int:
    """Prints every problem; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m avsr.check", description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", help="data directories, as data/train")
    parser.add_argument("--fast", action="store_true", help="only the tables, no media file is opened")
    args = parser.parse_args(argv)
    count = 0
    seen: dict[str, Path] = {}
    for folder in args.data:
        problems = list(table_problems(folder))
        try:
            utterances = {} if problems else read_datadir(folder)
        except AvsrError as error:
            utterances, problems = {}, [str(error)]
        if utterances:
            problems = [] if args.fast else list(media_problems(utterances))
            problems += [f"{folder}/utt2spk: {u} stands in {seen[u]} too" for u in utterances if u in seen]
            seen |= dict.fromkeys(utterances, folder)
            print(f"{folder}: {len(utterances)} utterances, {len(problems)} problems")
        for line in problems:
            print(line)
        count += len(problems)
    return 1 if count else 0


def _positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
