"""Runs the application until it is told to stop, and then finishes what it has."""

import socket
from ipaddress import ip_address

import uvicorn
from starlette.types import ASGIApp

from app.serving.limits import Limits
from app.serving.logs import log
from app.serving.protocol import PatientProtocol
from data.errors import UserError

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# Connections at the same time; further ones are told to come back.
_CONNECTIONS = 1000


class _Server(uvicorn.Server):
    """Says when it is ready, and on which address it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            url = address_of(sockets[0])
            log("ready", url=url)
            print(f"The page is at {url}/ until Ctrl-C", flush=True)


def is_loopback(host: str) -> bool:
    """Whether a host can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket to listen on; port 0 takes any that is free.

    Raises:
        UserError: the address is taken, or not one of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        found = socket.socket(family)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--host {host} --port {port}: cannot listen there ({reason}); choose another") from None
    return found


def address_of(found: socket.socket) -> str:
    """The address of a listening socket as a client writes it."""
    host, port = found.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: ASGIApp, found: socket.socket, limits: Limits) -> None:
    """Serves until SIGTERM or Ctrl-C; then takes no more connections, finishes what it has, and returns.

    Args:
        app: the application.
        found: the socket that it listens on.
        limits: the server's limits.
    """
    protocol = type("Protocol", (PatientProtocol,), {"patience": limits.read_seconds})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # With these, anyone on this machine could claim to be somebody else.
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
    )
    server = _Server(config)
    try:
        server.run(sockets=[found])
    except KeyboardInterrupt:
        # uvicorn sends the signal again when everything is done.
        if not server.started:
            raise
    log("stopped")
