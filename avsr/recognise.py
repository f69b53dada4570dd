"""Writes down what is said in one clip, from sound, lips or both, as the checkpoint has learnt to.

    python -m avsr.recognise clip.mp4
    python -m avsr.recognise clip.mp4 --checkpoint exp/eg_av/seed0/best.pt

Any container, frame rate and sample rate. Long clips are cut into parts of 4 to 8 s, where the sound is lowest; each
has its line with its times. Where there is no face the recogniser hears without seeing.
"""

import argparse
import sys
from pathlib import Path

from avsr import command
from avsr.clips import options


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, 1 for a clip that cannot be used, 2 for a wrong option."""
    made = options.parser("recognise", __doc__)
    made.add_argument("--checkpoint", type=Path,
                      help="a trained recogniser or joint system (default: one of one speaker, with avsr)")
    made.add_argument("--frontend", type=Path, help="its front-end, where it lies neither inside nor beside")
    made.add_argument("--beam", type=int, default=30, help="hypotheses of the beam search (default 30)")
    return command.run(made, body, argv)


def body(args: argparse.Namespace) -> None:
    """What the options ask for."""
    from avsr.clips.recognise import recognise
    from avsr.stages.common import check_device

    check_device(args.device)
    found = recognise(args.clip, checkpoint=args.checkpoint, frontend=args.frontend, face=args.face, show=args.show,
                      overwrite=args.overwrite, beam=args.beam, device=args.device)  # fmt: skip
    for said in found:
        print(f"{said.start:6.2f} {said.end:6.2f} {said.text}" if len(found) > 1 else said.text)


if __name__ == "__main__":
    sys.exit(main())
