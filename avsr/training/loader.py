"""Batches ahead of time: by one thread, or by processes where loading takes longer than a step.

What a batch holds depends on its indices alone, so the number of workers has no influence on any result.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

import torch

from avsr.errors import AvsrError
from avsr.training.task import Examples, Task

log = logging.getLogger(__name__)

AHEAD = 2  # batches in the making for each worker
_job: tuple[Task, Examples]  # of a worker process


class Loader:
    """Iterates over the batches `task.collate([examples[i] for i in indices])`, in order.

    `waited` is the time in seconds that the consumer has spent waiting for batches.
    """

    def __init__(self, task: Task, examples: Examples, batches: list[list[int]], workers: int = 0):
        self.task, self.examples, self.batches, self.workers = task, examples, batches, workers
        self.waited = 0.0

    def __iter__(self) -> Iterator[dict]:
        waiting: deque[Future] = deque()
        todo = iter(self.batches)
        executor, submit = self._start()
        try:
            waiting.extend(map(submit, islice(todo, AHEAD * max(self.workers, 1))))
            while waiting:
                start = time.perf_counter()
                batch = _result(waiting.popleft())
                self.waited += time.perf_counter() - start
                waiting.extend(map(submit, islice(todo, 1)))
                yield batch
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> tuple[Executor, Any]:
        if self.workers == 0:
            thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
            return thread, lambda indices: thread.submit(_make, self.task, self.examples, indices)
        # A fork hands the examples on without copying them. The children compute with one thread each: more would
        # wait for ever for the parent's threads, which a fork does not bring along.
        pool = ProcessPoolExecutor(
            self.workers,
            multiprocessing.get_context("fork"),
            initializer=_start_worker,
            initargs=(self.task, self.examples, os.getpid()),
        )
        return pool, lambda indices: pool.submit(_make_here, indices)


def free_cores(device: torch.device, threads: int, processes: int = 1) -> int:
    """Cores that `processes` trainers of `threads` threads leave to the loading processes of each."""
    used = processes * (1 if device.type == "cuda" else threads)
    return (len(os.sched_getaffinity(0)) - used) // processes


def choose_workers(load_seconds: float, step_seconds: float, free: int) -> int:
    """How many loading processes a run needs: 0 (a thread) where loading a batch costs less than half a step.

    A thread shares the interpreter with the trainer, so it is enough only while it is mostly idle.
    """
    if free <= 0:
        return 0
    ratio = load_seconds / max(step_seconds, 1e-9)
    workers = 0 if ratio < 0.5 else max(0, min(int(ratio) + 1, free))
    what = f"{workers} processes" if workers else "one thread"
    log.info("loading: %.3f s a batch against %.3f s a step: %s", load_seconds, step_seconds, what)
    return workers


def to_device(batch: dict, device: torch.device) -> dict:
    """The batch with all its tensors on the device."""
    if device.type == "cpu":
        return batch
    return {k: v.to(device, non_blocking=True) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


def _make(task: Task, examples: Examples, indices: Iterable[int]) -> dict:
    return task.collate([examples[i] for i in indices])


def _result(future: Future) -> dict:
    try:
        batch = future.result()
    except BrokenProcessPool:
        raise AvsrError("a loading process died (out of memory?); set train.workers=0 and start again") from None
    return {k: torch.from_numpy(v.array) if isinstance(v, _Plain) else v for k, v in batch.items()}


class _Plain:
    """A tensor on its way between processes as an array: through a pipe, not through /dev/shm, which may be tiny."""

    def __init__(self, tensor: torch.Tensor):
        self.array = tensor.numpy()


def _make_here(indices: list[int]) -> dict:
    batch = _make(*_job, indices)
    return {k: _Plain(v) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}


def _start_worker(task: Task, examples: Examples, parent: int) -> None:
    global _job
    _job = (task, examples)
    os.setpgid(0, 0)  # torchrun stops a trainer by its group: what it loads is needed until its checkpoint is written
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the trainer ends its workers itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    """Ends this worker when the trainer is gone, kill -9 included."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
