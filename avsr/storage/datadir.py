"""Kaldi data directories: sorted text tables that say what the utterances of a split are and where they lie.

text, wav.scp, video.scp, utt2spk, spk2utt, utt2dur; where the corpus has them, ctm with word times, spk2gender (m or
f), and segments. wav.scp names the video file when the sound lies in it. Entries are plain paths; a pipe (a command, to
Kaldi) is refused.

segments has a line for each utterance that is a part of its files: `utterance utterance start end`, in seconds. As
wav.scp names the files of utterances, the recording that Kaldi wants in the second place is the utterance itself.
Word times count from the start of the part. Utterances without a line are whole files.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from avsr.errors import AvsrError
from avsr.storage.atomic import write_text

SAFE_ID = re.compile(r"[A-Za-z0-9._-]+")
TABLES = ("text", "wav.scp", "video.scp", "segments", "utt2dur", "ctm", "spk2gender", "spk2utt", "utt2spk")
FPS = 25  # pictures a second of every utterance
OTHER_CAMERA = "_30deg"  # ends the id of an utterance as a second camera saw it; its sound is the first one's
HELDOUT = "heldout"  # a split beside train, valid and test: windows for energy errors, which no training sees
UNSEEN = "unseen_speakers"  # in splits.json: true where no tested speaker is in another split
CURE = "mend the table, or run stage 1 (prepare) again where it made it"


@dataclass(frozen=True)
class Utterance:
    """One utterance. `audio` is None when the sound lies in the video; `words` are (start s, end s, word)."""

    id: str
    speaker: str
    text: str
    video: Path | None
    audio: Path | None
    duration: float
    words: tuple[tuple[float, float, str], ...] = ()
    sex: str = ""  # of the speaker: m or f; empty where nobody knows
    part: tuple[float, float] | None = None  # start and end in its files, s; None: they are the utterance

    @property
    def pictures(self) -> tuple[int, int] | None:
        """First picture of the part and the one after its last, at 25 a second; None: all of them."""
        return self.part and in_pictures(self.part)

    @property
    def sound(self) -> Path:
        """The file that the sound is read from."""
        return self.audio or self.video


def in_pictures(part: tuple[float, float]) -> tuple[int, int]:
    """The pictures nearest to the start and the end of a part, at 25 a second; the latter is the first one behind."""
    return round(part[0] * FPS), round(part[1] * FPS)


def recording(utt: str) -> str:
    """What was said once: one name for all views of it, the utterance's own where there is one camera."""
    return utt.removesuffix(OTHER_CAMERA)


def check_id(utt: str, where: str = "") -> str:
    """The id itself, if it is safe as a file name. Raises AvsrError otherwise, beginning with `where`."""
    if not SAFE_ID.fullmatch(utt) or utt.startswith((".", "-")):
        raise AvsrError(f"{where}utterance id {utt!r}: use only letters, digits, '.', '_' and '-'; rename it")
    return utt


def in_order(folder: Path, utterances: Iterable[Utterance]) -> list[Utterance]:
    """Utterances sorted for the tables of `folder`. Raises AvsrError for a doubled id, and one that is no file name."""
    utts = sorted(utterances, key=lambda utt: utt.id)
    for utt, following in zip(utts, utts[1:], strict=False):
        if utt.id == following.id:
            clips = f"{utt.sound} and {following.sound}"
            raise AvsrError(f"{folder}: utterance id {utt.id} stands for two clips, {clips}; rename one")
    for utt in utts:
        check_id(utt.id, where=f"{utt.sound}: ")
        check_id(utt.speaker, where=f"{utt.sound}: ")
    return utts


def table_files(folder: Path) -> list[Path]:
    """The tables of a data directory that are there."""
    return [path for name in TABLES if (path := Path(folder) / name).exists()]


