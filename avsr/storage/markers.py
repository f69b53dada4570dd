"""Done-markers: a result counts as done only with a marker that was made from the same inputs and options.

A marker holds the digest of what the result was made from, and names and sizes of its files. It is written last.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from avsr.config import to_dict
from avsr.storage.atomic import write_json


def digest(data: Any) -> str:
    """A short digest of plain data (dataclasses, mappings, lists, numbers, text, paths)."""
    text = json.dumps(to_dict(data), sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def fingerprint(paths: Iterable[Path]) -> list[list]:
    """Name, size and time of change of files: enough to notice that an input was replaced. None: no such file."""
    rows = []
    for path in paths:
        try:
            stat = Path(path).stat()
            rows.append([Path(path).name, stat.st_size, stat.st_mtime_ns])
        except OSError:
            rows.append([Path(path).name, None, None])
    return rows


def mark(marker: Path, key: Any, files: Iterable[Path]) -> None:
    """Writes the marker of finished `files` (relative to the marker's folder where they lie below it)."""
    marker = Path(marker)
    sizes = {_name(marker, path): Path(path).stat().st_size for path in files}
    write_json(marker, {"digest": digest(key), "files": sizes})


def is_done(marker: Path, key: Any) -> bool:
    """Whether the marker is there, was made from the same key, and all its files still have their sizes."""
    marker = Path(marker)
    try:
        data = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(data, dict) or data.get("digest") != digest(key):
        return False
    return all(_has_size(marker.parent / name, size) for name, size in data["files"].items())


def _name(marker: Path, path: Path) -> str:
    path = Path(path)
    return str(path.relative_to(marker.parent)) if path.is_relative_to(marker.parent) else str(path.absolute())


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
