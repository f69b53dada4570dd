"""Checks data directories: `python -m avsr.check data/train [--fast]`.

Says, one line each, what is missing, doubled (in one split or over several), unsorted, unreadable (every file is
decoded to its end), too short, grey rubbish, or out of step between sound, picture and utt2dur. All faults are said,
not the first alone. Exit code 0 when nothing is wrong, 1 otherwise. Lines with `remark:` are no faults: a speaker who
stands in two of the folders, as one-speaker protocols have it, or has no transcript at all.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from avsr.corpora.grid import DURATION
from avsr.errors import AvsrError, UtteranceError
from avsr.features.frames import MAX_APART, SAMPLE_RATE
from avsr.parallel import progress
from avsr.storage.datadir import in_pictures, read_part, scan_table

TABLES = ("text", "wav.scp", "utt2spk", "utt2dur")
OPTIONAL = ("video.scp", "spk2gender", "segments")
MIN_FRAMES = 5  # a slice of 200 ms
VIDEO_RATE = 25
APART = MAX_APART / SAMPLE_RATE  # seconds
# A picture of which the decoder had no beginning is grey, with traces of what moves: its grey levels deviate by 0 to 15
# in GRID's damaged clips, by 39 in all others, and twelve of 75 pictures are so.
FLAT = 2.0  # deviation in grey levels below which a picture shows nothing, whatever the others show
FAINT = 0.5  # and that of a damaged one, as a share of the clip's median
GREY_SHARE = 0.1  # of a clip's pictures, from which on it is damaged; less may be a cut or a fade
NAMED = 5  # speakers in one remark
REMARK = "remark: "

Tables = dict[str, dict[str, str]]


def collect_table(path: Path, required: bool = True) -> tuple[dict[str, str] | None, list[str]]:
    """A Kaldi table (None: not there) and all that is wrong with its lines, where `read_table` stops at the first.

    Lines without a usable id are left out; an entry of an .scp that names no file is kept as an empty one.
    """
    faults: list[str] = []
    lines = _lines(path, faults, required)
    if lines is None:
        return None, faults
    table, wrong = scan_table(path, lines)
    return table, faults + wrong


def collect(folder: Path) -> tuple[Tables, list[str]]:
    """All tables that are there, and what is wrong with each by itself."""
    tables, problems = {}, []
    for name in (*TABLES, "spk2utt", *OPTIONAL):
        table, faults = collect_table(folder / name, required=name not in OPTIONAL)
        problems += faults
        if table is not None:
            tables[name] = table
    words = tables["ctm"] = {}
    for number, line in _lines(folder / "ctm", problems, required=False) or ():
        try:
            utt, _, start, duration, words[utt] = line.split()
            float(start), float(duration)
        except ValueError:
            problems.append(f"{folder}/ctm line {number}: must read 'utterance channel start duration word'")
    if not utterances(tables):
        problems.append(f"{folder}: holds no utterance")
    return tables, problems


def utterances(tables: Tables) -> list[str]:
    """The ids of utt2spk and of all files, sorted: files are looked at even where utt2spk is damaged."""
    return sorted({utt for name in ("utt2spk", "wav.scp", "video.scp") for utt in tables.get(name, ())})


def table_problems(folder: Path) -> list[str]:
    """What is wrong with the tables themselves and between them, by Kaldi's rules."""
    tables, problems = collect(folder)
    return problems + list(disagreements(folder, tables))


