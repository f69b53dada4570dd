"""What a training run writes down: train.log in words, log.csv in numbers, tensorboard, a bar in a terminal."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avsr.storage.atomic import naming

log = logging.getLogger(__name__)

# A row every `log_every` steps (train_loss: mean since the row before), and one at the end of each epoch, with `valid`
# filled (train_loss: mean of the epoch). seconds: of training so far; wait: share of it spent waiting for data.
# At the end of a recogniser's phase another one has greedy search's wer and cer in %, on some of the validation set; at
# that of an enhancer's, the loss of some training clips in fresh noise (seen_loss).
COLUMNS = ("step", "phase", "epoch", "train_loss", "valid", "lr", "skipped", "seconds", "wait", "wer", "cer",
           "seen_loss")  # fmt: skip


class TrainLog:
    """log.csv and tensorboard events of one run. The size of log.csv travels in the checkpoints: a resumed run cuts
    off what came after its checkpoint, so that no row is doubled or lost."""

    def __init__(self, path: Path, tensorboard: Path | None, resume: tuple[int, int] | None):
        """`resume`: size in bytes of log.csv and the step at the checkpoint; None starts anew."""
        if resume is None:
            path.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
            self.columns = COLUMNS
        else:
            self._cut(path, resume[0])
            with open(path, encoding="utf-8") as file:  # an earlier version's may have fewer columns
                header = file.readline().strip()
            self.columns = tuple(header.split(",")) if header else COLUMNS
        self.file = open(path, "ab")
        self.events = _events(tensorboard, resume[1] + 1 if resume else None) if tensorboard else None

    def row(self, step: int, values: dict, extra: dict | None = None) -> None:
        """Writes one row; `extra` scalars go to tensorboard only."""
        row = {"step": step, **values}
        with naming(Path(self.file.name)):
            self.file.write((",".join(_cell(row.get(name)) for name in self.columns) + "\n").encode())
            self.file.flush()
        if self.events:
            for name, value in {**values, **(extra or {})}.items():
                if isinstance(value, (int, float)):
                    self.events.add_scalar(name, value, step)

    def sync(self) -> int:
        """Everything so far on the disk; the size of log.csv in bytes."""
        with naming(Path(self.file.name)):
            os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        self.file.close()
        if self.events:
            self.events.close()

    @staticmethod
    def _cut(path: Path, size: int) -> None:
        held = path.stat().st_size if path.exists() else 0
        if held < size:
            log.warning("%s: shorter than it was at the checkpoint; rows are missing", path)
        with open(path, "ab") as file:
            file.truncate(min(size, held))


def _cell(value: object) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _events(folder: Path, purge_step: int | None):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("tensorboard is not installed: no events are written (log.csv has the numbers)")
        return None
    return SummaryWriter(str(folder), purge_step=purge_step)


@contextmanager
def written_to(path: Path) -> Iterator[None]:
    """All that the toolkit logs goes to `path` too."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("avsr")
    level = logger.level
    logger.addHandler(handler)
    if not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


class Bar:
    """One line that is written over, in a terminal; nothing elsewhere."""

    def __init__(self, on: bool = True):
        self.on, self.next = on and sys.stderr.isatty(), 0.0

    def show(self, head: str, done: int, total: int, tail: str) -> None:
        now = time.monotonic()
        if self.on and now >= self.next:
            self.next = now + 0.2
            filled = 24 * done // max(total, 1)
            sys.stderr.write(f"\r{head} [{'#' * filled:24}] {done}/{total} {tail}\x1b[K")
            sys.stderr.flush()

    def clear(self) -> None:
        if self.on:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
