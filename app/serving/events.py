"""Answers that are sent piece by piece, as server-sent events, while a thread works."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from fastapi.responses import StreamingResponse

from app.serving.batches import OverdueError, StoppedError
from app.serving.desk import Desk, in_time, overdue
from app.serving.documents import Send
from app.serving.limits import RefusedError
from app.serving.logs import described, log


async def stream(desk: Desk, work: Callable[[Send], None]) -> StreamingResponse:
    """The answer that `work` sends in a thread. The last event is `end`, or `error`.

    A refusal before the first event gets its own status.

    Args:
        desk: the server's state.
        work: sends events until it is done, or the client is gone.
    """
    events = _events(desk, work)
    first = await anext(events)

    async def all_events() -> AsyncIterator[str]:
        try:
            yield first
            async for event in events:
                yield event
        finally:
            await events.aclose()

    return StreamingResponse(all_events(), media_type="text/event-stream")


async def _events(desk: Desk, work: Callable[[Send], None]) -> AsyncGenerator[str, None]:
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[tuple[str, Any]]()
    gone = threading.Event()

    def send(name: str, content: Any) -> bool:
        loop.call_soon_threadsafe(queue.put_nowait, (name, content))
        return not gone.is_set()

    begin = in_time(work, desk.until())

    def run() -> None:
        try:
            begin(send)
        except (OverdueError, StoppedError):
            send("error", overdue())
        except RefusedError as error:
            send("error", error)
        except Exception as error:
            send("error", RefusedError(500, "internal error"))
            log("stream", logging.ERROR, **described(error))

    desk.submit(run)
    name, begun = "", False
    try:
        while name not in ("end", "error"):
            name, content = await queue.get()
            if name == "error":
                if not begun:
                    raise content
                content = {"error": content.message}
            begun = True
            yield f"event: {name}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"
    finally:
        gone.set()
