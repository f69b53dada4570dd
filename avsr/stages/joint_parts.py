"""Whether the two parts of a joint system hear alike, asked before its training starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avsr.config import read_yaml
from avsr.errors import UsageError
from avsr.training.folder import RunFolder

HEARING = ("mels", "input_transform")  # keys of a model that say what it hears, besides the mel set of its type


def check_parts(name: str, model: Mapping[str, Any], starts: Mapping[str, Path]) -> None:
    """Raises UsageError where enhancer and recogniser do not fit each other, or a part's trained weights (`starts`: its
    checkpoint) were made for other mel settings than the joint system's."""
    import torch

    from avsr.models.registry import build_model

    try:
        with torch.device("meta"):  # no weights: the parts only look at each other
            joint = build_model(model)
    except UsageError as error:
        raise UsageError(f"system {name}: {error}") from None
    for part in ("enhancer", "recogniser"):
        config = RunFolder(starts[part].parent).config if part in starts else None
        if config is None or not config.is_file():
            continue
        held, conf = read_yaml(config)["system"]["model"], getattr(joint, part).conf
        for key in HEARING:
            wanted, was = getattr(conf, key), held.get(key, getattr(type(conf)(), key))
            if was != wanted:
                raise UsageError(
                    f"{starts[part]}: was trained with model.{key} {was}, the {part} of {name} has {wanted}; "
                    f"train it anew, or say so in the YAML of {name} too"
                )