def disagreements(folder: Path, tables: Tables) -> Iterator[str]:
    """What is wrong between the tables that are there, and with what stands in them."""
    yield from untranscribed(folder, tables)
    for utt, seconds in tables.get("utt2dur", {}).items():
        if not _positive(seconds):
            yield f"{folder}/utt2dur: {utt} lasts {seconds!r}; it must be seconds above 0"
    for utt in tables.get("segments", {}):
        yield from _part(folder, tables, utt)[1]
    if "utt2spk" not in tables:
        return
    utts = tables["utt2spk"]
    for name in TABLES:
        for utt in sorted(set(utts) ^ set(tables.get(name, utts))):
            yield f"{folder}/{name}: {utt} is {'missing' if utt in utts else 'not in utt2spk'}"
    for utt in sorted(set(tables.get("segments", ())) - set(utts)):
        yield f"{folder}/segments: {utt} is not in utt2spk"
    speakers: dict[str, list[str]] = {}
    for utt, speaker in utts.items():
        speakers.setdefault(speaker, []).append(utt)
        if not utt.startswith(speaker):
            yield f"{folder}/utt2spk: {utt} does not start with its speaker {speaker}; Kaldi cannot sort it"
    for speaker, sex in tables.get("spk2gender", {}).items():
        if speaker not in speakers or sex not in ("m", "f"):
            yield f"{folder}/spk2gender: {speaker} {sex}: it must be a speaker of utt2spk and m or f"
    if "spk2utt" in tables and {speaker: " ".join(ids) for speaker, ids in speakers.items()} != tables["spk2utt"]:
        yield f"{folder}/spk2utt: does not agree with utt2spk"


def untranscribed(folder: Path, tables: Tables) -> Iterator[str]:
    """Utterances without words; of speakers with several of whom there are none at all, one remark."""
    text, utts = tables.get("text", {}), tables.get("utt2spk", {})
    count = Counter(utts.values())
    empty = Counter(utts.get(utt, "") for utt, words in text.items() if not words)
    silent = sorted(who for who in empty if who and empty[who] == count[who] > 1)
    for utt, words in text.items():
        if not words and utts.get(utt) not in silent:
            yield f"{folder}/text: {utt} has no words"
    if silent:
        named = " ".join(silent[:NAMED]) + (" ..." if len(silent) > NAMED else "")
        what = "have no transcripts, as those of a second corpus for enhancement"
        yield f"{REMARK}{folder}/text: {len(silent)} speakers {what}: {named}"


def media_problems(folder: Path, tables: Tables) -> Iterator[str]:
    """What is wrong with the files: all pictures and all sound are decoded."""
    ids = utterances(tables)
    videos, sounds, stated = (tables.get(name, {}) for name in ("video.scp", "wav.scp", "utt2dur"))
    for utt in progress(ids, len(ids), str(folder)):
        if utt not in videos:
            yield f"{utt}: has no video in video.scp"
        problems, lasts = look_at_clip(videos.get(utt), sounds.get(utt), _part(folder, tables, utt)[0])
        for problem in problems:
            yield f"{utt}: {problem}"
        seconds = stated.get(utt, "")
        if lasts is not None and _positive(seconds) and abs(lasts - float(seconds)) > APART:
            # without an alignment stage 1 writes what GRID's clips last, and generated ones are shorter
            assumed = float(seconds) == DURATION and utt not in tables["ctm"]
            line = f"{utt}: lasts {lasts:.2f} s, in utt2dur {float(seconds):.2f} s; copy it again or mend utt2dur"
            yield REMARK + line if assumed else line


def look_at_clip(
    video: str | None, sound: str | None, part: tuple[int, int] | None = None
) -> tuple[list[str], float | None]:
    """What is wrong with one clip, and how many seconds it lasts (None: unknown). A file without a name is left out.
    Of a part, from one picture to before another, nothing else is looked at."""
    shown = heard = None
    problems: list[str] = []
    damaged = False
    if video:
        try:
            frames, grey = look_at(Path(video), part)
        except (UtteranceError, OSError) as error:
            damaged = True
            problems.append(_line(video, error))
        else:
            shown = frames / VIDEO_RATE
            if frames < MIN_FRAMES:
                problems.append(f"{video}: {frames} frames at {VIDEO_RATE} a second; {MIN_FRAMES} are needed")
            if grey >= GREY_SHARE * frames:
                problems.append(f"{video}: {grey} of {frames} pictures are grey rubbish; copy it again or leave it out")
    if sound and not (damaged and sound == video):
        from avsr.media.audio import read_sound

        try:
            heard = read_sound(Path(sound), part=part)[1].seconds
        except (UtteranceError, OSError) as error:
            problems.append(_line(sound, error))
    if shown is not None and heard is not None and abs(heard - shown) > APART:
        problems.append(f"sound lasts {heard:.2f} s, pictures {shown:.2f} s; they are out of step")
    return problems, heard if shown is None else shown


