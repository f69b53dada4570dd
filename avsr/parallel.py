"""Jobs over several processes, and how far they are."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from avsr.errors import AvsrError

T = TypeVar("T")
Made = TypeVar("Made")
log = logging.getLogger("avsr")
SAID_EVERY = 30.0  # seconds, where there is no terminal
_work: Any = None  # of this worker process; an error that made it impossible


def map_unordered(
    function: Callable[[T], Any],
    jobs: Sequence[T],
    nj: int,
    make_worker: Callable | None = None,
    worker_args: tuple = (),
) -> Iterator[T]:
    """Calls `function(job)` in `nj` processes; yields each job as it ends. An error of one ends them all.

    `make_worker(*worker_args)` is called once in every process: see `worker`.
    """
    context = multiprocessing.get_context("spawn")  # forking a process with threads may hang
    initargs = (os.getpid(), make_worker, worker_args)
    with ProcessPoolExecutor(nj, context, initializer=_start, initargs=initargs) as pool:
        futures = {pool.submit(function, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool:
            raise AvsrError("a worker process was killed (out of memory?); run again to go on, or use --nj 1") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def map_threads(function: Callable[[T], Made], items: Sequence[T], nj: int, what: str) -> list[Made]:
    """`function` of every item, in order, in `nj` threads: for work that waits for a disk. The first error ends all."""
    pool = ThreadPoolExecutor(nj)
    try:
        return list(progress(pool.map(function, items), len(items), what))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def worker() -> Any:
    """What `make_worker` has made for this process. Raises what it raised."""
    if isinstance(_work, Exception):
        raise _work
    return _work


def end_with(parent: int) -> None:
    """From now on this process gets SIGTERM when the one that started it, `parent`, is gone, by kill -9 too."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _start(parent: int, make_worker: Callable | None, worker_args: tuple) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with(parent)  # nobody else tells it: the workers themselves hold the queues open
    try:
        _work = make_worker and make_worker(*worker_args)
    except Exception as error:  # the executor would only say that its process is gone
        _work = error


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Passes items on with a bar in a terminal, and a log line every half minute elsewhere."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=what, leave=False)
        return
    said = time.time()
    for number, item in enumerate(items, 1):
        yield item
        if time.time() - said > SAID_EVERY:
            log.info("%s: %d of %d", what, number, total)
            said = time.time()
