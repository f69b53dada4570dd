"""Systems: what `conf/systems/<id>.yaml` says, resolved for one preset.

A system's YAML has `name` (printed), `row` (the paper's row it stands for), `kind`, `model` (type and options),
`presets` (overrides of model keys), `training` (a protocol: conf/training/<protocol>.yaml) and `train` (overrides of
it); `extends: <id>` starts from another system; a joint system names its `enhancer` and `recogniser`. No torch here.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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


def system_ids(folders: Sequence[Path] = ()) -> list[str]:
    """The ids of all systems, those of the recipe's `folders` included, in the order of the alphabet."""
    return sorted({path.stem for folder in (FOLDER, *folders) for path in Path(folder).glob("*.yaml")})


def load_system(name: str, preset: str = "base", sets: Sequence[str] = (), folders: Sequence[Path] = ()) -> System:
    """The system with this id. A YAML in `folders` wins over one of the same id in conf/systems.

    sets: overrides such as `model.heads=1` or `train.lr=1e-3`. Raises UsageError: unknown id, preset or key.
    """
    data = _inherited(name, tuple(folders), ())
    presets = data.pop("presets", {})
    if not isinstance(presets, dict) or not all(isinstance(value, dict) for value in presets.values()):
        raise UsageError(f"system {name}: presets must be a mapping of presets to mappings of model keys")
    known = tuple(presets) or PRESETS  # a joint system takes its sizes from its parts
    if preset not in known:
        raise UsageError(f"system {name}: no preset '{preset}'; there is {', '.join(known)}")
    data = merge(data, {"model": presets.get(preset, {})})
    if data.get("kind") == "joint":
        data = merge({"model": _joint_model(name, data, preset, folders)}, data)
    for assignment in sets:
        change = parse_set(assignment)
        if not set(change) <= set(SETTABLE):
            raise UsageError(f"--set {assignment}: a system's keys start with {', '.join(SETTABLE)}")
        data = merge(data, change)
    return build(System, {**data, "id": name, "preset": preset}, f"system {name}")


def training_conf(system: System, folders: Sequence[Path] = (), recipe: Mapping[str, dict] | None = None) -> TrainConf:
    """The system's training protocol overlaid by its own `train`, then by what a recipe's `train:` says for the
    protocol, then for the system. UsageError when there is no such protocol."""
    file = f"{system.training}.yaml"
    path = next((Path(f) / file for f in folders if (Path(f) / file).is_file()), CONF / "training" / file)
    data = merge(read_yaml(path), system.train)
    for name in (system.training, system.id):
        data = merge(data, (recipe or {}).get(name, {}))
    return build(TrainConf, data, f"system {system.id}: {path.name}")


def _joint_model(name: str, data: dict, preset: str, folders: Sequence[Path]) -> dict:
    """The model of a joint system: those of the two systems that it names, in the same preset."""
    model = {"type": "joint"}
    for part in ("enhancer", "recogniser"):
        if not isinstance(data.get(part), str):
            raise UsageError(f"system {name}: a joint system names its '{part}'")
        model[part] = load_system(data[part], preset, (), folders).model
    return model


def _inherited(name: str, folders: tuple[Path, ...], below: tuple[str, ...]) -> dict:
    """The YAML of a system over those that it extends."""
    if name in below:
        raise UsageError(f"system {name}: extends itself, through {' -> '.join((*below, name))}")
    path = next((p for f in (*folders, FOLDER) if (p := Path(f) / f"{name}.yaml").is_file()), None)
    if path is None:
        ids = system_ids(folders)
        near = difflib.get_close_matches(name, ids, n=3) or ids
        raise UsageError(f"no system '{name}'; near names: {', '.join(near)}")
    data = read_yaml(path)
    parent = data.pop("extends", None)
    if parent is None:
        return data
    return merge(_inherited(str(parent), folders, (*below, name)), data)
