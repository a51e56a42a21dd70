"""Waits for all workers before TensorFlow does: its own wait neither names missing workers nor can be stopped.

A worker that is restarted before the others have noticed its loss waits here for them.
"""

import contextlib
import errno
import json
import socket
import time
from collections.abc import Callable

from app import __version__
from app.training.workers.addresses import Addresses
from data.errors import UserError

PAUSE, QUIET_SECONDS, ANSWER_SECONDS = 0.5, 30, 10
GO = b"go\n"
# Network errors that retrying does not solve.
HOPELESS = (errno.EACCES, errno.EADDRNOTAVAIL)


def rendezvous(addresses: Addresses, report: Callable[[str], None] = print, pause: float = PAUSE) -> None:
    """Returns on all workers at the same time, once the last of them has arrived.

    Args:
        addresses: the workers.
        report: called from time to time with a line that names what is still missing.
        pause: seconds between two attempts.

    Raises:
        UserError: the chief's port cannot be used, or this worker's version or addresses differ from the chief's.
    """
    waiting = _Waiting(addresses, report)
    if addresses.index == 0:
        _serve(addresses, waiting, pause)
        return
    while not _join_chief(addresses, waiting):
        time.sleep(pause)


class _Waiting:
    """Reports what a worker is waiting for, at most every QUIET_SECONDS."""

    def __init__(self, addresses: Addresses, report: Callable[[str], None]):
        self.name, self.report = f"worker {addresses.index} of {len(addresses.workers)}", report
        self.reported = time.monotonic()

    def on(self, missing: str) -> None:
        if time.monotonic() - self.reported >= QUIET_SECONDS:
            self.reported = time.monotonic()
            self.report(f"{self.name}: still waiting for {missing}")


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _serve(addresses: Addresses, waiting: _Waiting, pause: float) -> None:
    """The chief's part: keeps the connection of every worker open until all have connected."""
    with _listen(addresses, waiting, pause) as server, contextlib.ExitStack() as connections:
        server.settimeout(pause)
        clients: dict[int, socket.socket] = {}
        missing = set(range(1, len(addresses.workers)))
        while missing:
            waiting.on(", ".join(f"worker {index} at {addresses.workers[index]}" for index in sorted(missing)))
            with contextlib.suppress(TimeoutError):
                client = connections.enter_context(server.accept()[0])
                index = _worker_index(client, addresses)
                if index:
                    clients[index] = client
            clients = {index: client for index, client in clients.items() if _is_connected(client)}
            missing = set(range(1, len(addresses.workers))) - set(clients)
        for client in clients.values():
            with contextlib.suppress(OSError):
                client.sendall(GO)


def _listen(addresses: Addresses, waiting: _Waiting, pause: float) -> socket.socket:
    _, port = _host_and_port(addresses.workers[0])
    while True:
        try:
            return socket.create_server(("", port))
        except OSError as error:
            if error.errno in HOPELESS:
                raise UserError(f"{addresses.workers[0]}: port {port} cannot be used: {error.strerror}") from error
            # Most likely still used by the previous process of this worker, which is about to end.
            waiting.on(f"port {port} to become free")
            time.sleep(pause)


def _worker_index(client: socket.socket, addresses: Addresses) -> int:
    """The index of the worker that connected; 0 if it does not match, in which case it is told why."""
    try:
        client.settimeout(ANSWER_SECONDS)
        hello = json.loads(client.makefile("rb").readline(1000))
        index, workers, version = hello["index"], hello["workers"], hello["version"]
        wrong = ""
        if workers != list(addresses.workers) or index not in range(1, len(workers)):
            wrong = f"its workers are {', '.join(addresses.workers)}"
        elif version != __version__:
            wrong = f"its version is {__version__}, here it is {version}"
        if wrong:
            client.sendall(json.dumps(wrong).encode() + b"\n")
        return 0 if wrong else index
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _is_connected(client: socket.socket) -> bool:
    """Whether a worker still waits; it sends nothing until it disconnects."""
    try:
        client.setblocking(False)
        return bool(client.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        client.settimeout(ANSWER_SECONDS)


def _join_chief(addresses: Addresses, waiting: _Waiting) -> bool:
    """Another worker's part: connects to the chief and waits; False if it must retry."""
    chief = addresses.workers[0]
    hello = {"index": addresses.index, "workers": addresses.workers, "version": __version__}
    try:
        with socket.create_connection(_host_and_port(chief), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(json.dumps(hello).encode() + b"\n")
            connection.settimeout(None)
            answer = connection.makefile("rb").readline(10_000)
    except OSError as error:
        waiting.on(f"worker 0 at {chief} ({error.strerror or error})")
        return False
    if answer == GO:
        return True
    # A chief that has not yet noticed the end of its previous training gives TensorFlow's answer.
    with contextlib.suppress(ValueError):
        wrong = json.loads(answer)
        if isinstance(wrong, str):
            raise UserError(f"worker {addresses.index} does not match worker 0 at {chief}: {wrong}")
    waiting.on(f"worker 0 at {chief}, which is still busy")
    return False
