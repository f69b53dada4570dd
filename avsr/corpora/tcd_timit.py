"""TCD-TIMIT (Harte and Gillen 2015): sentences of TIMIT, two cameras, phones with times.

    volunteers/<01M ... 59F>/Clips/{straightcam,30degcam}/<sa1, si1234, sx123>.mp4     98 sentences each
    lipspeakers/<Lipspkr1 ... 3>/Clips/{straightcam,30degcam}/<the same>.mp4           377 sentences each
    *labelfiles.mlf                                                     phones, HTK master label files, anywhere

An utterance is `<speaker>-<sentence>`, of the other camera `<speaker>-<sentence>_30deg`. Known faults are mended: one
volunteer is called 30M and 30F (a woman), and six label files write a phone twice.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from avsr.corpora.htk_labels import Phone, Row, entries, read_phones
from avsr.corpora.splits import ONE_SPEAKER_MIN, check_split
from avsr.errors import AvsrError, UsageError, UtteranceError
from avsr.rng import unit
from avsr.storage.datadir import OTHER_CAMERA, Utterance

log = logging.getLogger("avsr")
Camera = Literal["straight", "30deg", "both"]
CAMERAS = {"straight": "straightcam", "30deg": "30degcam"}  # view -> folder
VOLUNTEER, LIPSPEAKER = re.compile(r"\d{2}[MF]"), re.compile(r"LIPSPKR\d")
SENTENCE = re.compile(r"s[aix]\d+")
LABELS = re.compile(r"(?i).*label.*\.mlf")
RENAMED = {"30M": "30F"}
DOUBLED = frozenset(  # label files in which one phone stands twice in a row
    {("28M", "sx337"), ("27M", "si948"), ("08F", "si546"), ("10M", "sx121"), ("35M", "si1259"), ("29M", "si1424")}
)
# The volunteers that published code tests on, 9 men and 8 women; decision: see docs/decisions.md
TEST = tuple("13F 15F 21M 23M 24M 25M 28M 29M 30F 31F 34M 36F 37F 43F 47M 51F 54M".split())
PROTOCOLS = ("volunteers", "all")
BEYOND = 0.2  # seconds that a label may end after its clip, as sound may after its pictures


@dataclass(frozen=True)
class Clip:
    """One video file: `sentence` is TIMIT's name of what is said, `view` the camera."""

    speaker: str
    sentence: str
    view: str
    path: Path

    @property
    def utt(self) -> str:
        return f"{self.speaker}-{self.sentence}{'' if self.view == 'straight' else OTHER_CAMERA}"

    @property
    def sex(self) -> str:
        """m or f; all three lip-speakers are women."""
        return "m" if self.speaker.endswith("M") else "f"


Split = dict[str, list[Clip]]  # train, valid, test


def find_clips(corpus: Path, camera: Camera, option: str = "--corpus-dir") -> dict[str, list[Clip]]:
    """The clips of a camera, or of both, by speaker. Speakers without its folder are left out and named in the log.

    `option` names the folder in errors. Raises AvsrError: no such folder, no clip of this camera."""
    corpus = Path(corpus)
    if not corpus.is_dir():
        raise AvsrError(f"{corpus}: there is no such folder; give TCD-TIMIT's folder with {option}")
    views = tuple(CAMERAS) if camera == "both" else (camera,)
    found: dict[str, dict[str, Clip]] = {}
    without: dict[str, set[str]] = {view: set() for view in views}
    for folder in sorted(path for path in corpus.rglob("*") if path.is_dir() and _speaker(path.name)):
        speaker = _speaker(folder.name)
        for view in views:
            clips = [Clip(speaker, path.stem.lower(), view, path.absolute()) for path in _videos(folder, view)]
            for clip in clips:
                kept = found.setdefault(speaker, {}).setdefault(clip.utt, clip)
                if kept is not clip:
                    log.warning("%s: %s is there twice; %s is used", clip.path, clip.utt, kept.path)
            if not clips:
                without[view].add(speaker)
    for view, speakers in without.items():
        if speakers:
            log.warning("%s: no clip in %s of: %s", corpus, CAMERAS[view], " ".join(sorted(speakers)))
    if not found:
        folders = " or ".join(CAMERAS[view] for view in views)
        raise AvsrError(f"{corpus}: holds no clip as volunteers/01M/Clips/{folders}/sa1.mp4; see {option}")
    return {speaker: list(found[speaker].values()) for speaker in sorted(found)}


