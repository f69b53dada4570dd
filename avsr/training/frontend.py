"""Lip reading front-ends: taken out of a trained word classifier, kept alone in a file, and loaded from either.

A front-end file is a checkpoint with the weights of the front-end alone, the configuration that builds it, and
`origin`: where they come from. So it fits whatever preset a recipe has.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avsr.errors import AvsrError, UsageError
from avsr.models.registry import build_frontend
from avsr.training import checkpoint

PREFIX = "frontend."  # of its weights in a word classifier
GIVE = "give a front-end file (exp/frontend.pt), or a word classifier's folder (exp/p3d50/seed0) or best.pt"


def find(path: Path) -> Path:
    """The file that a name of a front-end means: itself, or the best checkpoint of a training's folder.

    Raises AvsrError where the folder has none.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    best = path / "best.pt"
    if not best.is_file():
        raise AvsrError(f"{path}: is a folder without best.pt; {GIVE}")
    return best


def read(path: Path) -> dict:
    """The content of a front-end file, or of a word classifier's checkpoint as one.

    `model` is the weights of the front-end alone. Raises AvsrError with one line when the file cannot be read,
    UsageError when what it holds has no front-end.
    """
    content = checkpoint.read(path)
    weights = content["model"]
    if "origin" not in content:
        weights = {name.removeprefix(PREFIX): value for name, value in weights.items() if name.startswith(PREFIX)}
    if not weights:
        raise UsageError(f"{path}: {content['system']} has no lip reading front-end; {GIVE}")
    return {**content, "model": weights}


def load(path: Path, device: str | torch.device = "cpu") -> nn.Module:
    """The front-end, in eval mode: (b, t, h, w) uint8 crops -> (b, t, d). Raises as `read`, and AvsrError where the
    weights do not fit the configuration beside them."""
    return built(read(path), path).to(device).eval()


def built(content: dict[str, Any], where: Path) -> nn.Module:
    """The front-end of a content as `read` gives it; AvsrError as `load`."""
    made = build_frontend(content["config"]["system"]["model"])
    checkpoint.fill(made, content["model"], where)
    return made


def best_of(paths: Sequence[Path]) -> Path:
    """Of trained word classifiers' checkpoints the one of the highest accuracy on validation; the first of equals."""
    return max(paths, key=lambda path: checkpoint.read(path)["valid"]["accuracy"])


def export(best: Path, out: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """Writes the front-end of a word classifier's checkpoint to a file of its own, whole or not at all.

    `origin` (plain data) is kept beside the weights with the accuracy on validation and the number of words; returns
    all of it. Raises as `read`.
    """
    content = read(best)
    model = content["config"]["system"]["model"]
    origin = {**origin, "accuracy": content["valid"]["accuracy"], "words": model["classes"]}
    alone = {"id": content["system"], "model": {"type": model["type"], "frontend": model.get("frontend", {})}}
    checkpoint.save(
        out,
        {"system": content["system"], "config": {"system": alone}, "model": content["model"], "origin": origin},
    )
    return origin
