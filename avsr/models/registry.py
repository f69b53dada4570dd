"""From a system's `model` mapping to its network: classes by their `type`, imported when they are asked for."""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avsr.config import build
from avsr.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

TYPES = {
    "audio_only_crn": "avsr.models.enhancement.audio_only_crn:AudioOnlyCRN",
    "mhca_avcrn": "avsr.models.enhancement.mhca_avcrn:MHCAAVCRN",
    "vse": "avsr.models.enhancement.vse:VSE",
    "av_se2": "avsr.models.enhancement.av_se2:AVSE2",
    "dl_avse": "avsr.models.enhancement.dl_avse:DLAVSE",
    "ova": "avsr.models.enhancement.ova:OVA",
    "l2l": "avsr.models.enhancement.l2l:L2L",
    "l2l_complex": "avsr.models.enhancement.l2l_complex:L2LComplex",
    "ae": "avsr.models.enhancement.ae:Ae",
    "p3d50": "avsr.models.lipreading.word_classifier:P3D50Words",
    "resnet34": "avsr.models.lipreading.resnet34_words:ResNet34Words",
    "multi_tower": "avsr.models.lipreading.multi_tower:MultiTower",
    "eg_seq2seq": "avsr.models.recognition.eg_seq2seq:EgSeq2Seq",
    "tm_seq2seq": "avsr.models.recognition.tm_seq2seq:TmSeq2Seq",
    "joint": "avsr.models.recognition.joint:Joint",
}

# What a network of each type does: the kind of its systems.
KINDS = {
    "audio_only_crn": "enhance",
    "mhca_avcrn": "enhance",
    "vse": "enhance",
    "av_se2": "enhance",
    "dl_avse": "enhance",
    "ova": "enhance",
    "l2l": "enhance",
    "l2l_complex": "enhance",
    "ae": "enhance",
    "p3d50": "lipread",
    "resnet34": "lipread",
    "multi_tower": "lipread",
    "eg_seq2seq": "recognise",
    "tm_seq2seq": "recognise",
    "joint": "joint",
}

# The pictures that a network of each type sees, as its `video_input` says; a recogniser of sound sees none.
VIDEO = {
    "audio_only_crn": None,
    "mhca_avcrn": "crop80",
    "vse": "crop80",
    "av_se2": "crop80",
    "dl_avse": "crop80",
    "ova": "crop80",
    "l2l": "crop80",
    "l2l_complex": "crop80",
    "ae": "feats",
    "p3d50": "crop112",
    "resnet34": "crop112",
    "multi_tower": "crop112",
    "eg_seq2seq": "feats",
    "tm_seq2seq": "feats",
    "joint": "feats",
}

# Masks that may amplify, and how far; those of all other types end at 1.
LOUDEST = {"dl_avse": 10.0}


def video_of(model: Mapping[str, Any]) -> str | None:
    """What a system's `model` sees (crop80, crop112, crop128, feats), read without loading a network."""
    return model.get("pictures", VIDEO[model["type"]]) if model.get("modality") != "a" else None


def output_head(model: Mapping[str, Any]) -> str:
    """What the output of an enhancement system's `model` means (mask, direct, residual, complex mask), read without
    loading a network."""
    return "complex mask" if model["type"] == "l2l_complex" else model.get("head", "mask")


def loudest_mask(model: Mapping[str, Any]) -> float:
    """The largest value that the mask of an enhancement system's `model` has, read without loading a network."""
    return LOUDEST.get(model["type"], 1.0) if output_head(model) == "mask" else 1.0


def model_class(kind: str) -> type:
    """The class of a model type. Raises UsageError for an unknown one."""
    if kind not in TYPES:
        raise UsageError(f"no model type '{kind}'; there is {', '.join(TYPES)}")
    module, name = TYPES[kind].split(":")
    return getattr(importlib.import_module(module), name)


def build_model(model: Mapping[str, Any]) -> "nn.Module":
    """The network that a system's `model` mapping describes (as a checkpoint keeps it), with fresh weights.

    A joint one holds the mappings of its `enhancer` and its `recogniser`.
    Raises UsageError for unknown types, keys and values.
    """
    options = dict(model)
    kind = options.pop("type", None)
    if not isinstance(kind, str):
        raise UsageError("model: key 'type' is missing")
    cls = model_class(kind)
    if kind == "joint":
        return cls(build_model(options["enhancer"]), build_model(options["recogniser"]))
    return cls(build(cls.Conf, options, f"model ({kind})"))


def has_frontend(model: Mapping[str, Any]) -> bool:
    """Whether a system's `model` sees words by a front-end that other systems can see by."""
    return hasattr(model_class(model["type"]), "Frontend")


def build_frontend(model: Mapping[str, Any]) -> "nn.Module":
    """The front-end alone of a word classifier's `model` (its `type` and `frontend`), with fresh weights.

    Raises UsageError for unknown keys and values.
    """
    cls = model_class(model["type"]).Frontend
    return cls(build(cls.Conf, model.get("frontend", {}), f"model ({model['type']}): frontend"))
