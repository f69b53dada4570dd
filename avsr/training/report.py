"""What a run says of its epochs and troubles; nan_batch.json names the utterances of a step that gave no number."""

import logging
import math
from typing import NoReturn

from avsr.errors import AvsrError
from avsr.storage.atomic import write_json
from avsr.training.conf import Phase
from avsr.training.folder import RunFolder
from avsr.training.position import Position

log = logging.getLogger(__name__)

MAX_SKIPPED = 20  # steps in a row with a gradient that is not finite
FALL_EPOCHS = 3  # epochs of a phase after which its loss should have fallen


def say_epoch(phase: Phase, pos: Position, result: dict[str, float], gained: bool) -> None:
    """One line of the epoch that has ended, and a warning where the loss of the first ones does not fall."""
    mean = pos.epoch_sum / max(pos.epoch_count, 1e-12)
    log.info(
        "%s epoch %d/%d step %d: train %.5g, valid %s%s; lr %.3g, %.0f s, %.1f %% waiting for data, %d skipped",
        phase.name, pos.epoch + 1, phase.epochs, pos.step, mean,
        " ".join(f"{name} {value:.5g}" for name, value in result.items()), " (best)" if gained else "",
        pos.lr, pos.seconds, 100 * pos.waiting, pos.skipped,
    )  # fmt: skip
    if pos.epoch == 0:
        pos.first_loss = mean
    elif pos.epoch + 1 == min(FALL_EPOCHS, phase.epochs) and pos.first_loss is not None and mean >= pos.first_loss:
        log.warning(
            "%s: the training loss does not fall (%.5g in epoch 1, %.5g in epoch %d): try a lower lr or a warmup, "
            "then a higher lr; look whether targets fit their inputs and whether it can learn 10 examples by heart",
            phase.name, pos.first_loss, mean, pos.epoch + 1,
        )  # fmt: skip


def say_processes(before: int, now: int) -> None:
    """Says that a checkpoint is of a run by another number of processes."""
    if before != now:
        log.info(
            "the checkpoint is of %d process(es), now there are %d: last bits may differ from here on", before, now
        )


def skip(folder: RunFolder, phase: Phase, pos: Position, batch: dict | None, first: bool) -> None:
    """Counts a step whose gradient is not finite. Raises AvsrError after MAX_SKIPPED in a row."""
    pos.skipped, pos.skipped_in_row = pos.skipped + 1, pos.skipped_in_row + 1
    log.warning("step %d: the gradient is not finite, the step is skipped", pos.step)
    if pos.skipped_in_row >= MAX_SKIPPED:
        if first:
            _write(folder, phase, pos, batch, None)
        raise AvsrError(
            f"{folder.nan_batch}: {MAX_SKIPPED} steps in a row had a gradient that is not finite; "
            "try a lower lr, or precision fp32"
        )


def give_up(
    folder: RunFolder, phase: Phase, pos: Position, batch: dict | None, totals: list[float], rank: int
) -> NoReturn:
    """Raises AvsrError for a loss that is not finite; `totals` has that of each process, the first bad one writes."""
    bad = [number for number, total in enumerate(totals) if not math.isfinite(total)] or [0]
    value = totals[bad[0]]
    if rank == bad[0]:
        _write(folder, phase, pos, batch, value)
    raise AvsrError(
        f"{folder.nan_batch}: the loss of these utterances is {value} at step {pos.step}; look at them, "
        "then try a lower lr or precision fp32 (the last checkpoint is sound)"
    )


def _write(folder: RunFolder, phase: Phase, pos: Position, batch: dict | None, value: float | None) -> None:
    place = {"phase": phase.name, "epoch": pos.epoch + 1, "batch": pos.batch, "step": pos.step}
    write_json(folder.nan_batch, {**place, "utts": list((batch or {}).get("utts", [])), "loss": str(value)})
