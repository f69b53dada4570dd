"""Arrays out of other people's pickles, without running them.

A pickle is a program: it names functions, and unpickling calls them. This is the one place of the toolkit that reads
pickles, for files that are made elsewhere and cannot be had otherwise, and nothing that they name is ever called or
imported: numpy's few names for arrays are written down with their arguments, and the arrays are built here from these,
sizes and types checked. Every other name ends the reading. (Two names for each, as numpy has moved its modules; of the
others, pickles of protocol 2 and below write bytes with them.)
"""

import io
import math
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from avsr.errors import AvsrError

CORES = ("numpy.core", "numpy._core")
NAMES = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"{core}.multiarray", name) for core in CORES for name in ("_reconstruct", "scalar")),
    *((f"{core}.numeric", "_frombuffer") for core in CORES),
    ("_codecs", "encode"),
    *((builtins, "bytes") for builtins in ("builtins", "__builtin__")),
}
NUMBER = re.compile(r"b1|[iu][1248]|f[248]")  # of dtypes, without the byte order
# What unpickling a damaged file may raise; of memory, where it asks for sizes that are not there.
WRONG = (
    *(pickle.UnpicklingError, struct.error, EOFError, MemoryError, ArithmeticError, AssertionError),
    *(AttributeError, LookupError, NameError, TypeError, ValueError),
)


class _Refused(Exception):
    """What the file holds, for the line that refuses it."""


class _Call:
    """A call that the pickle asks for: written down, not made."""

    def __init__(self, name: str, args: tuple):
        self.name, self.args, self.state = name, args, None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Name:
    """Stands for a function or class that a pickle names."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, *args: Any) -> _Call:
        return _Call(self.name, args)

    def __setstate__(self, state: Any) -> None:
        raise _Refused(f"changes {self.name}")


class _Unpickler(pickle._Unpickler):  # in Python: the one in C makes room for as many objects as a file claims to name
    def find_class(self, module: str, name: str) -> _Name:
        if (module, name) not in NAMES:
            raise _Refused(f"holds {ascii(f'{module}.{name}')[1:-1][:80]}, which could run code")
        return _Name(name)


def read_pickle(path: Path) -> Any:
    """Arrays of numbers, lists, tuples, dicts, numbers, text and None; arrays of objects become lists.

    Raises AvsrError with one line: no such file, damaged, or anything else in it, by its name.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise AvsrError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return _Builder().value(_Unpickler(io.BytesIO(data), encoding="latin1").load())
    except _Refused as error:
        raise AvsrError(f"{path}: refused, it {error}; only arrays, lists, dicts, numbers and text are taken") from None
    except RecursionError:
        raise AvsrError(f"{path}: refused, it is nested too deeply") from None
    except WRONG as error:
        what = " ".join(str(error).split())[:160] or type(error).__name__
        raise AvsrError(f"{path}: no pickle of arrays, or a damaged one ({what}); make it again") from None


class _Builder:
    """Plain data from what was unpickled; every object is built once, however often it is named."""

    def __init__(self):
        self._built: dict[int, Any] = {}
        self._begun: set[int] = set()

    def value(self, item: Any) -> Any:
        if item is None or type(item) in (bool, int, float, str, bytes):
            return item
        if id(item) not in self._built:
            if id(item) in self._begun:
                raise _Refused("holds itself")
            self._begun.add(id(item))
            self._built[id(item)] = self._build(item)
        return self._built[id(item)]

    def _build(self, item: Any) -> Any:
        if type(item) in (list, tuple):
            return type(item)(self.value(one) for one in item)
        if type(item) is dict:
            return {self.value(key): self.value(one) for key, one in item.items()}
        if type(item) is _Call and item.name in CALLS:
            return CALLS[item.name](self, item)
        raise _Refused(f"holds a {type(item).__name__ if type(item) not in (_Call, _Name) else item.name}")

    def _reconstruct(self, call: _Call) -> np.ndarray | list:
        """ndarray, as protocols up to 4 write it: its state is (version, shape, dtype, Fortran order, data)."""
        kind = call.args[0]
        if type(kind) is not _Name or kind.name != "ndarray":
            raise _Refused("holds an array of another class")
        shape, dtype, fortran, data = call.state[-4:]
        if type(data) is list:  # an array of objects
            if _is_object(dtype) and tuple(shape) == (len(data),):
                return [self.value(one) for one in data]
            raise _Refused("holds an array of objects with several axes")
        return _array(_bytes(data), _dtype(dtype), shape, "F" if fortran else "C")

    def _frombuffer(self, call: _Call) -> np.ndarray:
        """ndarray, as protocol 5 writes it: data, dtype, shape, order and, from numpy 2.3 on, the order of its axes."""
        data, dtype, shape, order, *axes = call.args
        array = _array(_bytes(data), _dtype(dtype), shape, "F" if order == "F" else "C")
        return array.transpose(axes[0]) if axes and axes[0] is not None else array

    def _scalar(self, call: _Call) -> float | int | bool:
        dtype, data = call.args
        return _array(_bytes(data), _dtype(dtype), (), "C").item()


CALLS: dict[str, Callable[[_Builder, _Call], Any]] = {
    "_reconstruct": _Builder._reconstruct,
    "_frombuffer": _Builder._frombuffer,
    "scalar": _Builder._scalar,
    "encode": lambda _, call: _bytes(call),
    "bytes": lambda _, call: _bytes(call),
}


def _is_object(dtype: Any) -> bool:
    return type(dtype) is _Call and dtype.name == "dtype" and str(dtype.args[0]).startswith("O")


def _dtype(call: Any) -> np.dtype:
    """A type of numbers: dtype(name, ...) with the state (version, byte order, sub-array, names, fields, ...)."""
    if type(call) is not _Call or call.name != "dtype" or not NUMBER.fullmatch(str(call.args[0])):
        raise _Refused("holds an array of other things than numbers")
    order, *parts = call.state[1:5] if call.state else ("=",)
    if order not in ("<", ">", "=", "|") or any(part is not None for part in parts):
        raise _Refused("holds an array of records")
    return np.dtype(call.args[0]).newbyteorder(order)


def _array(data: bytes, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    if not all(type(size) is int and size >= 0 for size in shape) or len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(data)} bytes for an array of shape {tuple(shape)}")
    array = np.frombuffer(data, dtype).reshape(shape, order=order)
    return array.astype(dtype.newbyteorder("="))


def _bytes(item: Any) -> bytes:
    """Bytes, as Python 3 writes them in each protocol, or as the text that Python 2 had for them."""
    if type(item) is _Call and item.name == "bytes" and not item.args:
        return b""
    if type(item) is _Call and item.name == "encode" and item.args[1:] in (("latin1",), ("latin-1",)):
        item = item.args[0]
    if type(item) is str:
        return item.encode("latin1")
    if type(item) in (bytes, bytearray):
        return bytes(item)
    raise _Refused("holds an array without its numbers")
