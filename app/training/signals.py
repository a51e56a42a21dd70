"""Handles Ctrl-C and SIGTERM.

The command line runs every command inside `sigterm_raises`, so that both signals unwind the stack and partly written
files are removed. During updates, a training handles the signals itself, see `wait_for_update`.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM was received."""


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """Makes SIGTERM raise `Terminated`, as Ctrl-C raises KeyboardInterrupt."""
    with _handled({signal.SIGTERM: _terminate}), _raised_again():
        yield


@contextlib.contextmanager
def hangup_raises() -> Iterator[None]:
    """Makes closing the terminal raise `Terminated` as well, unless `nohup` makes the process ignore it."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    with _handled({} if ignored else {signal.SIGHUP: _terminate}):
        yield


@contextlib.contextmanager
def first_interrupt_waits(report: Callable[[], None]) -> Iterator[None]:
    """On the first Ctrl-C, calls `report` and lets the code inside finish; the second one raises."""

    def wait(number, _):
        signal.signal(number, signal.default_int_handler)
        report()

    with _handled({signal.SIGINT: wait}):
        yield


@contextlib.contextmanager
def wait_for_update(supervisor: Any) -> Iterator[None]:
    """On the first Ctrl-C or SIGTERM, finishes the update and writes a checkpoint; on the second, stops at once.

    Args:
        supervisor: the `Supervisor`, whose `interrupted` becomes True.
    """
    at_once = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _terminate}

    def stop(number, _):
        supervisor.interrupted = True
        signal.signal(number, at_once[number])

    with _handled(dict.fromkeys(at_once, stop)):
        yield


@contextlib.contextmanager
def stop_at_once() -> Iterator[None]:
    """Lets both signals end the process directly, while it waits in native code that blocks Python's handlers."""
    with _handled(dict.fromkeys((signal.SIGINT, signal.SIGTERM), signal.SIG_DFL)):
        yield


@contextlib.contextmanager
def _raised_again() -> Iterator[None]:
    """Sends a signal again if Python dropped its exception, as it does while an object is being deleted."""
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            return before(unraisable)
        number = signal.SIGTERM if issubclass(unraisable.exc_type, Terminated) else signal.SIGINT
        # From another thread: raised here, it would be dropped again.
        return threading.Timer(0.01, os.kill, (os.getpid(), number)).start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _terminate(number, _) -> None:
    raise Terminated


@contextlib.contextmanager
def _handled(handlers: dict) -> Iterator[None]:
    try:
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    except ValueError:  # not in the main thread, for example in a notebook
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
