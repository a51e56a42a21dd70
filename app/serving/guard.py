"""Checks every request first: its size and time, and where it comes from. Logs and counts it."""

import asyncio
import logging
import math
import secrets
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.serving.limits import KeyRefusedError, Limits, RefusedError
from app.serving.logs import described, log
from app.serving.metrics import Metrics
from app.serving.names import Names

# Nothing that the server sends may load or run anything, unless a page says what it needs.
HEADERS = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
# The name under which clients of a path look for the error; others look under "error".
_ERROR_NAMES = {"/v2/": "message", "/bigquery/": "errorMessage"}
# Where files are sent to.
UPLOADS = ("/api/files", "/translate_file", "/v2/document")
# A client that is still sending when the connection is closed does not see the answer. So a body that is too large is
# read and thrown away, up to this many times what is allowed.
_MOST_DRAINED = 8


class DisconnectedError(Exception):
    """The client went away before its request was whole."""


def refusal(path: str, error: RefusedError) -> Response:
    """An error in the form that clients of the path's API expect."""
    headers = {"retry-after": str(max(1, math.ceil(error.wait)))} if error.wait else {}
    if isinstance(error, KeyRefusedError):
        # The page asks for a key if one would help, but not if an address is refused.
        headers["www-authenticate"] = "Bearer"
    name = next((name for prefix, name in _ERROR_NAMES.items() if path.startswith(prefix)), "error")
    return JSONResponse({name: error.message}, error.status, headers)


class Guard:
    """Wraps the application.

    - A request is passed on once its whole body has been read; the body's size and time are limited.
    - Its `Host` and its `Origin` must be the server's. There are no CORS headers. A request that came by a public name
      counts as one by TLS, so that addresses in its answer begin with `https`.
    - Every answer has `HEADERS`. An error that nothing handled becomes a 500 that says nothing.
    - Each request is logged and counted, by the route that it took.

    Args:
        app: the application.
        limits, metrics, names: those of the server.
    """

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics, names: Names):
        self.app, self.limits, self.metrics, self.names = app, limits, metrics, names
        self._uploads = asyncio.Semaphore(limits.files)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        noted = _Noted(scope, self.metrics)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                noted.status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, "x-request-id": noted.name}.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            if self.names.check(Headers(scope=scope)):
                scope["scheme"] = "https"
            body = await self._body(scope, receive)
            await self.app(scope, _replay(body, receive), sending)
        except DisconnectedError:
            noted.status = 400
        except TimeoutError:
            await refusal(scope["path"], RefusedError(408, "the request took too long"))(scope, receive, sending)
        except RefusedError as error:
            await refusal(scope["path"], error)(scope, receive, sending)
        except Exception as error:
            noted.error = described(error)
            if not noted.status:
                await refusal(scope["path"], RefusedError(500, "internal error"))(scope, receive, sending)
        finally:
            noted.write()

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        limits = self.limits
        if scope["method"] != "POST" or scope["path"] not in UPLOADS:
            words = f"the request is larger than {limits.body} bytes"
            return await asyncio.wait_for(self._read(scope, receive, limits.body, words), limits.read_seconds)
        # As many as may be kept: a client's key is checked only when its file is in memory.
        async with self._uploads:
            read = self._read(scope, receive, limits.file_bytes + limits.body, limits.file_too_large)
            return await asyncio.wait_for(read, limits.upload_seconds)

    async def _read(self, scope: Scope, receive: Receive, most: int, too_large: str) -> bytes:
        length = int(Headers(scope=scope).get("content-length", "0")[:20])
        body, size, more = bytearray(), 0, length <= _MOST_DRAINED * most
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise DisconnectedError
            size += len(message.get("body", b""))
            if size <= most:
                body += message.get("body", b"")
            more = message.get("more_body", False) and size <= _MOST_DRAINED * most
        if max(size, length) > most:
            raise RefusedError(413, too_large)
        return bytes(body)


class _Noted:
    """What is logged about a request."""

    def __init__(self, scope: Scope, metrics: Metrics):
        self.scope, self.metrics = scope, metrics
        self.name, self.began = secrets.token_hex(8), time.monotonic()
        self.status, self.error = 0, dict[str, Any]()

    def write(self) -> None:
        """Logs and counts the request."""
        seconds = time.monotonic() - self.began
        # The path itself could hold anything.
        route = getattr(self.scope.get("route"), "path", "other")
        status = self.status or 499
        self.metrics.request(route, status, seconds)
        level = logging.ERROR if self.error else logging.INFO
        milliseconds = round(1000 * seconds, 1)
        fields = {"id": self.name, "method": self.scope["method"], "route": route, "status": status}
        log("request", level, **fields, milliseconds=milliseconds, **self.error)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Replays a body that was read, then passes on what the client does."""
    waiting = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay
