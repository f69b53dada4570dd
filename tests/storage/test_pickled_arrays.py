"""Arrays are read from pickles of every protocol; whatever else a pickle asks for is not done."""

import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from avsr.errors import AvsrError
from avsr.storage.pickled_arrays import read_pickle

DRAW = np.random.default_rng(0)
CONTENTS = {
    "floats": DRAW.normal(size=(4, 68, 2)),
    "fortran": np.asfortranarray(DRAW.normal(size=(3, 5)).astype(np.float32)),
    "axes moved": np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(1, 2, 0),
    "slice": DRAW.integers(0, 256, (6, 8), np.uint8)[::2, 1:5],
    "big-endian": np.arange(5, dtype=">f8"),
    "empty": np.zeros((0, 2), np.float32),
    "scalar array": np.array(7, np.int64),
    "bool": np.array([True, False]),
}


def write(path: Path, content, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", CONTENTS)
def test_arrays_of_every_protocol(tmp_path, name, protocol):
    expected = CONTENTS[name]
    found = read_pickle(write(tmp_path / "a.pkl", expected, protocol))
    assert isinstance(found, np.ndarray) and found.dtype == expected.dtype.newbyteorder("=")
    assert np.array_equal(found, expected) and found.shape == expected.shape


@pytest.mark.parametrize("protocol", range(6))
def test_lists_dicts_numbers_and_arrays_of_objects(tmp_path, protocol):
    points = DRAW.normal(size=(68, 2)).astype(np.float32)
    objects = np.empty(3, object)
    objects[:] = [points, None, points]
    content = {
        "landmarks": [points, None, points],
        "name": "s1",
        "size": (3, 2.5, True),
        "n": np.float64(0.5),
        "o": objects,
    }
    found = read_pickle(write(tmp_path / "a.pkl", content, protocol))
    assert found["landmarks"][1] is None and np.array_equal(found["landmarks"][2], points)
    assert (found["name"], found["size"], found["n"]) == ("s1", (3, 2.5, True), 0.5)
    assert isinstance(found["o"], list) and found["o"][1] is None and np.array_equal(found["o"][0], points)


@pytest.mark.parametrize("protocol", range(4))
def test_numpy_of_before_its_modules_moved(tmp_path, protocol):
    data = pickle.dumps(CONTENTS["floats"], protocol).replace(b"numpy._core.", b"numpy.core.")
    assert b"numpy.core.multiarray" in data
    (tmp_path / "a.pkl").write_bytes(data)
    assert np.array_equal(read_pickle(tmp_path / "a.pkl"), CONTENTS["floats"])


def test_pickles_of_python_2(tmp_path):
    """Written by hand: there, data are text of 8 bits."""
    numbers = np.array([1.5, -2.0, 200.25], "<f4")
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x03\x85"
        b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x0c"
        + numbers.tobytes()
        + b"tb."
    )
    (tmp_path / "a.pkl").write_bytes(data)
    assert read_pickle(tmp_path / "a.pkl").tolist() == numbers.tolist()


class Runs:
    """Does something when it is unpickled the usual way."""

    def __init__(self, function, *args):
        self.called = function, args

    def __reduce__(self):
        return self.called


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "args", "named"),
    [
        (os.mkdir, ("{}",), "posix.mkdir"),
        (eval, ("__import__('os').mkdir('{}')",), "eval"),
        (exec, ("import os; os.mkdir('{}')",), "exec"),
        (np.fromfile, ("/etc/hostname", "u1"), "fromfile"),
    ],
)
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, function, args, named, protocol):
    place = tmp_path / "it was run"
    bad = Runs(function, *(arg.format(place) for arg in args))
    path = write(tmp_path / "bad.pkl", [CONTENTS["floats"], {"x": bad}], protocol)
    with pytest.raises(AvsrError, match=rf"bad.pkl: refused, it holds [\w.]*\.?{named}, which could run code") as error:
        read_pickle(path)
    assert "\n" not in str(error.value) and not place.exists()
    if function is os.mkdir:  # so that the test is one
        pickle.loads(path.read_bytes())
        assert place.exists()


