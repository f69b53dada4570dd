"""The lip features that stage 5 stores: `dump/video_feats/<split>`, and of the mirrored training clips
`dump/video_feats_flipped/train`. Which views a training sees stands in the meta data of the former."""

from pathlib import Path
from typing import Literal

from avsr.storage.arrays import Store

View = Literal["straight", "flipped"]
FOLDERS = {"straight": "video_feats", "flipped": "video_feats_flipped"}  # below dump/
STAGE = "stage 5 (pretrain)"


def features_folder(work_dir: Path, split: str, view: View = "straight") -> Path:
    """Where the features of a split are stored."""
    return Path(work_dir) / "dump" / FOLDERS[view] / split


def features_store(work_dir: Path, split: str, view: View = "straight") -> Store:
    """The features of a split: (T, D) an utterance. Raises AvsrError when stage 5 has not made them."""
    return Store(features_folder(work_dir, split, view), STAGE)


def training_views(work_dir: Path) -> tuple[View, ...]:
    """The views of which a training draws one for each utterance and epoch."""
    return tuple(features_store(work_dir, "train").meta.get("views", ["straight"]))


def features_width(work_dir: Path) -> int | None:
    """D, the width of the front-end's features; None where there is no utterance."""
    store = features_store(work_dir, "train")
    return store.shape(store.keys()[0])[-1] if len(store) else None
