"""Processes that a queue runs: their output goes into a log, and they end when the queue ends."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import IO

import app

# A training that is asked to end does so after its update.
PATIENCE = 120.0
_PR_SET_PDEATHSIG = 1


class Process:
    """A running process. When this one is killed, it gets SIGTERM, on which a training writes a checkpoint.

    Args:
        command: program and arguments.
        log: both its outputs are written here.
        cores: the numbers of the cores that it may use, on Linux; all if none is named.
    """

    def __init__(self, command: Sequence[str], log: IO[bytes], cores: Collection[int] = ()):
        # The process then uses this version of the code, wherever it is started.
        paths = [str(Path(app.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
            # Ctrl-C in the terminal then reaches this process alone, which passes it on.
            start_new_session=True,
            preexec_fn=_first(cores),
        )
        self._asked = False

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it is running."""
        return self._process.poll()

    def wait(self, seconds: float | None = None) -> int:
        """Waits for its end, asks it to end when the time is over, and returns the exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(None if seconds is None else max(seconds, 0.0))
        self.end()
        return self._process.wait()

    def end(self) -> None:
        """Asks it to end in order, only once, as a second time would cut a checkpoint short; does not wait."""
        if not self._asked:
            self._process.terminate()
        self._asked = True

    def stop(self) -> None:
        """Ends it: in order, or at once if it takes too long or the user asks a second time."""
        try:
            self.end()
            self._process.wait(PATIENCE)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()


def run_process(command: Sequence[str], log: IO[bytes], seconds: float | None = None) -> int:
    """Runs a process to its end, or until its time is over or this process is interrupted.

    Args:
        command: program and arguments.
        log: both its outputs are written here.
        seconds: how long it may run; None for any time.

    Returns:
        The exit code; negative for a signal.
    """
    process = Process(command, log)
    try:
        return process.wait(seconds)
    except BaseException:
        process.stop()
        raise


def shares(jobs: int) -> list[list[int]]:
    """The numbers of the cores for each of so many processes at a time, but for no more processes than cores.

    A single process gets an empty list, which means all cores, as do all on systems that cannot bind them to cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [[]] * min(jobs, os.cpu_count() or 1)
    cores = sorted(os.sched_getaffinity(0))
    jobs = min(jobs, len(cores))
    return [cores[number::jobs] for number in range(jobs)] if jobs > 1 else [[]]


def _first(cores: Collection[int]) -> Callable[[], None] | None:
    """What a child does first: it binds itself to cores and asks for SIGTERM when its parent is gone."""
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def do() -> None:
        if cores:
            os.sched_setaffinity(0, cores)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return do
