"""What all stages share: options, one log file, signals and exit codes, and work on utterances in resumable shards."""

import argparse
import json
import logging
import os
import platform
import shlex
import sys
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from avsr import __version__, config, signals
from avsr.command import ENDS, complain
from avsr.errors import AvsrError, TooManyFailed, UsageError
from avsr.parallel import map_unordered, progress, worker
from avsr.revision import commit
from avsr.stages.shards import ShardJob, merge_shards, run_shard, shard_is_done
from avsr.storage.atomic import remove_leftovers

T = TypeVar("T")
log = logging.getLogger("avsr")
SHARD_SIZE = 32  # utterances in a shard: the unit of work, of resumption, and of one file


class _Parser(argparse.ArgumentParser):
    """One line on stderr for a wrong option; the usage is for --help."""

    def error(self, message: str) -> typing.NoReturn:
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def parser(name: str, doc: str) -> argparse.ArgumentParser:
    """The options that every stage takes. `doc` is the stage's module docstring."""
    made = study_parser(name, doc)
    add = made.add_argument
    add("--config", type=Path, action="append", default=[], help="YAML of the recipe; later files win; repeatable")
    add("--set", dest="sets", action="append", default=[], metavar="SECTION.KEY=VALUE", help="one key; wins over files")
    add("--shard", type=_shard, default=(1, 1), metavar="I/N", help="do only part I of N of the work, as in 2/8")
    add("--storage", choices=("hdf5", "ark"), default="hdf5", help="how arrays are stored (default hdf5)")
    return made