def test_other_classes_are_refused_by_name(tmp_path):
    for content, named in (
        (OrderedDict(a=1), "collections.OrderedDict"),
        ({1, 2}, "set"),
        (1j, "complex"),
        (Path("x"), "pathlib"),
        (np.ma.masked_array([1.0], [True]), "numpy.ma"),
        (np.float32, "numpy.float32"),
        (np.array(["a"]), "an array of other things than numbers"),
        (np.array([1.0], [("x", "f8")]), "an array of other things than numbers"),
        (np.array([[None, 1]], object), "an array of objects with several axes"),
        (np.ndarray, "ndarray"),
        ({"a": np.dtype("f4")}, "dtype"),
    ):
        for protocol in (2, 4):
            with pytest.raises(AvsrError, match=f"a.pkl: refused, it holds .*{named}") as error:
                read_pickle(write(tmp_path / "a.pkl", content, protocol))
            assert "\n" not in str(error.value)


def array_pickle(shape: bytes, data: bytes, kind: bytes = b"f8") -> bytes:
    """An array's pickle by hand, whose parts need not fit."""
    size = struct.pack("<I", len(data))
    return (
        b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01" + shape
        + b"cnumpy\ndtype\nX" + struct.pack("<I", len(kind)) + kind
        + b"K\x00K\x01\x87R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89B"
        + size + data + b"tb."
    )  # fmt: skip


def test_arrays_that_lie_about_their_size_or_type(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(array_pickle(b"K\x02\x85", bytes(16)))
    assert read_pickle(path).tolist() == [0, 0]
    for data, words in (
        (array_pickle(b"K\x03\x85", bytes(16)), r"16 bytes for an array of shape \(3,\)"),
        (
            array_pickle(b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86", bytes(8)),
            r"8 bytes for an array of shape \(-1, -1\)",
        ),
        (array_pickle(b"K\x02\x85", bytes(16), b"O8"), "other things than numbers"),
        (array_pickle(b"K\x02\x85", bytes(16), b"V8"), "other things than numbers"),
    ):
        path.write_bytes(data)
        with pytest.raises(AvsrError, match=words):
            read_pickle(path)


def test_damaged_files(tmp_path):
    whole = pickle.dumps(CONTENTS["floats"])
    for data in (
        b"",
        b"text, no pickle",
        whole[:-20],
        whole[:40],
        b"\x80\x04]\x94h\x00",
        b"\x80\x63.",
        bytes(100),
        b".",
    ):
        (tmp_path / "a.pkl").write_bytes(data)
        with pytest.raises(AvsrError, match="a.pkl: no pickle of arrays, or a damaged one") as error:
            read_pickle(tmp_path / "a.pkl")
        assert "\n" not in str(error.value)
    with pytest.raises(AvsrError, match="absent.pkl: cannot be read"):
        read_pickle(tmp_path / "absent.pkl")


def test_lists_that_hold_themselves_and_deep_ones(tmp_path):
    loop = [1]
    loop.append(loop)
    with pytest.raises(AvsrError, match="refused, it holds itself"):
        read_pickle(write(tmp_path / "a.pkl", loop))
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + b"]" * 5000 + b"a" * 4999 + b".")
    with pytest.raises(AvsrError, match="nested too deeply"):
        read_pickle(tmp_path / "a.pkl")
    many = [0.0]
    for _ in range(60):  # 2^60 entries, were each of them built
        many = [many, many]
    assert len(read_pickle(write(tmp_path / "a.pkl", many))) == 2


def test_a_pickle_cannot_change_what_it_names(tmp_path):
    """BUILD on a name, which would set attributes of the function in a plain unpickler."""
    (tmp_path / "a.pkl").write_bytes(b"\x80\x03cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb.")
    with pytest.raises(AvsrError, match="refused, it changes dtype"):
        read_pickle(tmp_path / "a.pkl")


def test_random_bytes_never_raise_anything_else(tmp_path):
    whole = bytearray(pickle.dumps([CONTENTS["slice"], None, {"a": (1, 2.5)}], 2))
    for k in range(400):
        draw = np.random.default_rng(k)
        spoilt = bytearray(whole)
        for place in draw.integers(0, len(whole), 3):
            spoilt[place] = draw.integers(256)
        (tmp_path / "a.pkl").write_bytes(spoilt)
        try:
            read_pickle(tmp_path / "a.pkl")
        except AvsrError as error:
            assert "\n" not in str(error)
