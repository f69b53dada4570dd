"""The options that the commands on a single clip share."""

import argparse
from pathlib import Path


def parser(name: str, doc: str) -> argparse.ArgumentParser:
    """A clip, whose face, what to draw, what to overwrite, where to compute."""
    made = argparse.ArgumentParser(
        prog=f"python -m avsr.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("clip", type=Path, help="video or sound, any container, frame rate and sample rate")
    made.add_argument("--face", type=int, metavar="N", help="follow face N from the left, not the largest")
    made.add_argument("--show", type=Path, metavar="PNG", help="a picture of what the network saw and heard")
    made.add_argument("--overwrite", action="store_true", help="write over files that are there")
    made.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    return made
