"""A network between a client and a server that can be cut."""

import contextlib
import socket
import struct
import threading


class CutProxy:
    """Passes TCP connections on to a port of this machine, and breaks them when told to.

    Args:
        port: of the server.
        received: the numbers of bytes from the server after which connections break, one after the other: all open
            ones do, and new ones are taken again.
        sent: the same for bytes to the server.
        for_good: new connections are not taken after a break.
        silent: instead of breaking, connections stay and nothing comes through them any more.

    Attributes:
        port: to connect to.
        cuts: how many times connections were broken.
    """

    def __init__(
        self,
        port: int,
        received: tuple[int, ...] = (),
        sent: tuple[int, ...] = (),
        for_good: bool = False,
        silent: bool = False,
    ):
        self._for_good, self._silent, self._hushed = for_good, silent, threading.Event()
        self._server, self._limits = port, {"received": list(received), "sent": list(sent)}
        self._passed = {"received": 0, "sent": 0}
        self._lock, self._open = threading.Lock(), set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.cuts = self._listener.getsockname()[1], 0
        threading.Thread(target=self._accept, daemon=True).start()

    def vanish(self) -> None:
        """Breaks all connections and takes no new ones."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.vanish()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                with self._lock:
                    self._open |= {client, server}
                threading.Thread(target=self._pass, args=(client, server, "sent"), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, "received"), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                with self._lock:
                    self._passed[direction] += len(data)
                    limits = self._limits[direction]
                    over = bool(limits) and self._passed[direction] > limits[0]
                    if over:
                        limits.pop(0)
                        self._passed[direction] = 0
                        self.cuts += 1
                if over and self._silent:
                    self._hushed.set()
                elif over:
                    return self.vanish() if self._for_good else self._cut()
                if not self._hushed.is_set():
                    target.sendall(data)
        for end in (source, target):
            self._break(end)

    def _cut(self) -> None:
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            self._break(end)

    @staticmethod
    def _break(end: socket.socket) -> None:
        with contextlib.suppress(OSError):
            # Reset at once, as a crashed machine's router would, rather than say goodbye.
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.shutdown(socket.SHUT_RDWR)
        end.close()