def study_parser(name: str, doc: str) -> argparse.ArgumentParser:
    """The options of a command that reads what the stages have made, and has no section of the configuration."""
    made = _Parser(
        prog=f"python -m avsr.stages.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.set_defaults(stage_name=name)
    add = made.add_argument
    add("--nj", type=positive, default=1, help="processes side by side (default 1)")
    add("--seed", type=int, default=0, help="seed of every random choice (default 0)")
    add(
        "--max-fail-rate",
        type=float,
        default=0.05,
        help="share of utterances that may fail, one at least (default 0.05; 0: none)",
    )
    add("--device", default="cpu", help="cpu or cuda (default cpu)")
    return made


def run(stage_parser: argparse.ArgumentParser, body: Callable[[argparse.Namespace, "Stage"], None], argv=None) -> int:
    """Parses, opens the log, runs `body(args, stage)`, and turns what happens into one line and an exit code."""
    try:
        args = stage_parser.parse_args(argv)
    except SystemExit as stop:  # argparse has said its one line
        return int(stop.code or 0)
    name, start, code = args.stage_name, time.time(), 0
    signals.install()
    try:
        _open_log(args)
        check_device(args.device)
        body(args, Stage(args))
    except ENDS as error:
        code = complain(name, error)
    except Exception as error:
        log.debug("traceback", exc_info=True)
        code = complain(name, error)
        raise
    finally:
        log.info("%s: Ended (code %d) after %.1f s", name, code, time.time() - start)
        logging.shutdown()
        log.handlers.clear()
    return code


@dataclass
class Stage:
    """A running stage."""

    args: argparse.Namespace

    def conf(self, cls: type[T]) -> T:
        """This stage's section of the configuration."""
        return config.load_section(cls, self.args.config, self.args.stage_name, self.args.sets)

    def process(
        self,
        items: Sequence[str],
        make_worker: Callable[..., Callable[[str], Mapping[str, Any]]],
        worker_args: tuple,
        out: Path,
        stores: Mapping[str, Mapping[str, Any]],
        key: Any,
        item_keys: Mapping[str, Any] | None = None,
    ) -> bool:
        """Applies a worker to utterances; writes stores, info.jsonl and failed.tsv below `out`.

        Args:
            items: utterance ids.
            make_worker: called once in every process with `worker_args` (picklable); returns `work(utt)`, which
                gives an array for each store and, if it likes, "info": plain data for info.jsonl.
            out: folder of the stores.
            stores: store name -> meta data that its reader finds in `Store.meta`.
            key: all that the result depends on besides the items; a shard made with another key is made again.
            item_keys: what the result of one item depends on (say, size and time of its files).

        Returns whether the stores are finished: False while other parts of --shard are missing.
        Raises TooManyFailed (exit 3) above --max-fail-rate; only UtteranceError of a worker drops an utterance.
        """
        items = sorted(items)
        if not items:
            raise AvsrError(f"{out}: there is no utterance to work on")
        keys = item_keys or {}
        jobs = [
            ShardJob(
                out, n // SHARD_SIZE, tuple(part), tuple(stores), self.args.storage, (key, [keys.get(i) for i in part])
            )
            for n in range(0, len(items), SHARD_SIZE)
            for part in [items[n : n + SHARD_SIZE]]
        ]
        number, count = self.args.shard
        mine = [job for job in jobs if job.number % count == number - 1]
        for folder in [out, out / ".done", *(out / name for name in stores)]:
            remove_leftovers(folder)
        todo = [job for job in mine if not shard_is_done(job)]
        self._run_shards(todo, make_worker, worker_args, str(out))
        if not all(shard_is_done(job) for job in jobs):
            log.info("%s: part %d of %d done; the store is finished when all parts are", out, number, count)
            return False
        counts = merge_shards(jobs, stores, skipped=sum(len(job.items) for job in jobs if job not in todo))
        log.info("%s: %s", out, counts)
        self.check_failed(out, counts.failed, counts.total)
        return True

    def check_failed(self, out: Path, failed: int, total: int) -> None:
        """Raises TooManyFailed (exit 3) where more utterances failed than --max-fail-rate allows."""
        allowed = self.args.max_fail_rate * total
        if failed > (max(1, allowed) if allowed else 0):  # one clip of a small corpus is no sign of a mistake
            raise TooManyFailed(
                f"{failed} of {total} utterances failed, more than --max-fail-rate "
                f"{self.args.max_fail_rate:g}: see {out}/failed.tsv"
            )

    def _run_shards(self, jobs: list[ShardJob], make_worker: Callable, worker_args: tuple, what: str) -> None:
        if not jobs:
            return
        nj = min(self.args.nj, len(jobs))
        if nj == 1:
            work = make_worker(*worker_args)
            for job in progress(jobs, len(jobs), what):
                run_shard(job, work)
            return
        for _ in progress(map_unordered(_run_shard, jobs, nj, make_worker, worker_args), len(jobs), what):
            pass


def _run_shard(job: ShardJob) -> None:
    run_shard(job, worker())


class _LogFile(logging.FileHandler):
    """On a full disk the log is short; what the stage itself says of it is enough."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _open_log(args: argparse.Namespace) -> None:
    folder = Path(args.out) if getattr(args, "out", None) else Path(args.work_dir) / "exp"
    log.setLevel(logging.DEBUG)
    log.propagate = False
    console = logging.StreamHandler(sys.stdout)
    console.setLevel(logging.INFO)
    console.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(console)
    path = folder / "log" / f"{args.stage_name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _LogFile(path, encoding="utf-8")
    file.setLevel(logging.DEBUG)
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(file)
    versions = f"avsr {__version__} ({commit()}), Python {platform.python_version()}, {platform.machine()}"
    log.debug("command: %s", shlex.join([sys.executable, *sys.argv]))
    log.debug("versions: %s, %d cores, pid %d", versions, os.cpu_count() or 1, os.getpid())
    log.debug("options: %s", json.dumps({k: str(v) for k, v in vars(args).items()}, sort_keys=True))


def positive(text: str) -> int:
    """The type of an option that counts, from 1 on."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not {text}")
    return int(text)


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"must be I/N with 1 <= I <= N, not {text}")
    return int(number), int(count)


def check_device(device: str) -> None:
    """Raises UsageError when the device is not there. Every stage asks, so that stage 1 says it and not stage 5."""
    if device == "cpu":
        return
    import torch

    kind, _, number = device.partition(":")
    if kind != "cuda" or device.endswith(":") or number and not number.isdigit():
        raise UsageError(f"--device {device}: must be cpu or cuda (cuda:1 for the second one)")
    if not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {device}: no such CUDA device is there; use --device cpu")
