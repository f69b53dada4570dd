"""Whole files or none: write under another name, flush to the disk, then rename."""

import csv
import errno
import io
import json
import os
import platform
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOST = re.sub(r"[^A-Za-z0-9.]", "_", platform.node())  # without -, which parts a temporary name
OTHERS_KEPT = 24 * 3600.0  # seconds: a temporary file of another machine that nobody wrote to for so long is left over


def fsync(path: Path) -> None:
    """Flushes a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some file systems cannot flush a folder; the rename is then as safe as it gets
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def temporary_path(path: Path) -> Path:
    """Where this process writes what becomes `path`: beside it, under a name that says machine and process."""
    return path.with_name(f".tmp-{HOST}-{os.getpid()}-{path.name}")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name to write to; it becomes `path` when the block ends well, and is removed when it does not.

    The temporary name keeps the extension, since writers of sound and video choose their format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with naming(path):
            yield temporary
            fsync(temporary)
            os.replace(temporary, path)
            fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the disk name `path`: a full one names no file, others a temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(str(error.filename)).name.startswith(".tmp-"):
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, data: Any) -> None:
    """Writes JSON with sorted keys, atomically, so that the same data are the same bytes."""
    write_text(path, json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_new(path: Path, text: str) -> bool:
    """Writes a text whole, unless there is a file already; whether it was written. Of several writers one is first."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with naming(path):
            temporary.write_text(text, encoding="utf-8")
            fsync(temporary)
            os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence], delimiter: str = ",") -> None:
    """Writes a table with one header line, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, text.getvalue())


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that processes of this machine which no longer run left in `folder`.

    Parts of --shard may run on other machines at the same time: whether their processes run is not seen from here, so
    their files stay for a day.
    """
    for path in Path(folder).glob(".tmp-*"):
        if _is_left_over(path):
            path.unlink(missing_ok=True)


def _is_left_over(path: Path) -> bool:
    host, _, rest = path.name.removeprefix(".tmp-").partition("-")
    pid = rest.partition("-")[0]
    if host == HOST and pid.isdigit():
        return not Path(f"/proc/{pid}").exists()
    try:
        return time.time() - path.stat().st_mtime > OTHERS_KEPT
    except FileNotFoundError:  # its process has just given it its name
        return False
