"""Works on chunks of text in this process or in a pool of others, in the order of the input."""

import contextlib
import functools
import itertools
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Any, NamedTuple

from data.errors import UserError

SMALL = 30_000  # pairs; for fewer, starting processes takes longer than the work
MOST_WORKERS = 16  # each holds a chunk of text, so this bounds memory


class Job(NamedTuple):
    """Arguments of a function, the number of pairs in them, and anything to return with the result."""

    arguments: tuple
    size: int
    rest: Any = None


class Workers:
    """Runs jobs in other processes, which start when there is enough to do and end with the block.

    Args:
        count: number of processes; 1 means this process alone, `None` one process a core, at most `MOST_WORKERS`, once
            there is more work than `SMALL`.

    Example:

        with Workers() as workers:
            for rest, result in workers.map(encoder, jobs):
                ...
    """

    def __init__(self, count: int | None = None):
        self._count = count
        self._alone = SMALL if count is None else 0
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pool, self._pool = self._pool, None
        if pool:
            pool.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Callable, jobs: Iterable[Job]) -> Iterator[tuple[Any, Any]]:
        """Runs a pure function on each job, drawing few jobs ahead.

        Args:
            function: called with a job's arguments; it is pickled, and so are they and the result.
            jobs: drawn in this process.

        Yields:
            `(rest, result)` of each job, in the order of the jobs.

        Raises:
            UserError: a process was ended from outside.
        """
        count, jobs = self._decide(iter(jobs))
        if count > 1:
            yield from self._in_parallel(function, jobs, count)
        else:
            for job in jobs:
                yield job.rest, function(*job.arguments)

    def _decide(self, jobs: Iterator[Job]) -> tuple[int, Iterator[Job]]:
        """How many processes work on the jobs; draws no more of them than needed to decide."""
        first = []
        while self._alone > 0 and (job := next(jobs, None)):
            first.append(job)
            self._alone -= job.size
        count = self._count or (1 if self._alone > 0 else min(cores(), MOST_WORKERS))
        return count, itertools.chain(first, jobs)

    def _in_parallel(self, function, jobs: Iterator[Job], count: int) -> Iterator[tuple[Any, Any]]:
        if self._pool is None:
            # "spawn": a fork of a process that runs TensorFlow's threads may hang.
            self._pool = ProcessPoolExecutor(count, get_context("spawn"), initializer=_start_worker)
        payload = pickle.dumps(function)
        waiting: deque = deque()
        try:
            for job in jobs:
                with _interrupts_blocked():  # the workers start here and inherit this: Ctrl-C is for this process
                    waiting.append((job.rest, self._pool.submit(_work, payload, job.arguments)))
                if len(waiting) > count + 2:
                    rest, future = waiting.popleft()
                    yield rest, future.result()
            while waiting:
                rest, future = waiting.popleft()
                yield rest, future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process that worked on text was killed, probably for lack of memory: free some memory and try again"
            ) from error
        finally:
            for _, future in waiting:
                future.cancel()


@contextlib.contextmanager
def opened(workers: "Workers | int | None") -> Iterator[Workers]:
    """Existing `Workers`, which are left open, or a number of new ones."""
    if isinstance(workers, Workers):
        yield workers
    else:
        with Workers(workers) as new:
            yield new


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _interrupts_blocked():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this worker when its parent is killed; otherwise it would wait for work forever."""
    parent_process().join()
    os._exit(1)


# A function may hold a large tokenizer: it comes with every job, but is unpickled only once.
_unpickled = functools.lru_cache(maxsize=2)(pickle.loads)


def _work(payload: bytes, arguments: tuple):
    return _unpickled(payload)(*arguments)
