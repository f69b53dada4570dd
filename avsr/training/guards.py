"""What surrounds a training run: signals wait for the end of a step, torch computes the same bits every time."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from avsr.signals import Stopped


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted down, to be obeyed between two steps: weights within a step are no good."""
    noted: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {n: signal.getsignal(n) for n in numbers}
    for number in numbers:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, lambda n, _frame: noted.append(n))
    try:
        yield noted
    finally:
        for number in numbers:
            signal.signal(number, before[number])


def stop_if(asked: list[int]) -> None:
    """Raises Stopped when a signal was noted down."""
    if asked:
        raise Stopped(asked[0])


@contextmanager
def torch_settings(threads: int, device: torch.device) -> Iterator[None]:
    """Threads and deterministic kernels for the time of a run."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.set_num_threads(threads)
    if device.type == "cpu":  # costs nothing there; on a GPU some layers would become slow or fail
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill
