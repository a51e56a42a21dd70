"""The server's own API: texts, streams, and documents that are translated and corrected segment by segment."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.serving.batches import OverdueError, StoppedError
from app.serving.desk import Desk, overdue
from app.serving.documents import OpenDocument, correct, push, shown, undo
from app.serving.limits import RefusedError
from app.serving.markup import Tags
from app.serving.service import Wishes
from app.translation.session import Session

Action = Callable[[OpenDocument], Any]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Texts(_Body):
    """Texts to translate."""

    text: str | list[str] = Field(description="a text, or several")
    context: str = Field("", description="text before each of them, which is read and not translated")
    glossary: str | None = Field(None, description="the id of a stored glossary")
    format: Literal["text", "html", "xml"] = "text"
    sentences: bool = Field(True, description="whether texts are cut at the ends of sentences")
    alternatives: int = Field(0, ge=0, description="how many more translations of each text")


class StreamedText(_Body):
    """A text whose segments are sent as they are translated."""

    text: str
    context: str = ""
    glossary: str | None = None
    sentences: bool = True


class NewDocument(_Body):
    """A document to open."""

    context: str = Field("", description="text before the document, which is read and not translated")
    glossary: str | None = Field(None, description="the id of a stored glossary")


class Segments(_Body):
    """The next segments of a document."""

    segments: list[str] = Field(min_length=1)


class Correction(_Body):
    """The right translation of a segment."""

    text: str


class Translation(BaseModel):
    """A text's translation."""

    text: str
    alternatives: list[str]


class Translations(BaseModel):
    """The translation of each text."""

    translations: list[Translation]


class Opened(BaseModel):
    """A document that was opened; it is forgotten after so many seconds without use."""

    id: str
    idle_seconds: float


class Pushed(BaseModel):
    """The translations of the new segments, the first of which has this number."""

    first: int
    translations: list[str]


class Change(BaseModel):
    """A segment whose translation is another now."""

    number: int
    translation: str


class Changes(BaseModel):
    """What a correction changed after it."""

    changed: list[Change]


class Undone(Changes):
    """What is left of the document, and what changed in it."""

    segments: int


class Segment(BaseModel):
    """A segment of a document."""

    number: int
    source: str
    translation: str
    corrected: bool


class Document(BaseModel):
    """A document."""

    id: str
    segments: list[Segment]


class Problem(BaseModel):
    """What is wrong with a request."""

    error: str


def router(desk: Desk) -> APIRouter:
    """The routes of the API."""
    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem} for status in (400, 403, 404, 408, 409, 413, 429, 500, 503)
    }
    routes = APIRouter(prefix="/api", tags=["Weitblick"], responses=problems)
    _add_texts(routes, desk)
    _add_documents(routes, desk)
    return routes


def _add_texts(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/translate", response_model=Translations)
    async def translate(request: Request, body: Texts) -> dict[str, Any]:
        """Translates texts, each for itself; a model with a memory reads each of them as a document."""
        owner = desk.admit(request)
        texts = [body.text] if isinstance(body.text, str) else body.text
        if body.alternatives > desk.limits.alternatives:
            raise RefusedError(400, f"alternatives: at most {desk.limits.alternatives}")
        glossary, context = desk.glossary(body.glossary, owner), desk.check_context(body.context)
        tags = None if body.format == "text" else Tags(body.format)
        wishes = Wishes(tags, body.sentences, tags is None, context, glossary, body.alternatives)
        desk.count(owner, texts)
        return {"translations": [one._asdict() for one in await desk.run(desk.service.translate, texts, wishes)]}

    @routes.post("/translate/stream", response_class=StreamingResponse)
    async def stream(request: Request, body: StreamedText) -> StreamingResponse:
        """Translates a text; sends server-sent events: `segment` for each segment, and at the end `end` or `error`."""
        owner = desk.admit(request)
        glossary, context = desk.glossary(body.glossary, owner), desk.check_context(body.context)
        wishes = Wishes(sentences=body.sentences, context=context, glossary=glossary)
        desk.count(owner, [body.text])
        events = _events(desk, lambda: desk.service.stream(body.text, wishes))
        # Begins before the answer does, so that a refusal still has its status.
        await anext(events)
        return StreamingResponse(events, media_type="text/event-stream")


def _add_documents(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/documents", status_code=201, response_model=Opened)
    async def open_document(request: Request, body: NewDocument) -> dict[str, Any]:
        """Opens a document."""
        owner = desk.admit(request)
        if not desk.service.opens_documents:
            raise RefusedError(400, "this model reads documents from their end; translate whole texts with it")
        glossary, context = desk.glossary(body.glossary, owner), desk.check_context(body.context)

        def start() -> OpenDocument:
            return desk.documents.open(Session(desk.service.translator(None, glossary, context)), owner)

        document = await desk.run(start)
        return {"id": document.name, "idle_seconds": desk.limits.idle_seconds}

    @routes.get("/documents/{name}", response_model=Document)
    async def show(request: Request, name: str) -> Any:
        """All segments of a document."""
        return await _use(request, name, shown)

    @routes.delete("/documents/{name}", status_code=204)
    async def close(request: Request, name: str) -> None:
        """Forgets a document."""
        desk.documents.close(name, desk.admit(request))

    @routes.post("/documents/{name}/segments", response_model=Pushed)
    async def add(request: Request, name: str, body: Segments) -> Any:
        """Translates the next segments of a document, with what the model remembers of it."""
        most = desk.limits.segments
        return await _use(request, name, lambda document: push(document, body.segments, most), body.segments)

    @routes.put("/documents/{name}/segments/{number}", response_model=Changes)
    async def set_correction(request: Request, name: str, number: int, body: Correction) -> Any:
        """Sets the right translation of a segment; those after it are translated anew."""
        return await _use(request, name, lambda document: correct(document, number, body.text), [body.text])

    @routes.post("/documents/{name}/undo", response_model=Undone)
    async def take_back(request: Request, name: str) -> Any:
        """Takes back the last correction, or the last segments."""
        return await _use(request, name, undo)

    async def _use(request: Request, name: str, action: Action, texts: Sequence[str] = ()) -> Any:
        owner = desk.admit(request)
        desk.count(owner, texts)
        return await desk.run(desk.documents.use, name, owner, action)


async def _events(desk: Desk, start: Callable[[], Iterator[tuple[str, str]]]) -> AsyncIterator[str]:
    """The events of a stream, which is made in a thread; the first one, when it was admitted, is empty."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[tuple[str, dict[str, Any]]]()
    gone = threading.Event()

    def send(name: str, content: dict[str, Any]) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, (name, content))

    def work() -> None:
        number = 0
        try:
            for number, (source, text) in enumerate(start(), start=1):
                if gone.is_set():
                    return
                send("segment", {"number": number, "source": source, "translation": text})
            send("end", {"segments": number})
        except (OverdueError, StoppedError):
            send("error", {"error": overdue().message})
        except Exception:
            send("error", {"error": "internal error"})
            raise

    desk.submit(work)
    try:
        yield ""
        name = ""
        while name not in ("end", "error"):
            name, content = await queue.get()
            yield f"event: {name}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"
    finally:
        gone.set()
