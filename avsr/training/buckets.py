"""Batches of examples of like length, in an order that depends on nothing but (seed, phase, epoch)."""

from collections.abc import Sequence

from avsr.rng import unit
from avsr.training.conf import TrainConf
from avsr.training.task import Examples


def make_batches(
    ids: Sequence[str],
    lengths: Sequence[int],
    batch: int,
    max_frames: int | None = None,
    max_padding: float | None = None,
    order: tuple = (),
) -> list[list[int]]:
    """Indices of each batch of one epoch: every index once.

    A batch holds at most `batch` examples and `max_frames` frames with the padding counted (an example longer than
    that is a batch of its own), and at most the share `max_padding` of it is padding. `order` is what the order is
    made from, as in (seed, phase, epoch); without it examples are sorted by length (validation).
    """
    jitter = (max_padding or 0.0) if order else 0.0

    def place(index: int) -> tuple[float, float]:
        # Lengths are blurred a little, so that neighbours change from epoch to epoch and batches stay well filled.
        chance = unit(*order, ids[index], "bucket") if order else 0.0
        return lengths[index] * (1.0 + jitter * chance), chance

    batches: list[list[int]] = []
    longest = frames = 0
    for index in sorted(range(len(ids)), key=lambda i: (*place(i), ids[i])):
        length = lengths[index]
        if batches:
            size = len(batches[-1]) + 1
            padded = size * max(longest, length)
            full = size > batch or (max_frames is not None and padded > max_frames)
            loose = max_padding is not None and padded - frames - length > max_padding * padded
        if not batches or full or loose:
            batches.append([])
            longest = frames = 0
        batches[-1].append(index)
        longest, frames = max(longest, length), frames + length
    if order:
        batches.sort(key=lambda b: unit(*order, ids[b[0]], len(b), "batch"))
    return batches


def epoch_indices(ids: Sequence[str], count: int | None, seed: int, phase: str, epoch: int) -> list[int]:
    """Which examples an epoch of `count` examples takes: the next ones of an endless row of shuffled passes."""
    total = len(ids)
    if count is None or count == total:
        return list(range(total))
    chosen: list[int] = []
    position = epoch * count
    while len(chosen) < count:
        turn, start = divmod(position + len(chosen), total)
        row = sorted(range(total), key=lambda i: (unit(seed, phase, turn, ids[i], "pass"), ids[i]))
        chosen += row[start : start + count - len(chosen)]
    return chosen


def epoch_batches(examples: Examples, conf: TrainConf, phase: str = "", epoch: int | None = None) -> list[list[int]]:
    """Batches of one training epoch; without an epoch those of validation, sorted by length."""
    if epoch is None:
        return make_batches(examples.ids, examples.lengths, conf.batch, conf.max_frames, conf.max_padding)
    order = (conf.seed, phase, epoch)
    chosen = epoch_indices(examples.ids, conf.epoch_examples, conf.seed, phase, epoch)
    ids, lengths = [examples.ids[i] for i in chosen], [examples.lengths[i] for i in chosen]
    batches = make_batches(ids, lengths, conf.batch, conf.max_frames, conf.max_padding, order)
    return [[chosen[i] for i in batch] for batch in batches]
