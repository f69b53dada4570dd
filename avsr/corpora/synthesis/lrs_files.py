"""Where the clips of LRS3 and LRS2 lie, what their .txt says, and LRS2's lists of splits (AE-MSR specification 10)."""

from collections.abc import Iterable
from pathlib import Path

from avsr.corpora.synthesis.clip import Clip
from avsr.storage.atomic import write_text

LAYOUTS = ("lrs3", "lrs2")
PARTS = {"lrs3": ("pretrain", "trainval", "test"), "lrs2": ("pretrain", "trainval", "valid", "test")}
LISTS = {"pretrain": "pretrain.txt", "trainval": "train.txt", "valid": "val.txt", "test": "test.txt"}  # of LRS2
CONFIDENCE, SPEAKS = 5, 5.0  # `Conf:` and ASDSCORE (that the one who is seen speaks) of every clip: all are sure
DIGITS = {"lrs3": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", "lrs2": "0123456789"}
LENGTH = {"lrs3": 11, "lrs2": 19}  # of a video's id, as YouTube's and as LRS2's folders


def folder_of(layout: str, part: str) -> str:
    """The folder of a part of the corpus: LRS2 holds all but pretrain in `main`."""
    return part if layout == "lrs3" or part == "pretrain" else "main"


def text_of(layout: str, video: str, clip: Clip, box: tuple[float, float, float, float], words: bool) -> str:
    """The .txt beside a clip. box: x, y, width, height of the face's track, as shares of the source video (LRS3);
    words: whether it has the table of word times (s), as pretrain has."""
    lines = [f"Text:  {clip.text}", f"Conf:  {CONFIDENCE}"]
    if layout == "lrs3":
        place = " \t".join(f"{value:.3f}" for value in box)
        lines += [f"Ref:   {video}", "", "FRAME \tX \tY \tW \tH"]
        lines += [f"{number:06d} \t{place}" for number in range(len(clip.frames_thwc))]
    if words:
        lines += ["", "WORD START END ASDSCORE"]
        lines += [f"{word} {start:.2f} {end:.2f} {SPEAKS:.1f}" for start, end, word in clip.words]
    return "\n".join(lines) + "\n"


def write_lists(folder: Path, names: Iterable[tuple[str, str]]) -> None:
    """LRS2's four lists of (part, <video>/<number>); those of test say beside it that none says whose voice it is."""
    names = sorted(names)
    for part, name in LISTS.items():
        mark = " NF" if part == "test" else ""
        write_text(Path(folder) / name, "".join(f"{clip}{mark}\n" for where, clip in names if where == part))
