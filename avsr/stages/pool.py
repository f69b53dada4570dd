"""Shards over several processes."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from avsr.errors import AvsrError
from avsr.stages.shards import ShardJob, run_shard

_work: Callable | None = None  # of this worker process


def map_unordered(jobs: list[ShardJob], make_worker: Callable, worker_args: tuple, nj: int) -> Iterator[ShardJob]:
    """Runs shards in `nj` processes; yields each as it ends. A worker's error ends the run, after its cleaning up."""
    context = multiprocessing.get_context("spawn")  # forking a process with threads may hang
    with ProcessPoolExecutor(nj, context, initializer=_start, initargs=(make_worker, worker_args)) as pool:
        futures = {pool.submit(_run, job): job for job in jobs}
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


def _start(make_worker: Callable, worker_args: tuple) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _work = make_worker(*worker_args)


def _run(job: ShardJob) -> None:
    run_shard(job, _work)
