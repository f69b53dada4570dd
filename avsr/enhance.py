"""Enhances one clip: the voice of the face in it comes out, what else is heard goes down.

    python -m avsr.enhance clip.mp4 --out clean.wav
    python -m avsr.enhance clip.mp4 --out clean.mp4 --show panel.png   # the video with the new sound
    python -m avsr.enhance clip.mp4 --out mine.wav --checkpoint exp/mhca_avcrn/seed0/best.pt

Any container, frame rate and sample rate; clips of any length, in memory that does not grow. Where there is no picture,
or no face in it, the network hears without seeing. The output is mono at 16 kHz, as loud as the clip.
"""

import argparse
import sys
from pathlib import Path

from avsr import command
from avsr.clips import options


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, 1 for a clip that cannot be used, 2 for a wrong option."""
    made = options.parser("enhance", __doc__)
    made.add_argument("--out", type=Path, required=True, help="wav, flac, ogg; mp4, mov, mkv: video too")
    made.add_argument("--checkpoint", type=Path,
                      help="trained MHCA-AVCRN, Audio-only CRN or VSE (default: one of one speaker, with avsr)")
    return command.run(made, body, argv)


def body(args: argparse.Namespace) -> None:
    """What the options ask for."""
    from avsr.clips.enhance import enhance
    from avsr.stages.common import check_device

    check_device(args.device)
    enhance(args.clip, args.out, checkpoint=args.checkpoint, face=args.face, show=args.show, overwrite=args.overwrite,
            device=args.device)


if __name__ == "__main__":
    sys.exit(main())
