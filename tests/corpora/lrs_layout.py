"""Small corpora in the layouts of LRS3 and LRS2, for the tests: real mp4 files of grey pictures, a .txt beside each."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.media.clips import tone, write_clip

HEAD = "Conf:  5\nRef:   abcdefghijk\n\nFRAME \tX \tY \tW \tH \n000000 \t0.1 \t0.2 \t0.3 \t0.4 \n"
Word = tuple[str, float, float]


def transcript(text: str, words: Sequence[Word] | None = None, head: str = HEAD) -> str:
    """What stands in a .txt; without words it has no table."""
    table = "".join(f"{word} {start} {end} 5.0\n" for word, start, end in words or ())
    return f"Text:  {text}\n{head}" + (f"\nWORD START END ASDSCORE\n{table}" if words is not None else "")


def put_clip(
    corpus: Path, name: str, text: str, words: Sequence[Word] | None = None, frames: int = 25, head: str = HEAD
) -> Path:
    """A clip `<folder>/<video id>/<5 digits>` of so many pictures at 25 a second."""
    path = corpus / f"{name}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_clip(frames))
    path.with_suffix(".txt").write_text(transcript(text, words, head), encoding="utf-8")
    return path


def spoken(text: str, start: float = 0.2, each: float = 0.2, gap: float = 0.05) -> list[Word]:
    """Words one after the other."""
    words = text.split()
    return [
        (word, round(start + k * (each + gap), 2), round(start + k * (each + gap) + each, 2))
        for k, word in enumerate(words)
    ]


def make_lrs3(corpus: Path, videos: int = 4) -> Path:
    """`videos` of trainval with two clips each, two of test, and pretrain clips of the first two of trainval."""
    for video in (f"vid_{k}-{k}" for k in range(videos)):
        for number in ("00001", "00002"):
            put_clip(corpus, f"trainval/{video}/{number}", f"A SENTENCE {number}")
    for video in ("-test_one", "test_two"):
        put_clip(corpus, f"test/{video}/00001", "WHAT IS SAID")
    for video in ("vid_0-0", "vid_1-1"):
        put_clip(corpus, f"pretrain/{video}/00001", "ONE TWO", spoken("ONE TWO"))
    return corpus


def make_lrs2(corpus: Path) -> Path:
    """Two clips a split, of one video each, in main and pretrain; the clips of train have the numbers of pretrain."""
    for split, video in (("train", "5535"), ("val", "5536"), ("test", "5537")):
        for number in ("00001", "00002"):
            put_clip(corpus, f"main/{video}/{number}", f"SAID IN {video}", head="Conf:  3\n")
        (corpus / f"{split}.txt").write_text("".join(f"{video}/0000{k}{' NF' * (split == 'test')}\n" for k in (1, 2)))
    for number in ("00001", "00002"):
        put_clip(corpus, f"pretrain/5535/{number}", "ONE TWO", spoken("ONE TWO"), head="Conf:  3\n")
    (corpus / "pretrain.txt").write_text("5535/00001\n5535/00002\n")
    return corpus


@cache
def _clip(frames: int) -> bytes:
    grey = np.full((frames, 32, 32, 3), 120, np.uint8)
    sound = tone(frames / 25, 16000)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, grey, codec="libx264", sound=sound, rate=16000, sound_codec="aac")
        return path.read_bytes()
