"""A picture to look at: frames of the mini corpus, one talker a row, with the word being said.

    python -m avsr.corpora.synthesis.contact --out docs/media/mini_contact.png
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from avsr.corpora.mini import MiniConf, listing, make_utterance
from avsr.corpora.synthesis.clip import Clip
from avsr.storage.atomic import atomic_path

CELL, COLUMNS = 118, 8  # pixels of a frame on the sheet; frames of a talker
COLOURS = 96  # of the file's palette: faces need no more, and it stays small


def contact_sheet(clips: list[Clip]) -> np.ndarray:
    """Frames spread over each clip's speech, cut around the head: (rows * CELL, COLUMNS * CELL, 3) uint8."""
    from PIL import Image, ImageDraw

    rows = []
    for clip in clips:
        start, end = clip.words[0][0], clip.words[-1][1]
        times = start + (np.arange(COLUMNS) + 0.5) * (end - start) / COLUMNS
        side = min(clip.frames_thwc.shape[1:3]) // 2
        top, left = (np.array(clip.frames_thwc.shape[1:3]) - side) // 2
        top -= side // 16  # a little above the middle, where the mouth is
        cells = []
        for time in times:
            frame = clip.frames_thwc[int(time * clip.fps)][top : top + side, left : left + side]
            cell = Image.fromarray(np.ascontiguousarray(frame)).resize((CELL, CELL), Image.Resampling.LANCZOS)
            word = next(word for a, b, word in clip.words if a <= time <= b)
            draw = ImageDraw.Draw(cell)
            draw.text((4, CELL - 13), word, fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))
            cells.append(np.asarray(cell))
        rows.append(np.concatenate(cells, 1))
    return np.concatenate(rows)


def main(argv: list[str] | None = None) -> int:
    """Writes the sheet of one utterance of each of four talkers."""
    parser = argparse.ArgumentParser("python -m avsr.corpora.synthesis.contact", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/media/mini_contact.png"), help="PNG (%(default)s)")
    args = parser.parse_args(argv)
    from PIL import Image

    conf = MiniConf()
    shown = {utt.talker.name: utt for utt in listing(conf, 0) if utt.text.split()[3] in "bfor"}
    sheet = contact_sheet([make_utterance(conf, 0, shown[name]) for name in ("m01", "m02", "m24", "m26")])
    with atomic_path(args.out) as temporary:
        Image.fromarray(sheet).quantize(COLOURS, dither=Image.Dither.NONE).save(temporary, optimize=True)
    print(f"{args.out}: {args.out.stat().st_size // 1000} kB, synthetic")
    return 0


if __name__ == "__main__":
    sys.exit(main())
