"""One shard of utterances: worked on, written whole, marked; and all shards merged into finished stores."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsr.errors import UtteranceError
from avsr.storage.arrays import ShardWriter, finish_store, shard_files
from avsr.storage.atomic import write_csv, write_json, write_text
from avsr.storage.markers import digest


@dataclass(frozen=True)
class ShardJob:
    """What one shard is made from."""

    out: Path
    number: int
    items: tuple[str, ...]
    stores: tuple[str, ...]
    storage: str
    key: Any

    @property
    def marker(self) -> Path:
        """The file that says this shard is done; one for each set of stores, so that stages may share a folder."""
        return self.out / ".done" / f"{self.step}-{self.number:05d}.json"

    @property
    def step(self) -> str:
        """The name of this work in failed.tsv."""
        return _step(self.stores)

    @property
    def digest(self) -> str:
        """Of everything that the shard is made from."""
        return digest([self.items, self.stores, self.storage, self.key])


@dataclass(frozen=True)
class Counts:
    """How the work on utterances ended. Skipped ones were done by an earlier run."""

    ok: int
    failed: int
    skipped: int

    @property
    def total(self) -> int:
        return self.ok + self.failed + self.skipped

    def __str__(self) -> str:
        return f"{self.ok} ok, {self.failed} failed, {self.skipped} skipped"


def shard_is_done(job: ShardJob) -> bool:
    """Whether the shard was made from the same inputs and its files are still whole."""
    data = _read(job)
    if data is None or data.get("digest") != job.digest:
        return False
    for name, size in data["files"].items():
        path = job.out / name
        if not path.exists() or path.stat().st_size != size:
            return False
    return True


def run_shard(job: ShardJob, work: Callable[[str], Mapping[str, Any]]) -> None:
    """Works on the utterances of a shard in order; writes its files, then its marker."""
    job.marker.unlink(missing_ok=True)
    writers = {name: ShardWriter(job.out / name, job.number, job.storage) for name in job.stores}
    info, failed = [], []
    with ExitStack() as stack:  # closes every writer, even where closing another one fails
        for writer in writers.values():
            stack.enter_context(writer)
        for utt in job.items:
            try:
                result = work(utt)
            except UtteranceError as error:
                failed.append(failed_row(utt, job.step, error))
                continue
            for name, writer in writers.items():
                writer.write(utt, result[name])
            if "info" in result:
                info.append({"utt": utt, **result["info"]})
    files = [path for name in job.stores for path in shard_files(job.out / name, job.number, job.storage)]
    data = {
        "digest": job.digest,
        "files": {str(path.relative_to(job.out)): path.stat().st_size for path in files},
        "index": {name: writer.index for name, writer in writers.items()},
        "info": info,
        "failed": failed,
    }
    write_json(job.marker, data)


def merge_shards(jobs: list[ShardJob], stores: Mapping[str, Mapping[str, Any]], skipped: int) -> Counts:
    """Writes store.json of every store, info.jsonl and failed.tsv from the markers of all shards."""
    data = [_read(job) for job in jobs]
    out, storage = jobs[0].out, jobs[0].storage
    failed = [row for shard in data for row in shard["failed"]]
    for name, meta in stores.items():
        index = {job.number: shard["index"][name] for job, shard in zip(jobs, data, strict=True)}
        finish_store(out / name, storage, index, meta, made_from=digest([shard["digest"] for shard in data]))
    lines = [json.dumps(row, sort_keys=True) for shard in data for row in shard["info"]]
    if lines:
        write_text(out / "info.jsonl", "\n".join(lines) + "\n")
    write_failed(out, jobs[0].step, failed)
    total = sum(len(job.items) for job in jobs)
    done_before = min(skipped, total - len(failed))
    return Counts(total - len(failed) - done_before, len(failed), done_before)


def failed_row(utt: str, step: str, error: Exception) -> list[str]:
    """One row of failed.tsv."""
    cause = error.__cause__ or error
    return [utt, step, type(cause).__name__, " ".join(str(error).split())]


def write_failed(out: Path, step: str, rows: list[list[str]]) -> None:
    """Writes a step's rows into the folder's failed.tsv; those of other steps stay."""
    others = [list(row.values()) for row in read_failed(out) if row["step"] != step]
    write_csv(out / "failed.tsv", ["utterance", "step", "exception", "message"], others + rows, delimiter="\t")


def forget(out: Path, stores: Iterable[str]) -> None:
    """Undoes the marks of work on a set of stores and its rows of failed.tsv: other work has taken its place."""
    step = _step(stores)
    for marker in (Path(out) / ".done").glob(f"{step}-[0-9]*.json"):
        marker.unlink()
    if any(row["step"] == step for row in read_failed(out)):
        write_failed(out, step, [])


def read_failed(out: Path) -> list[dict[str, str]]:
    """The rows of a folder's failed.tsv."""
    path = Path(out) / "failed.tsv"
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _step(stores: Iterable[str]) -> str:
    return "+".join(stores) or "info"


def _read(job: ShardJob) -> dict | None:
    try:
        return json.loads(job.marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
