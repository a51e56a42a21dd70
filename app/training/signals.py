"""What Ctrl-C and SIGTERM do.

The command line runs every command inside `sigterm_raises`, so that both signals unwind the stack and what is
half-written is removed. A training answers them itself while it makes updates, see `wait_for_update`.
"""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM was received."""


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """Makes SIGTERM raise `Terminated`, as Ctrl-C raises KeyboardInterrupt."""
    with _handled({signal.SIGTERM: _terminate}):
        yield


@contextlib.contextmanager
def wait_for_update(supervisor: Any) -> Iterator[None]:
    """Lets the first Ctrl-C or SIGTERM end the current update and write a checkpoint; a second one stops at once.

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
    """Lets both signals end the process by themselves, while it waits outside Python, which would not notice them."""
    with _handled(dict.fromkeys((signal.SIGINT, signal.SIGTERM), signal.SIG_DFL)):
        yield


def _terminate(number, _) -> None:
    raise Terminated


@contextlib.contextmanager
def _handled(handlers: dict) -> Iterator[None]:
    try:
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    except ValueError:  # not in the main thread, a notebook's for example
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
