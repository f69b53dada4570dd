"""From a system to its network: model classes by their `type` name, imported when they are asked for."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avsr.config import build
from avsr.errors import UsageError
from avsr.models.systems import System, load_system

if TYPE_CHECKING:
    from torch import nn

TYPES = {
    "audio_only_crn": "avsr.models.enhancement.audio_only_crn:AudioOnlyCRN",
    "mhca_avcrn": "avsr.models.enhancement.mhca_avcrn:MHCAAVCRN",
    "ae": "avsr.models.enhancement.ae:AE",
    "p3d50": "avsr.models.lipreading.word_classifier:WordClassifier",
    "eg_seq2seq": "avsr.models.recognition.eg_seq2seq:EgSeq2Seq",
}


def model_class(kind: str) -> type:
    """The class of a model type. Raises UsageError for an unknown one."""
    if kind not in TYPES:
        raise UsageError(f"no model type '{kind}'; there is {', '.join(TYPES)}")
    module, name = TYPES[kind].split(":")
    return getattr(importlib.import_module(module), name)


def build_model(system: System, folders: Sequence[Path] = ()) -> "nn.Module":
    """The network of a system, with fresh weights. A joint system is built from those that it names, in its preset.

    Raises UsageError for unknown types, keys and values.
    """
    if system.kind == "joint":
        return _joint(system, folders)
    options = dict(system.model)
    if "type" not in options:
        raise UsageError(f"system {system.id}: key 'model.type' is missing")
    cls = model_class(options.pop("type"))
    return cls(build(cls.Conf, options, f"system {system.id}: model"))


def parts(system: System, folders: Sequence[Path] = ()) -> tuple[System, System]:
    """The enhancer and the recogniser of a joint system."""
    if not system.enhancer or not system.recogniser:
        raise UsageError(f"system {system.id}: a joint system needs the keys 'enhancer' and 'recogniser'")
    enhancer = load_system(system.enhancer, system.preset, (), folders)
    return enhancer, load_system(system.recogniser, system.preset, (), folders)


def _joint(system: System, folders: Sequence[Path]) -> "nn.Module":
    from avsr.models.recognition.joint import Joint

    enhancer, recogniser = parts(system, folders)
    return Joint(build_model(enhancer, folders), build_model(recogniser, folders))
