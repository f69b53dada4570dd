"""Jobs over several processes: shards of utterances, measurements."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from avsr.errors import AvsrError
from avsr.stages.shards import ShardJob, run_shard

T = TypeVar("T")
_work: Callable | Exception | None = None  # of this worker process; an error that made it impossible


def map_shards(jobs: list[ShardJob], make_worker: Callable, worker_args: tuple, nj: int) -> Iterator[ShardJob]:
    """Works on shards in `nj` processes, each with a worker of its own; yields each shard as it ends."""
    return map_unordered(_run, jobs, nj, make_worker, worker_args)


def map_unordered(
    function: Callable[[T], Any],
    jobs: list[T],
    nj: int,
    make_worker: Callable | None = None,
    worker_args: tuple = (),
) -> Iterator[T]:
    """Calls `function(job)` in `nj` processes; yields each job as it ends. An error of one ends them all."""
    context = multiprocessing.get_context("spawn")  # forking a process with threads may hang
    with ProcessPoolExecutor(nj, context, initializer=_start, initargs=(make_worker, worker_args)) as pool:
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


def _start(make_worker: Callable | None, worker_args: tuple) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        _work = make_worker and make_worker(*worker_args)
    except Exception as error:  # the executor would only say that its process is gone
        _work = error


def _run(job: ShardJob) -> None:
    if isinstance(_work, Exception):
        raise _work
    run_shard(job, _work)
