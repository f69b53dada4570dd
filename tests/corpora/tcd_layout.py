"""A small corpus in the layout of TCD-TIMIT, for the tests: mp4 files of grey pictures, label files, prompts."""

from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.media.clips import tone, write_clip

FRAMES = 36  # 1.2 s at 29.97
LABELS = "0 2000000 sil\n2000000 4000000 sh\n4000000 6000000 iy\n6000000 7000000 sil\n7000000 9000000 hh\n"
PROMPTS = "; TIMIT's list\nShe had your dark-blue suit. (sa1)\nDon't ask me! (sa2)\nOften, he reads. (si1001)\n"
SENTENCES = ("sa1", "sa2", "si1001")


def put_clip(corpus: Path, speaker: str, sentence: str, camera: str = "straightcam") -> Path:
    """A clip of a volunteer or a lip-speaker."""
    kind = "lipspeakers" if speaker.lower().startswith("lip") else "volunteers"
    path = corpus / kind / speaker / "Clips" / camera / f"{sentence}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_clip())
    return path


def master(clips: dict[str, str]) -> str:
    """A master label file: `<speaker>/<sentence>` -> rows."""
    root = "Q:/Videos/TCD-TIMIT/volunteers"
    parts = (name.split("/") for name in clips)
    names = [f'"{root}/{speaker}/Clips/straightcam/{sentence}.rec"' for speaker, sentence in parts]
    return "#!MLF!#\n" + "".join(f"{name}\n{rows}.\n" for name, rows in zip(names, clips.values(), strict=True))


def make_tcd_timit(corpus: Path) -> Path:
    """Four volunteers, of whom 13F and 21M test, and a lip-speaker; the other camera saw 01M alone."""
    labels = {}
    for speaker in ("01M", "02F", "13F", "21M", "Lipspkr1"):
        for sentence in SENTENCES:
            put_clip(corpus, speaker, sentence)
            labels[f"{speaker}/{sentence}"] = LABELS
    put_clip(corpus, "01M", "sa1", "30degcam")
    (corpus / "volunteer_labelfiles.mlf").write_text(master(labels))
    (corpus / "prompts.txt").write_text(PROMPTS)
    return corpus


@cache
def _clip() -> bytes:
    grey = np.full((FRAMES, 32, 32, 3), 120, np.uint8)
    fps = Fraction(30000, 1001)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        sound = tone(FRAMES / float(fps), 16000)
        write_clip(path, grey, fps, codec="libx264", sound=sound, rate=16000, sound_codec="aac")
        return path.read_bytes()