def make_split(
    protocol: str, speakers: Mapping[str, Sequence[Clip]], valid_speakers: int | None, seed: int
) -> Split:
    """Unseen speakers: TEST tests, `valid_speakers` other volunteers (None: a tenth) validate, the rest train; `all`:
    so do the lip-speakers. Or one speaker by name: 80, 10 and 10 % of the sentences.

    Raises UsageError for another protocol, AvsrError for too few speakers or sentences."""
    if protocol in speakers:
        return _one_speaker(protocol, speakers[protocol], seed)
    if protocol not in PROTOCOLS:
        known = " ".join([*PROTOCOLS, *speakers])
        raise UsageError(f"--protocol {protocol}: there is no such protocol or speaker here; choose one of: {known}")
    volunteers = [speaker for speaker in speakers if VOLUNTEER.fullmatch(speaker)]
    tested = [speaker for speaker in TEST if speaker in speakers]
    if len(tested) < len(TEST):
        log.warning("%d of %d test speakers are there: %s", len(tested), len(TEST), " ".join(tested) or "none")
    order = sorted(set(volunteers) - set(tested), key=lambda speaker: unit(seed, speaker, "held-out volunteer"))
    count = max(1, len(order) // 10) if valid_speakers is None else valid_speakers
    if not tested or count >= len(order):
        folders = " or ".join(sorted({CAMERAS[clip.view] for clips in speakers.values() for clip in clips}))
        raise AvsrError(
            f"protocol {protocol}: {len(tested)} test speakers and {len(order)} other volunteers, of whom {count} "
            f"shall validate, have clips in {folders}: not enough; add those folders of more speakers, take another "
            "prepare.camera, see prepare.valid_speakers, or name one speaker as --protocol 01M"
        )
    lip = [speaker for speaker in speakers if speaker not in volunteers] if protocol == "all" else []
    names = {"train": [*sorted(order[count:]), *lip], "valid": sorted(order[:count]), "test": tested}
    split = {name: [clip for speaker in chosen for clip in speakers[speaker]] for name, chosen in names.items()}
    check_split(split, one=False, valid_unseen=True)
    return split


class Labels:
    """The phones of every clip, from the master label files of a corpus. Raises AvsrError where there is none."""

    def __init__(self, corpus: Path):
        self._rows: dict[tuple[str, str], tuple[Path, list[Row]]] = {}
        files = [path for path in sorted(Path(corpus).rglob("*.mlf")) if LABELS.fullmatch(path.name)]
        for path in files:
            for name, rows in entries(path):
                *folders, file = name.split("/")
                speaker = next((found for folder in reversed(folders) if (found := _speaker(folder))), "")
                self._rows.setdefault((speaker, Path(file).stem.lower()), (path, rows))
        if not files:
            raise AvsrError(f"{corpus}: has no *labelfiles.mlf; put them there, or read words (prepare.text words)")

    def of(self, clip: Clip) -> tuple[Phone, ...]:
        """The phones of a clip, without silences. Raises UtteranceError: not labelled, damaged."""
        key = (clip.speaker, clip.sentence)
        if key not in self._rows:
            raise UtteranceError(f"{clip.path}: no label file names {clip.speaker}/{clip.sentence}; leave the clip out")
        path, rows = self._rows[key]
        phones = read_phones(path, rows, merge=key in DOUBLED)
        if not phones:
            raise UtteranceError(f"{path}: {clip.speaker}/{clip.sentence} has no phone; leave the clip out")
        return phones


def utterance(clip: Clip, text: str, phones: Sequence[Phone]) -> Utterance:
    """The utterance of a clip that says `text`; without one, the phones are its words, and have times.

    Opens the video, of which nothing is decoded. Raises UtteranceError: a damaged video, a phone that ends after it."""
    from avsr.media.video import probe

    source = probe(clip.path)
    seconds = source.frames / source.fps
    words = tuple((start, min(end, seconds), name.upper()) for start, end, name in phones)
    if phones and phones[-1][1] > seconds + BEYOND:
        raise UtteranceError(
            f"{clip.path}: its last label ends at {phones[-1][1]:.2f} s, the clip after {seconds:.2f} s; leave it out"
        )
    said = text or " ".join(word for _, _, word in words)
    return Utterance(clip.utt, clip.speaker, said, clip.path, None, seconds, words, clip.sex)


def _one_speaker(speaker: str, clips: Sequence[Clip], seed: int) -> Split:
    """By sentences: the views of one are in one split."""
    sentences = sorted({clip.sentence for clip in clips}, key=lambda name: unit(seed, speaker, name, "one speaker"))
    if len(sentences) < ONE_SPEAKER_MIN:
        raise AvsrError(f"{speaker}: {len(sentences)} sentences; one speaker's split needs {ONE_SPEAKER_MIN} at least")
    tenth = max(1, len(sentences) // 10)
    parts = {"train": sentences[2 * tenth :], "valid": sentences[:tenth], "test": sentences[tenth : 2 * tenth]}
    return {name: [clip for clip in clips if clip.sentence in chosen] for name, chosen in parts.items()}


def _videos(folder: Path, view: str) -> list[Path]:
    """The clips of a view in the folder of a speaker; files of other names are passed over."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() == ".mp4" and path.parent.name == CAMERAS[view])
    return sorted(path for path in found if SENTENCE.fullmatch(path.stem.lower()))


def _speaker(folder: str) -> str:
    """The speaker whose folder this is, as it is called everywhere here; empty: nobody's."""
    name = folder.upper()
    if LIPSPEAKER.fullmatch(name):
        return name.capitalize()
    return RENAMED.get(name, name) if VOLUNTEER.fullmatch(name) else ""
