"""Arrays by utterance: a store is a folder of shard files (HDF5, or Kaldi ark with scp) and its marker, store.json.

A shard is written whole or not at all; store.json comes last and lists every array with its shard, shape and type,
so a reader never sees a half-made store, and lengths are known without opening a shard.
"""

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avsr.errors import AvsrError
from avsr.storage.atomic import fsync, naming, temporary_path, write_json, write_text
from avsr.storage.markers import digest

KINDS = ("hdf5", "ark")
DTYPES = ("uint8", "float32", "float16")


def shard_name(index: int) -> str:
    """The name of a shard without its extension."""
    return f"shard-{index:05d}"


def shard_files(folder: Path, index: int, storage: str) -> list[Path]:
    """The files that make up one shard."""
    extensions = {"hdf5": ["h5"], "ark": ["ark", "scp"]}[storage]
    return [Path(folder) / f"{shard_name(index)}.{extension}" for extension in extensions]


class ShardWriter:
    """Writes one shard. Nothing of it is visible under its name before the `with` block has ended well."""

    def __init__(self, folder: Path, index: int, storage: str = "hdf5"):
        if storage not in KINDS:
            raise ValueError(f"storage must be one of {', '.join(KINDS)}, not {storage!r}")
        self.folder, self.storage = Path(folder), storage
        self.final = shard_files(folder, index, storage)
        self.temporary = [temporary_path(path) for path in self.final]
        self.index: dict[str, dict] = {}

    def __enter__(self) -> "ShardWriter":
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.storage == "hdf5":
            import h5py

            # In memory until it is whole: when a disk is full, HDF5's own writing ends in a crash of the process.
            self._memory = io.BytesIO()
            self._file = h5py.File(self._memory, "w", libver="latest")
        else:
            with naming(self.final[0]):
                self._file = open(self.temporary[0], "wb")
            self._scp: list[str] = []
        return self

    def write(self, utt: str, array: np.ndarray) -> None:
        """Adds one array: uint8 (0..255), float32 or float16, any number of axes."""
        array = np.ascontiguousarray(array)
        if array.dtype.name not in DTYPES:
            raise TypeError(f"{utt}: arrays are {', '.join(DTYPES)}, not {array.dtype}")
        self.index[utt] = {"shape": list(array.shape), "dtype": array.dtype.name}
        if self.storage == "hdf5":
            self._file.create_dataset(utt, data=array, track_times=False)
        else:
            self._write_ark(utt, array)

    def _write_ark(self, utt: str, array: np.ndarray) -> None:
        import kaldiio

        matrix = array if array.ndim == 1 and array.dtype != np.uint8 else array.reshape(len(array), -1)
        # uint8: Kaldi's one-byte format for 0..255 (method 6) gives every value back exactly
        method = 6 if array.dtype == np.uint8 else None
        if array.dtype != np.uint8:
            matrix = matrix.astype(np.float32)
        with naming(self.final[0]):
            self._file.write(f"{utt} ".encode())
            self._scp.append(f"{utt} {self.final[0].name}:{self._file.tell()}")
            kaldiio.matio.write_array(self._file, matrix, compression_method=method)

    def __exit__(self, kind: Any, _error: Any, _trace: Any) -> None:
        try:
            with naming(self.final[0]):
                self._file.close()
                if kind is None:
                    self._finish()
        finally:
            for temporary in self.temporary:
                temporary.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self.storage == "hdf5":
            self.temporary[0].write_bytes(self._memory.getbuffer())
        else:
            self.temporary[1].write_text("\n".join(self._scp) + "\n" * bool(self._scp), encoding="utf-8")
        for temporary, final in zip(self.temporary, self.final, strict=True):
            fsync(temporary)
            os.replace(temporary, final)
        fsync(self.folder)


def finish_store(
    folder: Path, storage: str, shards: Mapping[int, Mapping[str, dict]], meta: Mapping[str, Any], made_from: str = ""
) -> None:
    """Writes store.json: the marker that makes the shards a store.

    `shards` maps shard number -> ShardWriter.index; `made_from` is a digest of inputs and options.
    """
    folder = Path(folder)
    entries = {
        utt: [number, info["shape"], info["dtype"]] for number, index in shards.items() for utt, info in index.items()
    }
    if storage == "ark":  # one scp over all shards, as Kaldi's scripts leave it
        lines = [line for number in shards for line in shard_files(folder, number, storage)[1].read_text().splitlines()]
        write_text(folder / "feats.scp", "".join(f"{line}\n" for line in sorted(lines)))
    sizes = {path.name: path.stat().st_size for number in shards for path in shard_files(folder, number, storage)}
    data = {"storage": storage, "meta": dict(meta), "made_from": made_from, "files": sizes, "arrays": entries}
    write_json(folder / "store.json", data)


