"""What a system sees of stage 5's lip features: a network of their width, and one or two views of training clips."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avsr.models.registry import video_of
from avsr.storage.lip_features import features_folder, features_width, training_views

WIDTH = 512  # of the features that networks expect where `video` is not said


def with_width(model: Mapping[str, Any], width: int) -> dict[str, Any]:
    """A system's `model` for lip features of another width than the paper's; the same where they fit already."""
    model = dict(model)
    if model["type"] == "joint":
        return {**model, **{part: with_width(model[part], width) for part in ("enhancer", "recogniser")}}
    if video_of(model) == "feats" and model.get("video", WIDTH) != width:
        model["video"] = width
    return model


def seen_features(model: Mapping[str, Any], work_dir: Path) -> tuple[dict[str, Any], dict[str, Any], list[Path]]:
    """The `model` fit for the stored features, the options of its training that say what it sees, and further inputs.

    Nothing is added for one view, nor where the features are not made or the system sees none.
    """
    if video_of(model) != "feats" or not (features_folder(work_dir, "train") / "store.json").exists():
        return dict(model), {}, []
    width, views = features_width(work_dir), training_views(work_dir)
    fit = with_width(model, width) if width else dict(model)
    if len(views) == 1:
        return fit, {}, []
    return fit, {"views": list(views)}, [features_folder(work_dir, "train", "flipped")]
