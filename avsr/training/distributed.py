"""Several processes that train one model: each takes its share of the clips of every batch, all make the same step.

A batch is planned as for one process, and the gradient is that of its mean loss, so the number of processes changes
the last bits only. Batch norm takes its statistics from each process's own share (SyncBatchNorm needs a GPU).
"""

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from avsr.errors import AvsrError, UsageError
from avsr.rng import rng

# None is ever waited for so long: torchrun ends all when one is gone. The others wait while the first one validates.
TIMEOUT = timedelta(days=2)


class Lost(AvsrError):
    """Another process cannot be reached. It is seldom the cause, which is most often that process's own error."""

    line = "another process of this training is gone; run again to go on from its last checkpoint"

    def __init__(self, error: RuntimeError):
        super().__init__(f"{self.line} ({' '.join(str(error).split())[:160]})")


class Ranks:
    """The processes of one training; this one is number `rank` of `world`.

    What differs between them, as clocks and signals do, is settled by these methods: all must call them in the same
    order, and take the same decisions from what they give. Small numbers go between CPUs (gloo), weights and gradients
    between the devices (nccl on GPUs). They raise Lost when another process is gone.
    """

    def __init__(self, rank: int = 0, world: int = 1):
        self.rank, self.world = rank, world
        self.first, self.alone = rank == 0, world == 1

    def share(self, indices: Sequence[int]) -> Sequence[int]:
        """This process's part of a batch; empty where there are fewer clips than processes (never the first one's)."""
        return indices[self.rank :: self.world]

    def seed(self, seed: int, step: int) -> None:
        """What dropout of this step draws from. The first process draws as a training by one process does; the others
        from a hash, so that their generators need not lie in the checkpoint."""
        if not self.first:
            torch.manual_seed(int(rng(seed, "dropout", self.rank, step).integers(2**62)))

    def totals(self, total: float, count: float) -> tuple[list[float], float]:
        """The summed loss of each process, and the number of cells of all."""
        if self.alone:
            return [total], count
        row = torch.zeros(self.world + 1, dtype=torch.float64)
        row[self.rank], row[-1] = total, count
        self._together(dist.all_reduce, row)
        return row[:-1].tolist(), float(row[-1])

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces every gradient by its sum over the processes; one that no process has stays None.

        By hand and not by DistributedDataParallel: its hooks hang on forward(), while a task calls model.loss(), and
        it does not let a process go without a clip.
        """
        if self.alone:
            return
        had = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=parameters[0].device)
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters]
        flat = torch.cat([*parts, had])
        self._together(dist.all_reduce, flat)
        *parts, had = flat.split([*(len(part) for part in parts), len(parts)])
        for parameter, part, number in zip(parameters, parts, had.tolist(), strict=True):
            parameter.grad = part.view(parameter.shape) if number else None

    @torch.no_grad()
    def same(self, model: nn.Module) -> None:
        """Gives all processes the first one's weights and buffers (statistics of batch norm)."""
        if self.alone:
            return
        for tensor in [*model.parameters(), *model.buffers()]:
            sent = tensor.detach().contiguous()
            self._together(dist.broadcast, sent, src=0)
            tensor.copy_(sent)

    def tell(self, *values: float) -> list[float]:
        """The first one's values."""
        if self.alone:
            return list(values)
        row = torch.tensor(values, dtype=torch.float64)
        self._together(dist.broadcast, row, src=0)
        return row.tolist()

    def agree(self, signals: list[int], seconds: float) -> tuple[list[int], float]:
        """The signals that any of them got, and the first one's clock."""
        if self.alone:
            return signals, seconds
        numbers = (signal.SIGTERM, signal.SIGINT)
        row = torch.tensor([*(n in signals for n in numbers), seconds * self.first], dtype=torch.float64)
        self._together(dist.all_reduce, row)
        *got, seconds = row.tolist()
        return [n for n, count in zip(numbers, got, strict=True) if count], seconds

    def wait(self) -> None:
        """Until all are here."""
        self.agree([], 0.0)

    @staticmethod
    def _together(collective: Callable, tensor: torch.Tensor, **options: Any) -> None:
        try:
            collective(tensor, **options)
        except RuntimeError as error:
            raise Lost(error) from None


@contextmanager
def joined(processes: int, device: torch.device) -> Iterator[tuple[Ranks, torch.device]]:
    """The processes of a training that torchrun has started, and this one's own device.

    With one process the environment is not looked at. The others log errors only. Raises UsageError where `processes`
    is not what torchrun has started, or where there are too few GPUs.
    """
    if processes == 1:
        yield Ranks(), device
        return
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world != processes:
        raise UsageError(
            f"train.processes is {processes}, but there are {world}: let a stage start this training, "
            f"or torchrun --nproc-per-node {processes} -m avsr.training.worker job.json"
        )
    ranks, log = Ranks(int(os.environ["RANK"]), world), logging.getLogger("avsr")
    level = log.level
    if not ranks.first:
        log.setLevel(logging.ERROR)
    device = _own_device(device)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
        yield ranks, device
        dist.destroy_process_group()  # not after an error: it might wait for those that are gone
    finally:
        log.setLevel(level)


def _own_device(device: torch.device) -> torch.device:
    if device.type != "cuda":
        return device
    here, count = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if device.index is not None or here > count:
        raise UsageError(
            f"--device {device}: {here} processes of a training take a GPU each, and there are {count}; "
            "say --device cuda, and set train.processes to the number of GPUs or below"
        )
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(own)
    return own
