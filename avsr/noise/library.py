"""The noise recordings and the talkers that interfere, and which of them each split may hear.

`<noise dir>/<type>/*.wav` are the noises, `<speech dir>/**/*.wav` the talkers, and under a one-speaker protocol the
corpus's other speakers, which stage 1 lists in data/others. They are split by source, not by file: two cuts of one
recording, or two sentences of one talker, never stand on both sides. Types with too few sources to be split are
heard in evaluation only. (MHCA-AVCRN section 4.1 splits its noise by hours and says no more; decision: see
docs/decisions.md.)
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from avsr.errors import AvsrError
from avsr.features.frames import SAMPLE_RATE
from avsr.media.audio import read_sound, resample
from avsr.noise.mixing import SILENCE, power
from avsr.rng import unit
from avsr.storage.datadir import read_datadir

SPLITS = ("train", "valid", "test")
SOUND_FILES = (".wav", ".flac", ".ogg")
TALKERS = "speech"  # the type under which talkers are kept beside the noises
PIECE = 20 * SAMPLE_RATE  # longer recordings are kept in pieces, so that a cut never reads an hour

# Names of which several files come from one recording: ESC-50 and ESC-10 (fold-CLIP-take), numbered pieces of a take.
_ESC = re.compile(r"(?:^|_)[1-5]-(\d+)-[A-Z](?:-\d+)?$")
_PIECES = re.compile(r"(?:_(?:channel|ch|chunk|aug|part|seg|take)_?\d+)+$")
_TALKER = (
    re.compile(r"^cmu_arctic_[a-z]+_([a-z]+)_"),  # cmu_arctic_us_aew_a0001
    re.compile(r"^(spk\d+)_"),  # spk1_snt1
    re.compile(r"^([^-_]+)[-_]"),  # 1995-1837-0001, and anything else up to its first - or _
)


@dataclass(frozen=True)
class Recording:
    """One piece of at most 20 s of one file: what a mixture's noise is cut from."""

    key: str  # <type>-<name>, the key in the store
    type: str
    source: str
    path: str  # empty for generated noise
    split: str = ""
    piece: int = 0
    pieces: int = 1


def noise_source(kind: str, stem: str) -> str:
    """The recording that a noise file comes from, by its name; type and name where no rule knows it."""
    found = _ESC.search(stem)
    return f"esc-{found.group(1)}" if found else f"{kind}/{_PIECES.sub('', stem) or stem}"


def talker_of(stem: str) -> str:
    """The talker of a speech file, by its name."""
    for rule in _TALKER:
        found = rule.match(stem)
        if found:
            return found.group(1)
    return stem


def find_noises(folder: Path) -> list[Recording]:
    """All recordings of a noise folder, sorted by key, not yet split.

    AvsrError naming the file: the folder missing or empty, a file that is no sound, two names that clash.
    """
    folder = _existing(folder, "--noise-dir")
    types = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    found: list[Recording] = []
    for entry in types:
        if entry.name == TALKERS:
            raise AvsrError(f"{entry}: the name '{TALKERS}' is kept for talkers; rename this noise type")
        for path in _sounds(entry):
            found += _pieces(path, entry.name, noise_source(entry.name, path.stem), f"{entry.name}-{path.stem}")
    if not found:
        raise AvsrError(f"{folder}: no sound files in it; noises lie in {folder}/<type>/*.wav")
    return _unique(found)


def find_talkers(folder: Path) -> list[Recording]:
    """All recordings of other talkers below a folder; the source is the talker. Errors as `find_noises`."""
    folder = _existing(folder, "--speech-dir")
    found: list[Recording] = []
    for path in _sounds(folder):
        talker = _safe(talker_of(path.stem))
        found += _pieces(path, TALKERS, talker, f"{TALKERS}-{talker}-{path.stem}")
    if not found:
        raise AvsrError(f"{folder}: no sound files in it; talkers lie in {folder}/<any folders>/*.wav")
    return _unique(found)


def corpus_talkers(folder: Path) -> list[Recording]:
    """The recordings of the corpus's other speakers by the data directory of stage 1; none where it made none.

    No file is opened: `read_recording` says which of the clips are damaged.
    """
    if not Path(folder).is_dir():
        return []
    rows = read_datadir(folder)
    return [Recording(f"{TALKERS}-{utt}", TALKERS, row.speaker, str(row.sound)) for utt, row in rows.items()]