def write_datadir(folder: Path, utterances: Iterable[Utterance]) -> None:
    """Writes all tables, sorted in C order as Kaldi demands; utt2spk last, as it is what readers look for first.

    Raises AvsrError as `in_order`, before anything is written."""
    folder = Path(folder)
    utts = in_order(folder, utterances)
    speakers: dict[str, list[str]] = {}
    for utt in utts:
        speakers.setdefault(utt.speaker, []).append(utt.id)
    _write_table(folder / "text", ((utt.id, utt.text) for utt in utts))
    _write_table(folder / "wav.scp", ((utt.id, str(utt.sound)) for utt in utts))
    _write_table(folder / "video.scp", ((utt.id, str(utt.video)) for utt in utts if utt.video))
    _write_table(folder / "utt2dur", ((utt.id, f"{utt.duration:.3f}") for utt in utts))
    words = [f"{u.id} 1 {start:.3f} {end - start:.3f} {word}\n" for u in utts for start, end, word in u.words]
    write_text(folder / "ctm", "".join(words))
    sexes = {utt.speaker: utt.sex for utt in utts if utt.sex}
    _write_or_remove(folder / "spk2gender", sorted(sexes.items()))
    parts = [(utt.id, f"{utt.id} {utt.part[0]:.3f} {utt.part[1]:.3f}") for utt in utts if utt.part]
    _write_or_remove(folder / "segments", parts)
    _write_table(folder / "spk2utt", ((speaker, " ".join(speakers[speaker])) for speaker in sorted(speakers)))
    _write_table(folder / "utt2spk", ((utt.id, utt.speaker) for utt in utts))


def read_datadir(folder: Path, made_by: str = "stage 1 (prepare)") -> dict[str, Utterance]:
    """The utterances of a data directory in sorted order. Raises AvsrError naming the table and the line."""
    folder = Path(folder)
    if not (folder / "utt2spk").exists():
        raise AvsrError(f"{folder}/utt2spk is missing: {made_by} makes it; run that first")
    utt2spk = read_table(folder / "utt2spk")
    text, wav, video, durations = (
        read_table(folder / name, required=name != "video.scp") for name in ("text", "wav.scp", "video.scp", "utt2dur")
    )
    words, sexes = read_ctm(folder / "ctm"), read_table(folder / "spk2gender", required=False)
    parts = read_table(folder / "segments", required=False)
    utterances = {}
    for utt, speaker in utt2spk.items():
        for name, table in (("text", text), ("wav.scp", wav), ("utt2dur", durations)):
            if utt not in table:
                raise AvsrError(f"{folder}/{name}: {utt} is missing; {CURE}")
        if not _is_number(durations[utt]):
            raise AvsrError(f"{folder}/utt2dur: {utt} lasts {durations[utt]!r}; write its seconds")
        path = Path(video[utt]) if utt in video else None
        sound = Path(wav[utt])
        utterances[utt] = Utterance(
            utt, speaker, text[utt], path, None if sound == path else sound, float(durations[utt]), words.get(utt, ()),
            sexes.get(speaker, ""), read_part(folder / "segments", utt, parts[utt]) if utt in parts else None,
        )  # fmt: skip
    return utterances


def read_splits(folders: Iterable[Path]) -> dict[Path, dict[str, Utterance]]:
    """Data directories of several splits. AvsrError as `read_datadir`, for an utterance in two of them, for a tested
    speaker in another one where splits.json beside them says that tested speakers are unseen there."""
    splits: dict[Path, dict[str, Utterance]] = {}
    for folder in map(Path, folders):
        utterances = read_datadir(folder)
        for other, others in splits.items():
            both = sorted(utterances.keys() & others.keys())
            if both:
                raise AvsrError(f"{folder}/utt2spk: {both[0]} stands in {other} too; an utterance has one split")
        splits[folder] = utterances
    for test in splits:
        if test.name == "test" and _unseen(test.parent / "splits.json"):
            _check_unseen(test, splits)
    return splits