class Store:
    """Reads a finished store; the same `read(utt)` for HDF5 and ark.

    Shards are opened when first needed and once per process, so a Store may be handed to worker processes.
    Raises AvsrError when the store is missing, not finished, or one of its files was cut short.
    """

    def __init__(self, folder: Path, made_by: str = "an earlier stage"):
        self.folder = Path(folder)
        try:
            data = json.loads((self.folder / "store.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise AvsrError(f"{self.folder}/store.json is missing: {made_by} makes it; run that first") from None
        except ValueError:
            raise AvsrError(
                f"{self.folder}/store.json is damaged: delete {self.folder} and run {made_by} again"
            ) from None
        self.storage, self.meta, self._arrays = data["storage"], data["meta"], data["arrays"]
        self.digest = digest(data)
        self._made_by = made_by
        self._open: dict[tuple[int, int], Any] = {}
        for name, size in data["files"].items():
            path = self.folder / name
            found = path.stat().st_size if path.exists() else None
            if found != size:
                state = "is missing" if found is None else f"was cut short ({found} of {size} bytes)"
                raise AvsrError(f"{path} {state}: delete {self.folder} and run {made_by} again")

    def __len__(self) -> int:
        return len(self._arrays)

    def __contains__(self, utt: str) -> bool:
        return utt in self._arrays

    def keys(self) -> list[str]:
        """The ids, sorted."""
        return sorted(self._arrays)

    def shape(self, utt: str) -> tuple[int, ...]:
        """The shape of one array, without reading it."""
        return tuple(self._entry(utt)[1])

    def read(self, utt: str) -> np.ndarray:
        """One array, with the type and shape that it was written with, but float16 as float32: networks take that."""
        number, shape, dtype = self._entry(utt)
        try:
            array = self._read_hdf5(number, utt) if self.storage == "hdf5" else self._read_ark(number, utt)
            return array.astype("float32" if dtype == "float16" else dtype, copy=False).reshape(shape)
        except (OSError, KeyError, ValueError, AssertionError) as error:
            place = shard_files(self.folder, number, self.storage)[0]
            hint = f"delete {self.folder} and run {self._made_by} again"
            what = " ".join(str(error).split()) or "damaged"
            raise AvsrError(f"{place}: cannot read {utt} ({what}): {hint}") from None

    def _entry(self, utt: str) -> list:
        try:
            return self._arrays[utt]
        except KeyError:
            raise AvsrError(f"{self.folder}: holds no utterance {utt}") from None

    def _handle(self, number: int) -> Any:
        key = (os.getpid(), number)  # an HDF5 file must not be shared across a fork
        if key not in self._open:
            path = shard_files(self.folder, number, self.storage)[0]
            if self.storage == "hdf5":
                import h5py

                self._open[key] = h5py.File(path, "r")
            else:
                scp = shard_files(self.folder, number, self.storage)[1]
                self._open[key] = (open(path, "rb"), read_scp_offsets(scp))
        return self._open[key]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_open": {}}

    def _read_hdf5(self, number: int, utt: str) -> np.ndarray:
        return self._handle(number)[utt][()]

    def _read_ark(self, number: int, utt: str) -> np.ndarray:
        from kaldiio import matio

        file, offsets = self._handle(number)
        file.seek(offsets[utt])
        if file.read(2) != b"\0B":  # kaldiio would also unpickle, run ascii parsers and decode sound
            raise ValueError("not a binary Kaldi matrix")
        file.seek(offsets[utt])
        return matio.read_kaldi(file)


def read_scp_offsets(path: Path) -> dict[str, int]:
    """Byte offsets of a shard's scp. Raises AvsrError on a pipe (Kaldi would run it as a command) and bad lines."""
    offsets = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        utt, _, place = line.partition(" ")
        if "|" in place:
            raise AvsrError(f"{path}: the entry of {utt} is a pipe; commands in scp files are refused")
        offset = place.rpartition(":")[2]
        if not offset.isdigit():
            raise AvsrError(f"{path}: the entry of {utt} is not FILE:OFFSET; run the stage that wrote it again")
        offsets[utt] = int(offset)
    return offsets
