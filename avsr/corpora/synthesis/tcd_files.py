"""What TCD-TIMIT has beside and around a generated clip: the second camera, phones in HTK's format."""

from collections.abc import Iterable
from dataclasses import replace
from math import cos, radians

import numpy as np

from avsr.corpora.htk_labels import HEADER, UNIT
from avsr.corpora.synthesis.clip import Clip
from avsr.corpora.synthesis.motion import base_phone

STEP = UNIT // 100  # labels lie on whole 10 ms
# espeak-ng's phonemes as TCD-TIMIT's labels name them
PHONES = {
    "p": "p", "b": "b", "m": "m", "f": "f", "v": "v", "T": "th", "D": "dh", "t": "t", "d": "d", "n": "n", "s": "s",
    "z": "z", "S": "sh", "Z": "sh", "tS": "ch", "dZ": "jh", "k": "k", "g": "g", "N": "ng", "h": "hh", "x": "k",
    "l": "l", "r": "r", "r-": "r", "w": "w", "j": "y", "i": "iy", "i:": "iy", "I": "ih", "E": "eh", "e": "eh",
    "a": "ae", "V": "ah", "A": "aa", "A:": "aa", "0": "aa", "O": "aa", "O:": "aa", "o": "ow", "U": "uh", "u": "uw",
    "u:": "uw", "3": "er", "3:": "er", "@": "ah", "eI": "ey", "aI": "ay", "OI": "oy", "oU": "ow", "aU": "aw",
    "i@": "ih r", "e@": "eh r", "A@": "aa r", "o@": "aa r", "O@": "aa r", "U@": "uh r", "aI@": "ay ah",
}  # fmt: skip


def turned(clip: Clip, degrees: float = 30.0) -> Clip:
    """The clip as a camera at this angle shows it, roughly: a flat face, as narrow as one turned by so much, and the
    edges of the picture repeated beside it. Nothing that was hidden comes into sight."""
    width = clip.frames_thwc.shape[2]
    at = (np.arange(width) - (width - 1) / 2) / cos(radians(degrees)) + (width - 1) / 2
    columns = np.clip(np.round(at), 0, width - 1).astype(int)
    return replace(clip, frames_thwc=np.ascontiguousarray(clip.frames_thwc[:, :, columns]))


def label_rows(clip: Clip) -> str:
    """`start end phone` for every phone and the silences around and between them, without a gap, one a line."""
    rows: list[tuple[int, int, str]] = []
    for start, end, name in clip.phones:
        parts = PHONES[base_phone(name)].split()
        edges = np.round(np.linspace(start, end, len(parts) + 1) * 100).astype(int)
        for begins, ends, part in zip(edges, edges[1:], parts, strict=False):
            before = rows[-1][1] if rows else 0
            if begins > before:
                rows.append((before, int(begins), "sil"))
            if ends > before:
                rows.append((max(int(begins), before), int(ends), part))
    rows.append((rows[-1][1], max(round(clip.seconds * 100), rows[-1][1] + 1), "sil"))
    return "".join(f"{start * STEP} {end * STEP} {name}\n" for start, end, name in rows)


def master_labels(clips: Iterable[tuple[str, str]]) -> str:
    """A master label file of (path, rows), the paths as they are."""
    return f"{HEADER}\n" + "".join(f'"{path}"\n{rows}.\n' for path, rows in clips)
