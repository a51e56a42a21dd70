"""Waits until all workers are there, before TensorFlow does: it would neither say for whom it waits nor be stopped.

A worker that is started again while the others have not yet noticed that it was gone simply waits here for them.
"""

import contextlib
import errno
import json
import socket
import time

from app import __version__
from app.training.workers.addresses import Addresses
from data.errors import UserError

PAUSE, QUIET_SECONDS, ANSWER_SECONDS = 0.5, 30, 10
GO = b"go\n"
# Network errors that waiting does not mend.
HOPELESS = (errno.EACCES, errno.EADDRNOTAVAIL)


def meet(addresses: Addresses, report=print, pause: float = PAUSE) -> None:
    """Returns at all workers at the same time, once the last of them has come.

    Args:
        addresses: the workers.
        report: called with a line for the user, now and then, that says what is still missing.
        pause: seconds between two attempts.

    Raises:
        UserError: the chief's port cannot be used, or this worker is not like the chief.
    """
    waiting = _Waiting(addresses, report)
    if addresses.index == 0:
        _receive(addresses, waiting, pause)
        return
    while not _go_to_chief(addresses, waiting):
        time.sleep(pause)


class _Waiting:
    """Tells for what a worker waits, not often."""

    def __init__(self, addresses: Addresses, report):
        self.name, self.report = f"worker {addresses.index} of {len(addresses.workers)}", report
        self.told = time.monotonic()

    def tell(self, missing: str) -> None:
        if time.monotonic() - self.told >= QUIET_SECONDS:
            self.told = time.monotonic()
            self.report(f"{self.name}: still waiting for {missing}")


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _receive(addresses: Addresses, waiting: _Waiting, pause: float) -> None:
    """The chief's part: keeps every worker that calls on the line until all have called."""
    with _listen(addresses, waiting, pause) as server, contextlib.ExitStack() as lines:
        server.settimeout(pause)
        callers: dict[int, socket.socket] = {}
        missing = set(range(1, len(addresses.workers)))
        while missing:
            waiting.tell(", ".join(f"worker {index} at {addresses.workers[index]}" for index in sorted(missing)))
            with contextlib.suppress(TimeoutError):
                caller = lines.enter_context(server.accept()[0])
                index = _caller(caller, addresses)
                if index:
                    callers[index] = caller
            callers = {index: caller for index, caller in callers.items() if _is_there(caller)}
            missing = set(range(1, len(addresses.workers))) - set(callers)
        for caller in callers.values():
            with contextlib.suppress(OSError):
                caller.sendall(GO)


def _listen(addresses: Addresses, waiting: _Waiting, pause: float) -> socket.socket:
    _, port = _host_and_port(addresses.workers[0])
    while True:
        try:
            return socket.create_server(("", port))
        except OSError as error:
            if error.errno in HOPELESS:
                raise UserError(f"{addresses.workers[0]}: port {port} cannot be used: {error.strerror}") from error
            # Most likely the former process of this worker, which is about to end.
            waiting.tell(f"port {port} to become free")
            time.sleep(pause)


def _caller(caller: socket.socket, addresses: Addresses) -> int:
    """The number of the worker that calls, or 0 if it is none of ours; tells it what is wrong with it."""
    try:
        caller.settimeout(ANSWER_SECONDS)
        said = json.loads(caller.makefile("rb").readline(1000))
        index, workers, version = said["index"], said["workers"], said["version"]
        wrong = ""
        if workers != list(addresses.workers) or index not in range(1, len(workers)):
            wrong = f"its workers are {', '.join(addresses.workers)}"
        elif version != __version__:
            wrong = f"its version is {__version__}, here it is {version}"
        if wrong:
            caller.sendall(json.dumps(wrong).encode() + b"\n")
        return 0 if wrong else index
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _is_there(caller: socket.socket) -> bool:
    """Whether a worker still waits; it says nothing until it hangs up."""
    try:
        caller.setblocking(False)
        return bool(caller.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        caller.settimeout(ANSWER_SECONDS)


def _go_to_chief(addresses: Addresses, waiting: _Waiting) -> bool:
    """Another worker's part: calls the chief and waits; False if it must try again."""
    chief = addresses.workers[0]
    hello = {"index": addresses.index, "workers": addresses.workers, "version": __version__}
    try:
        with socket.create_connection(_host_and_port(chief), timeout=ANSWER_SECONDS) as line:
            line.sendall(json.dumps(hello).encode() + b"\n")
            line.settimeout(None)
            answer = line.makefile("rb").readline(10_000)
    except OSError as error:
        waiting.tell(f"worker 0 at {chief} ({error.strerror or error})")
        return False
    if answer == GO:
        return True
    # What TensorFlow answers, where the chief has not yet noticed that its training is over, is something else.
    with contextlib.suppress(ValueError):
        wrong = json.loads(answer)
        if isinstance(wrong, str):
            raise UserError(f"worker {addresses.index} does not fit to worker 0 at {chief}: {wrong}")
    waiting.tell(f"worker 0 at {chief}, which is still busy")
    return False
