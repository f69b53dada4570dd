"""Systems: what `conf/systems/<id>.yaml` says, resolved for one preset.

A system's YAML has `name` (printed), `row` (the paper's row it stands for), `kind`, `model` (type and options),
`presets` (overrides of model keys), `training` (a protocol: conf/training/<protocol>.yaml) and `train` (overrides of
it); `extends: <id>` starts from another system; a joint system names its `enhancer` and `recogniser`. A recipe has
systems of its own under `variants:`, by id and in the same words. No torch here.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from avsr.config import CONF, build, merge, parse_set, read_yaml
from avsr.errors import UsageError
from avsr.training.conf import TrainConf

FOLDER = CONF / "systems"
PRESETS = ("base", "small", "tiny")
SETTABLE = ("model", "train", "training")
Kind = Literal["lipread", "enhance", "recognise", "joint"]


@dataclass(frozen=True)
class System:
    """One system in one preset."""

    id: str
    preset: str
    name: str
    kind: Kind
    model: dict[str, Any]  # `type` and the options of that type; of a joint system: enhancer and recogniser, whole
    row: str = ""
    training: str = ""
    train: dict[str, Any] = field(default_factory=dict)
    enhancer: str | None = None
    recogniser: str | None = None


def system_ids(variants: Mapping[str, Mapping] = MappingProxyType({})) -> list[str]:
    """The ids of all systems, those of a recipe's `variants` included, in the order of the alphabet."""
    return sorted({path.stem for path in FOLDER.glob("*.yaml")} | {*variants})


def load_system(
    name: str,
    preset: str = "base",
    sets: Sequence[str] = (),
    variants: Mapping[str, Mapping] = MappingProxyType({}),
) -> System:
    """The system with this id. One of a recipe's `variants` wins over one of the same id in conf/systems.

    sets: overrides such as `model.heads=1` or `train.lr=1e-3`. Raises UsageError: unknown id, preset or key.
    """
    data = _inherited(name, variants, ())
    presets = data.pop("presets", {})
    if not isinstance(presets, dict) or not all(isinstance(value, dict) for value in presets.values()):
        raise UsageError(f"system {name}: presets must be a mapping of presets to mappings of model keys")
    known = tuple(presets) or PRESETS  # a joint system takes its sizes from its parts
    if preset not in known:
        raise UsageError(f"system {name}: no preset '{preset}'; there is {', '.join(known)}")
    data = merge(data, {"model": presets.get(preset, {})})
    if data.get("kind") == "joint":
        data = merge({"model": _joint_model(name, data, preset, variants)}, data)
    for assignment in sets:
        change = parse_set(assignment)
        if not set(change) <= set(SETTABLE):
            raise UsageError(f"--set {assignment}: a system's keys start with {', '.join(SETTABLE)}")
        data = merge(data, change)
    return build(System, {**data, "id": name, "preset": preset}, f"system {name}")


def training_conf(system: System, recipe: Mapping[str, dict] | None = None) -> TrainConf:
    """The system's training protocol overlaid by its own `train`, then by what a recipe's `train:` says for the
    protocol, then for the system. UsageError when there is no such protocol."""
    path = CONF / "training" / f"{system.training}.yaml"
    data = merge(read_yaml(path), system.train)
    for name in (system.training, system.id):
        data = merge(data, (recipe or {}).get(name, {}))
    return build(TrainConf, data, f"system {system.id}: {path.name}")


def _joint_model(name: str, data: dict, preset: str, variants: Mapping[str, Mapping]) -> dict:
    """The model of a joint system: those of the two systems that it names, in the same preset."""
    model = {"type": "joint"}
    for part in ("enhancer", "recogniser"):
        if not isinstance(data.get(part), str):
            raise UsageError(f"system {name}: a joint system names its '{part}'")
        model[part] = load_system(data[part], preset, (), variants).model
    return model


def _inherited(name: str, variants: Mapping[str, Mapping], below: tuple[str, ...]) -> dict:
    """What is said of a system over what is said of those that it extends."""
    if name in below:
        raise UsageError(f"system {name}: extends itself, through {' -> '.join((*below, name))}")
    path = FOLDER / f"{name}.yaml"
    if name in variants:
        data = dict(variants[name])
    elif path.is_file():
        data = read_yaml(path)
    else:
        ids = system_ids(variants)
        near = difflib.get_close_matches(name, ids, n=3) or ids
        raise UsageError(f"no system '{name}'; near names: {', '.join(near)}")
    parent = data.pop("extends", None)
    if parent is None:
        return data
    return merge(_inherited(str(parent), variants, (*below, name)), data)
