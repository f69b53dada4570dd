"""A trained system to hand on: weights in 8 bits and what builds it, with the front-end that it sees by.

    python -m avsr.training.light exp/eg_av/seed0/best.pt --out eg_av.pt --frontend exp/p3d50/seed0/best.pt

The file is a checkpoint as any other: stage 9 scores it (`--checkpoint`), `python -m avsr.enhance` and `python -m
avsr.recognise` take it. What a training needs to go on (optimiser, schedule, random state) is left out.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from torch import nn

from avsr import command
from avsr.errors import UsageError
from avsr.scoring.report import checkpoint_digest
from avsr.training import checkpoint, frontend
from avsr.training.packing import pack

log = logging.getLogger("avsr")
KEPT = ("system", "seed", "units", "valid", "precision")


def export(best: Path, out: Path, lips: Path | None = None) -> dict[str, Any]:
    """Writes `best` to `out`, with the front-end `lips` inside; returns `origin`: the training's commit, the digest of
    its checkpoint.

    Raises UsageError for a file that is there already, a front-end that the system has no use for, or none where it
    sees by one; what `checkpoint.read` and `frontend.read` raise.
    """
    if out.exists():
        raise UsageError(f"{out}: is there already; name another file, or delete it")
    model, content = checkpoint.load_model(best)
    sees = getattr(model, "video_input", None) == "feats"
    if sees != (lips is not None):
        wanted = "sees by a front-end, and none was given" if sees else "has no use for a front-end"
        raise UsageError(f"{best}: {content['system']} {wanted}; see --frontend")
    config = {"system": content["config"]["system"], "train": {"seed": content["config"]["train"]["seed"]}}
    origin = {"commit": content["commit"], "checkpoint_digest": checkpoint_digest(best)}
    made = {name: content[name] for name in KEPT if name in content}
    made |= {"config": config, "packed": pack(model.state_dict()), "origin_of_weights": origin}
    if lips is not None:
        found = frontend.read(lips)
        made["frontend"] = {"config": found["config"], "packed": pack(found["model"])}
    checkpoint.save(out, made)
    return origin


def inside(content: dict[str, Any], where: Path, device: str = "cpu") -> nn.Module | None:
    """The front-end inside a checkpoint's content, in eval mode; None where there is none."""
    if "frontend" not in content:
        return None
    return frontend.built(content["frontend"], where).to(device).eval()


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    made = argparse.ArgumentParser(prog="python -m avsr.training.light", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    made.add_argument("checkpoint", type=Path, help="best.pt of a training")
    made.add_argument("--out", type=Path, required=True, help="the file to write")
    made.add_argument("--frontend", type=Path, help="what a recogniser sees by: a word classifier's best.pt")
    return command.run(made, body, argv)


def body(args: argparse.Namespace) -> None:
    """What the options ask for."""
    export(args.checkpoint, args.out, args.frontend and frontend.find(args.frontend))
    log.info("%s: %d kB", args.out, args.out.stat().st_size // 1000)


if __name__ == "__main__":
    sys.exit(main())