def _unseen(path: Path) -> bool:
    return path.exists() and json.loads(path.read_text(encoding="utf-8")).get(UNSEEN, False)


def _check_unseen(test: Path, splits: Mapping[Path, Mapping[str, Utterance]]) -> None:
    tested = {row.speaker for row in splits[test].values()}
    for folder, utterances in splits.items():
        row = next((row for row in utterances.values() if folder != test and row.speaker in tested), None)
        if row:
            what = f"{row.id} is of {row.speaker}, who is tested in {test}; this protocol tests unseen speakers"
            raise AvsrError(f"{folder}/utt2spk: {what}; take it out, or run stage 1 (prepare) again")


def read_table(path: Path, required: bool = True) -> dict[str, str]:
    """A Kaldi table as a mapping id -> rest of the line. Raises AvsrError on pipes, bad ids, order and encoding."""
    path = Path(path)
    if not required and not path.exists():
        return {}
    table, faults = scan_table(path, enumerate(_lines(path), 1))
    if faults:
        raise AvsrError(faults[0])
    return table


def scan_table(path: Path, lines: Iterable[tuple[int, str]]) -> tuple[dict[str, str], list[str]]:
    """The table that numbered lines make, and all that is wrong with them. Lines without a usable id are left out, the
    entry of a pipe is empty."""
    table: dict[str, str] = {}
    previous, faults = "", []
    for number, line in lines:
        where = f"{path} line {number}: "
        utt, _, rest = line.partition(" ")
        try:
            check_id(utt, where)
        except AvsrError as error:
            faults.append(str(error))
            continue
        if utt in table:
            faults.append(f"{where}{utt} is doubled; each id stands once")
            continue
        if utt < previous:
            faults.append(f"{where}{utt} is out of order; sort with LC_ALL=C sort")
        table[utt], previous = rest.strip(), utt
        if path.suffix == ".scp" and ("|" in rest or not rest.strip()):
            what = "has a pipe; commands are refused, name a file" if "|" in rest else "names no file"
            faults.append(f"{where}{utt} {what}")
            table[utt] = ""
    return table, faults


def read_part(path: Path, utt: str, entry: str) -> tuple[float, float]:
    """Start and end in seconds from an utterance's entry in segments. Raises AvsrError for what is no part of it."""
    try:
        recording, start, end = entry.split()
        part = float(start), float(end)
    except ValueError:
        recording, part = "", (math.nan, math.nan)
    if recording != utt or not 0 <= part[0] < part[1] < math.inf:
        raise AvsrError(f"{path}: {utt} {entry}: must read 'utterance utterance start end', seconds with start < end")
    return part


def read_ctm(path: Path) -> Mapping[str, tuple[tuple[float, float, str], ...]]:
    """Word times by utterance; empty when the corpus has none."""
    words: dict[str, list] = {}
    if not Path(path).exists():
        return words
    for number, line in enumerate(_lines(Path(path)), 1):
        try:
            utt, _, start, duration, word = line.split()
            words.setdefault(utt, []).append((float(start), float(start) + float(duration), word))
        except ValueError:
            raise AvsrError(f"{path} line {number}: must read 'utterance channel start duration word'") from None
    return {utt: tuple(rows) for utt, rows in words.items()}


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)  # NaN is none
    except ValueError:
        return False


def _lines(path: Path) -> list[str]:
    """Lines end at a line feed alone: transcripts may hold other characters that Python takes for an end of line."""
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").split("\n") if path.stat().st_size else []
    except FileNotFoundError:
        raise AvsrError(f"{path} is missing; {CURE}") from None
    except UnicodeDecodeError:
        raise AvsrError(f"{path}: is not UTF-8 text; convert it") from None


def _write_or_remove(path: Path, rows: list[tuple[str, str]]) -> None:
    if rows:
        _write_table(path, rows)
    else:
        path.unlink(missing_ok=True)


def _write_table(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    write_text(path, "".join(f"{key} {value}\n" for key, value in rows))
