"""Configuration: YAML of plain data into frozen dataclasses, strictly.

A recipe's YAML has one section a stage. Files given later win over earlier ones, key by key, and `--set a.b=1` wins
over all files. An unknown key or a wrong type is an error that names the place and the nearest key.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from avsr.errors import UsageError
from avsr.storage.atomic import write_text

T = TypeVar("T")
CONF = Path(__file__).resolve().parent / "conf"  # the defaults of all recipes; in the repository a link to its conf/
SECTIONS = ("prepare", "crop", "extract", "mix", "pretrain", "enhance", "recognise", "joint", "score")


def read_yaml(path: Path) -> dict:
    """The mapping in a YAML file (empty file: empty mapping). UsageError when it is missing or malformed."""
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such configuration file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"{path}: the top level must be a mapping of keys, not {type(data).__name__}")
    return data


def merge(base: Mapping, top: Mapping) -> dict:
    """`base` overlaid by `top`, key by key through nested mappings; lists and scalars are replaced whole."""
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(merged.get(key), Mapping) and isinstance(value, Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def parse_set(assignment: str) -> dict:
    """`a.b=1` as `{"a": {"b": 1}}`; the value is read as YAML."""
    name, equals, text = assignment.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise UsageError(f"--set {assignment}: write it as section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"--set {assignment}: the value is not valid YAML") from None
    for key in reversed(keys):
        value = {key: value}
    return value


def load_section(cls: type[T], files: Sequence[Path], section: str, sets: Sequence[str] = ()) -> T:
    """One section of the recipe's YAML files as `cls`; the other sections are only checked for their names."""
    merged: dict = {}
    for path in files:
        data = read_yaml(path)
        _check_names(data, SECTIONS, str(path))
        merged = merge(merged, data)
    for assignment in sets:
        data = parse_set(assignment)
        _check_names(data, SECTIONS, f"--set {assignment}")
        merged = merge(merged, data)
    where = f"{files[-1] if files else '--set'}: {section}"
    return build(cls, {} if merged.get(section) is None else merged[section], where)


def build(cls: type[T], data: Mapping, where: str) -> T:
    """A dataclass from a mapping of plain data. `where` stands in front of error messages. Raises UsageError."""
    if not isinstance(data, Mapping):
        raise UsageError(f"{where}: must be a mapping of keys, not {data!r}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    _check_names(data, fields, where)
    missing = [
        name
        for name, field in fields.items()
        if name not in data and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UsageError(f"{where}: key '{missing[0]}' is missing")
    values = {name: _convert(hints[name], value, f"{where}.{name}") for name, value in data.items()}
    try:
        return cls(**values)
    except ValueError as error:  # a dataclass may check its own values in __post_init__
        raise UsageError(f"{where}: {error}") from None


def to_dict(conf: Any) -> Any:
    """A dataclass as plain data, fit for YAML, JSON and digests: tuples become lists, paths become text."""
    if dataclasses.is_dataclass(conf) and not isinstance(conf, type):
        return {field.name: to_dict(getattr(conf, field.name)) for field in dataclasses.fields(conf)}
    if isinstance(conf, Mapping):
        return {str(key): to_dict(value) for key, value in conf.items()}
    if isinstance(conf, (list, tuple)):
        return [to_dict(value) for value in conf]
    return str(conf) if isinstance(conf, Path) else conf


def save(path: Path, conf: Any) -> None:
    """Writes the resolved configuration beside a result."""
    write_text(path, yaml.safe_dump(to_dict(conf), sort_keys=False, allow_unicode=True, width=120))


def _check_names(data: Mapping, known: Any, where: str) -> None:
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(str(key), list(known), n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
            raise UsageError(f"{where}: unknown key '{key}'; {hint}")


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(inner, value, where)
    if origin is typing.Literal:
        if value in inner and not isinstance(value, bool) or any(value is choice for choice in inner):
            return value
        raise UsageError(f"{where}: {value!r} is none of {', '.join(map(repr, inner))}")
    if origin in (tuple, list):
        return _convert_sequence(origin, inner, value, where)
    if origin is dict or kind is dict:
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}: must be a mapping, not {value!r}")
        return {k: _convert(inner[1], v, f"{where}.{k}") if inner else v for k, v in value.items()}
    if dataclasses.is_dataclass(kind):
        return build(kind, value, where)
    return _convert_scalar(kind, value, where)


def _convert_union(inner: tuple, value: Any, where: str) -> Any:
    error = None
    for kind in inner:
        if kind is type(None):
            if value is None:
                return None
            continue
        try:
            return _convert(kind, value, where)
        except UsageError as caught:
            error = error or caught
    raise error or UsageError(f"{where}: {value!r} is not allowed here")


def _convert_sequence(origin: type, inner: tuple, value: Any, where: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise UsageError(f"{where}: must be a list, not {value!r}")
    if origin is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
        if len(value) != len(inner):
            raise UsageError(f"{where}: must have {len(inner)} values, not {len(value)}")
        kinds = inner
    else:
        kinds = (inner[0] if inner else Any,) * len(value)
    pairs = enumerate(zip(kinds, value, strict=True))
    return origin(_convert(kind, item, f"{where}[{i}]") for i, (kind, item) in pairs)


def _convert_scalar(kind: type, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as text
        try:
            return float(value)
        except ValueError:
            pass
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path"}
    raise UsageError(f"{where}: must be {words.get(kind, kind.__name__)}, not {value!r}")