def split_by_source(
    recordings: Iterable[Recording], seed: int, valid_share: float, test_share: float, min_sources: int = 3
) -> list[Recording]:
    """The recordings with their splits, sorted by key. Each type's sources are dealt out in an order hashed by `seed`.

    A source that stands in several types gets one split for all of them. A type with fewer than `min_sources`
    sources is for evaluation only.
    """
    recordings = sorted(recordings, key=lambda recording: recording.key)
    split_of: dict[str, str] = {}
    for kind in sorted({recording.type for recording in recordings}):
        sources = {recording.source for recording in recordings if recording.type == kind}
        if len(sources) < min_sources:
            split_of.update({source: "test" for source in sources})
    for kind in sorted({recording.type for recording in recordings}):
        sources = sorted({recording.source for recording in recordings if recording.type == kind})
        tests, valids = (max(1, round(share * len(sources))) for share in (test_share, valid_share))
        free = sorted((s for s in sources if s not in split_of), key=lambda s: unit(seed, "noise split", kind, s))
        for split, wanted in (("test", tests), ("valid", valids), ("train", len(free))):
            already = sum(split_of.get(source) == split for source in sources)
            for source in free[: max(0, wanted - already)]:
                split_of[source] = split
            free = free[max(0, wanted - already) :]
    return [Recording(**{**asdict(r), "split": split_of[r.source]}) for r in recordings]


def refuse_overlap(rows: Mapping[str, Mapping[str, str]], where: Path) -> None:
    """AvsrError, beginning with `where`, for a source or a file that stands in two splits.

    `rows` of noise_splits.json: key -> type, source, split and, of recorded noise, path. A source is a recording or,
    among the talkers, a talker (MHCA-AVCRN section 3.1 evaluates in noise that training has not heard).
    """
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for key, row in sorted(rows.items()):
        kind = "talker" if row["type"] == TALKERS else "source"
        for name in ((kind, row["source"]), ("file", row.get("path", ""))):
            split, other = seen.setdefault(name, (row["split"], key))
            if name[1] and split != row["split"]:
                raise AvsrError(
                    f"{where}: the {name[0]} {name[1]} stands in both {split} ({other}) and {row['split']} ({key}); a "
                    "source of noise has one split: run stage 4 (mix) again, which makes them"
                )


def describe(recordings: Iterable[Recording]) -> list[str]:
    """One line a type: how many sources and recordings each split has."""
    lines = []
    recordings = list(recordings)
    for kind in sorted({recording.type for recording in recordings}):
        mine = [recording for recording in recordings if recording.type == kind]
        counts = {split: len({r.source for r in mine if r.split == split}) for split in SPLITS}
        note = "" if counts["train"] else " (too few sources to be split: evaluation only)"
        what = "talkers" if kind == TALKERS else "sources"
        shares = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
        lines.append(f"{kind}: {sum(counts.values())} {what} in {len(mine)} recordings: {shares}{note}")
    return lines


def read_recording(recording: Recording) -> np.ndarray:
    """The piece as (samples,) float32, mono, 16 kHz, its mean taken off; of a video, its sound.

    AvsrError: the whole file is silent. UtteranceError: so is the video, or it is damaged.
    """
    path = Path(recording.path)
    if path.suffix.lower() not in SOUND_FILES:
        return read_sound(path)[0]
    rate = _header(path)[1]
    length = PIECE * rate // SAMPLE_RATE
    with _opened(path) as sound:
        if recording.piece == 0 and all(power(block) < SILENCE for block in sound.blocks(length, always_2d=True)):
            raise AvsrError(f"{path}: is silent; take it out of the folder")
        sound.seek(recording.piece * length)
        last = recording.piece == recording.pieces - 1
        wave_nc = sound.read(-1 if last else length, dtype="float64", always_2d=True)
    if not np.isfinite(wave_nc).all():
        raise AvsrError(f"{path}: has samples that are no numbers; take it out of the folder")
    wave_n = resample(wave_nc.mean(axis=1), rate)
    return (wave_n - wave_n.mean(dtype=np.float64)).astype(np.float32)


def _pieces(path: Path, kind: str, source: str, key: str) -> list[Recording]:
    frames, rate = _header(path)
    count = max(1, frames * SAMPLE_RATE // rate // PIECE)  # the last piece takes the rest
    key = _safe(key)
    names = [key] if count == 1 else [f"{key}_p{piece:04d}" for piece in range(count)]
    absolute = str(path.absolute())
    return [Recording(name, _safe(kind), source, absolute, "", piece, count) for piece, name in enumerate(names)]


def _header(path: Path) -> tuple[int, int]:
    """(frames, frames a second)."""
    with _opened(path) as sound:
        if sound.frames < 2:
            raise AvsrError(f"{path}: holds no sound; take it out of the folder")
        return sound.frames, sound.samplerate


def _opened(path: Path):
    import soundfile

    try:
        return soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        why = str(error).rpartition(": ")[2].rstrip(".")
        raise AvsrError(f"{path}: is no sound file ({why}); take it out of the folder or convert it to WAV") from None


def _existing(folder: Path, option: str) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise AvsrError(f"{folder}: there is no such folder; {option} names it")
    return folder


def _sounds(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SOUND_FILES and not p.name.startswith("."))


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)


def _unique(recordings: list[Recording]) -> list[Recording]:
    by_key: dict[str, Recording] = {}
    for recording in recordings:
        other = by_key.setdefault(recording.key, recording)
        if other is not recording:
            raise AvsrError(f"{recording.path} and {other.path}: both are called {recording.key}; rename one")
    return [by_key[key] for key in sorted(by_key)]
