"""Strict configuration: types, unknown keys, precedence."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from avsr import config
from avsr.errors import UsageError


@dataclass(frozen=True)
class Inner:
    heads: int = 5
    rate: float = 0.1


@dataclass(frozen=True)
class Conf:
    inner: Inner = field(default_factory=Inner)
    kind: Literal["a", "b"] = "a"
    size: tuple[int, int] = (1, 2)
    names: tuple[str, ...] = ()
    limit: int | None = None
    on: bool = False


def test_build_converts_plain_data():
    made = config.build(Conf, {"inner": {"rate": "1e-4"}, "size": [3, 4], "names": ["x"], "limit": None}, "f")
    assert made == Conf(Inner(5, 1e-4), "a", (3, 4), ("x",), None, False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"inner": {"haeds": 1}}, "f.inner: unknown key 'haeds'; did you mean 'heads'?"),
        ({"inner": {"heads": 1.5}}, "f.inner.heads: must be a whole number, not 1.5"),
        ({"inner": {"heads": True}}, "f.inner.heads: must be a whole number, not True"),
        ({"inner": 3}, "f.inner: must be a mapping of keys, not 3"),
        ({"kind": "c"}, "f.kind: 'c' is none of 'a', 'b'"),
        ({"size": [1, 2, 3]}, "f.size: must have 2 values, not 3"),
        ({"names": "x"}, "f.names: must be a list, not 'x'"),
        ({"limit": "many"}, "f.limit: must be a whole number, not 'many'"),
        ({"on": 1}, "f.on: must be true or false, not 1"),
    ],
)
def test_build_names_what_is_wrong(data, message):
    with pytest.raises(UsageError, match="^" + message.replace("?", r"\?") + "$"):
        config.build(Conf, data, "f")


def test_later_files_and_sets_win(tmp_path):
    (tmp_path / "a.yaml").write_text("crop: {inner: {heads: 1, rate: 0.5}, kind: b}\n")
    (tmp_path / "b.yaml").write_text("crop: {inner: {heads: 2}}\nmix: {anything: 1}\n")
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    made = config.load_section(Conf, files, "crop", ["crop.inner.rate=0.25"])
    assert made == Conf(Inner(2, 0.25), "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("corp: {}\n", "unknown key 'corp'; did you mean 'crop'"),
        ("crop: [\n", "not valid YAML"),
        ("- crop\n", "the top level must be a mapping"),
    ],
)
def test_bad_files_get_one_line(tmp_path, text, message):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        config.load_section(Conf, [path], "crop")
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_missing_file():
    with pytest.raises(UsageError, match="no-such.yaml: there is no such configuration file"):
        config.load_section(Conf, ["no-such.yaml"], "crop")


def test_set_must_be_an_assignment():
    with pytest.raises(UsageError, match="write it as section.key=value"):
        config.load_section(Conf, [], "crop", ["crop.inner"])


def test_saved_configuration_is_read_back(tmp_path):
    conf = Conf(Inner(1, 0.3), "b", (5, 6), ("n",), 4, True)
    config.save(tmp_path / "c.yaml", conf)
    assert config.build(Conf, config.read_yaml(tmp_path / "c.yaml"), "c") == conf
