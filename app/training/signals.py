"""How a training answers Ctrl-C and SIGTERM."""

import contextlib
import signal


@contextlib.contextmanager
def terminate_like_interrupt():
    """Makes SIGTERM raise KeyboardInterrupt, as Ctrl-C does, so that what is half-written is cleared away."""
    with _handled({signal.SIGTERM: signal.default_int_handler}):
        yield


@contextlib.contextmanager
def wait_for_update(supervisor):
    """Lets the first Ctrl-C or SIGTERM end the current update and write a checkpoint; the second one stops at once.

    Args:
        supervisor: its `interrupted` becomes True.
    """

    def stop(number, _):
        supervisor.interrupted = True
        signal.signal(number, signal.default_int_handler)

    with _handled({signal.SIGINT: stop, signal.SIGTERM: stop}):
        yield


@contextlib.contextmanager
def _handled(handlers: dict):
    try:
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    except ValueError:  # not in the main thread, a notebook's for example
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