def look_at(video: Path, part: tuple[int, int] | None = None) -> tuple[int, int]:
    """How many pictures a video has at 25 a second, and how many of them are grey. UtteranceError: unreadable."""
    from avsr.media.video import read_frames

    deviations = np.array([picture[::4, ::4].std() for picture in read_frames(video, least=0, part=part)])
    return len(deviations), int(np.sum(deviations < max(FLAT, FAINT * np.median(deviations))))


def main(argv: list[str] | None = None) -> int:
    """Prints every problem; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m avsr.check", description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+", help="data directories, as data/train")
    parser.add_argument("--fast", action="store_true", help="only the tables, no media file is opened")
    args = parser.parse_args(argv)
    count = 0
    seen: dict[str, Path] = {}
    speakers: dict[str, Path] = {}
    for folder in args.data:
        tables, problems = collect(folder)
        problems += disagreements(folder, tables)
        problems += [] if args.fast else media_problems(folder, tables)
        ids, here = utterances(tables), set(tables.get("utt2spk", {}).values())
        problems += [f"{folder}/utt2spk: {utt} stands in {seen[utt]} too" for utt in ids if utt in seen]
        said = [*problems, *shared_speakers(folder, here, speakers)]
        faults = sum(not line.startswith(REMARK) for line in said)
        print(f"{folder}: {len(ids)} utterances, {faults} problems")
        for line in said:
            print(line)
        seen = dict.fromkeys(ids, folder) | seen
        speakers = dict.fromkeys(here, folder) | speakers
        count += faults
    return 1 if count else 0


def shared_speakers(folder: Path, here: Iterable[str], speakers: dict[str, Path]) -> Iterator[str]:
    """Remarks on speakers of `folder` that stand in one of the folders before, a line for each of those."""
    shared: dict[Path, list[str]] = {}
    for speaker in sorted(here):
        if speaker in speakers:
            shared.setdefault(speakers[speaker], []).append(speaker)
    for other, names in shared.items():
        named = " ".join(names[:NAMED]) + (" ..." if len(names) > NAMED else "")
        yield f"{REMARK}{folder}: {len(names)} speakers stand in {other} too, as one-speaker protocols have it: {named}"


def _lines(path: Path, faults: list[str], required: bool) -> list[tuple[int, str]] | None:
    """Lines with their numbers, without those that are no text; None where the file cannot be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        faults += [f"{path} is missing: stage 1 (prepare) writes it"] if required else []
        return None
    except OSError as error:
        faults.append(_line(str(path), error))
        return None
    lines = []
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else [], 1):
        try:
            lines.append((number, line.decode()))
        except UnicodeDecodeError:
            faults.append(f"{path} line {number}: is not UTF-8 text; convert it")
    return lines


def _line(path: str, error: Exception) -> str:
    return f"{path}: {error.strerror}; give rights to read it" if isinstance(error, OSError) else str(error)


def _part(folder: Path, tables: Tables, utt: str) -> tuple[tuple[int, int] | None, list[str]]:
    """The pictures of an utterance that is a part of its files, and what is wrong with its entry."""
    entry = tables.get("segments", {}).get(utt)
    if entry is None:
        return None, []
    try:
        return in_pictures(read_part(folder / "segments", utt, entry)), []
    except AvsrError as error:
        return None, [str(error)]


def _positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
