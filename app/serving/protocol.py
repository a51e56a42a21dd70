"""Uvicorn's HTTP protocol, with a time limit for request heads too, and answers to clients that stop half-way."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_ANSWER = b"HTTP/1.1 %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class PatientProtocol(H11Protocol):
    """Closes connections on which no complete head of a request arrives within `patience` seconds.

    A client that has sent its request may close its side of the connection and still gets its answer; one that closes
    it in the middle of a request gets a 400.
    """

    patience = 10.0

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._impatience: asyncio.TimerHandle | None = None
        self._begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock."""
        super().connection_made(transport)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Stops the clock when the head is complete."""
        self._begun = True
        super().data_received(data)
        self._watch_head()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; returns whether it may still get an answer."""
        if self.conn.their_state in (h11.DONE, h11.MUST_CLOSE) and self.cycle and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            return True
        if self._begun and self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._answer(b"400 Bad Request")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """The request that was begun is answered."""
        self._begun = False
        super().on_response_complete()

    def _watch_head(self) -> None:
        """Lets the clock run while the head of a request is incomplete; between requests uvicorn has its own clock."""
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_clock()
        elif self._impatience is None:
            self._impatience = self.loop.call_later(self.patience, self._give_up)

    def _stop_clock(self) -> None:
        if self._impatience:
            self._impatience.cancel()
            self._impatience = None

    def _give_up(self) -> None:
        self._impatience = None
        if self.conn.their_state is h11.IDLE and (self.cycle is None or self.cycle.response_complete):
            if self._begun:
                self._answer(b"408 Request Timeout")
            self.transport.close()

    def _answer(self, status: bytes) -> None:
        if not self.transport.is_closing() and (self.cycle is None or not self._answering()):
            self.transport.write(_ANSWER % status)

    def _answering(self) -> bool:
        return self.cycle.response_started and not self.cycle.response_complete
