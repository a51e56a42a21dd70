"""The server's own API: texts, streams, and documents that are translated and corrected segment by segment."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.formats.markup import Tags
from app.serving.desk import Desk
from app.serving.documents import (
    OpenDocument,
    Send,
    alternatives,
    correct,
    explained,
    memory_use,
    push,
    push_text,
    shown,
    undo,
)
from app.serving.events import stream
from app.serving.limits import RefusedError
from app.serving.own_files import add_files
from app.serving.service import Service, Wishes
from app.translation.sentences import cut_text
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


class Text(_Body):
    """The next text of a document."""

    text: str
    sentences: bool = True


class Segments(_Body):
    """The next segments of a document."""

    segments: list[str] = Field(min_length=1)
    corrections: list[str | None] | None = Field(
        None, description="their right translations as far as they are known, null for a segment without one"
    )


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
    """A document that was opened; it is forgotten after `idle_seconds` without use."""

    id: str
    idle_seconds: float


class Pushed(BaseModel):
    """The translations of the new segments; `first` is the number of the first one."""

    first: int
    translations: list[str]


class Change(BaseModel):
    """A segment whose translation has changed."""

    number: int
    translation: str


class Changes(BaseModel):
    """What a correction changed in the segments after it."""

    changed: list[Change]


class Undone(Changes):
    """How many segments the document has, and what changed in them."""

    segments: int


class Score(BaseModel):
    """The mean log-probability of a token; null for a correction, or where there was nothing to translate."""

    score: float | None
    tokens: int | None


class Segment(Score):
    """A segment of a document."""

    number: int
    source: str
    translation: str
    corrected: bool


class WordAttention(BaseModel):
    """The share of its attention that each word of a translation gave to each word of the source and to its end."""

    source: list[str]
    target: list[str]
    weights: list[list[float]]


class ExplainedSegment(Segment):
    """A segment with its attention; null if the engine cannot tell."""

    attention: WordAttention | None


class Alternative(Score):
    """One of the translations that the search found for a segment."""

    text: str


class Alternatives(BaseModel):
    """The translations that the search found for a segment, the best first."""

    alternatives: list[Alternative]


class SegmentMemory(BaseModel):
    """How the memory was used in a segment, as `weitblick translate --show-memory` writes it."""

    number: int
    window: int
    source_gate: float
    target_gate: float
    source_slots: list[float]
    target_slots: list[float]
    writes: list[float]


class MemoryUse(BaseModel):
    """How the memory was used; null if the model has none that can be shown."""

    segments: list[SegmentMemory] | None


class Document(BaseModel):
    """A document."""

    id: str
    segments: list[Segment]
    undoable: bool = Field(description="whether there is a correction to take back")


class About(BaseModel):
    """What the server can do."""

    source: str
    target: str
    documents: bool = Field(description="whether documents can be opened")
    glossaries: bool
    characters: int = Field(description="of text in a request")


class Problem(BaseModel):
    """What is wrong with a request."""

    error: str


def router(desk: Desk) -> APIRouter:
    """The routes of the API."""
    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem} for status in (400, 403, 404, 408, 409, 413, 429, 500, 503)
    }
    routes = APIRouter(prefix="/api", tags=["Weitblick"], responses=problems)

    @routes.get("", response_model=About)
    async def about(request: Request) -> dict[str, Any]:
        """What the server can do."""
        desk.admit(request)
        service = desk.service
        found = {"source": service.source, "target": service.target, "documents": service.opens_documents}
        return found | {"glossaries": service.takes_glossaries, "characters": desk.limits.characters}

    _add_texts(routes, desk)
    _add_documents(routes, desk)
    _add_explanations(routes, desk)
    add_files(routes, desk)
    return routes


def _add_texts(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/translate", response_model=Translations)
    async def translate(request: Request, body: Texts) -> dict[str, Any]:
        """Translates texts, each on its own; a model with a memory reads each of them as a document."""
        owner = desk.admit(request)
        texts = [body.text] if isinstance(body.text, str) else body.text
        if body.alternatives > desk.limits.alternatives:
            raise RefusedError(400, f"alternatives: at most {desk.limits.alternatives}")
        glossary, context = desk.glossary(body.glossary, owner), desk.check_context(body.context)
        tags = None if body.format == "text" else Tags(body.format)
        wishes = Wishes(tags, body.sentences, tags is None, context, glossary, body.alternatives)
        desk.count(owner, texts)
        found = await desk.run(desk.service.translate, texts, wishes, desk.until())
        return {"translations": [one._asdict() for one in found]}

    @routes.post("/translate/stream", response_class=StreamingResponse)
    async def translate_stream(request: Request, body: StreamedText) -> StreamingResponse:
        """Translates a text; sends server-sent events: `text`, `segment` for each segment, and `end` or `error`."""
        owner = desk.admit(request)
        glossary, context = desk.glossary(body.glossary, owner), desk.check_context(body.context)
        wishes = Wishes(sentences=body.sentences, context=context, glossary=glossary)
        desk.count(owner, [body.text])
        until = desk.until()
        return await stream(desk, lambda send: _stream_text(desk.service, body.text, wishes, until, send))


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
        return await _use(desk, request, name, shown)

    @routes.delete("/documents/{name}", status_code=204)
    async def close(request: Request, name: str) -> None:
        """Forgets a document."""
        desk.documents.close(name, desk.admit(request))

    @routes.post("/documents/{name}/segments", response_model=Pushed)
    async def add(request: Request, name: str, body: Segments) -> Any:
        """Translates the next segments of a document, with what the model remembers of it."""
        most, known = desk.limits.segments, body.corrections
        texts = body.segments + [text for text in known or () if text is not None]
        return await _use(desk, request, name, lambda document: push(document, body.segments, most, known), texts)

    @routes.post("/documents/{name}/segments/stream", response_class=StreamingResponse)
    async def add_text(request: Request, name: str, body: Text) -> StreamingResponse:
        """Translates the next text of a document; sends server-sent events as `/translate/stream` does.

        If the client goes away, the segments that were translated stay in the document.
        """
        owner = desk.admit(request)
        desk.count(owner, [body.text])
        cut, most = cut_text(body.text, body.sentences), desk.limits.segments

        def work(send: Send) -> None:
            desk.documents.use(name, owner, lambda document: push_text(document, cut, most, send))

        return await stream(desk, work)

    @routes.put("/documents/{name}/segments/{number}", response_model=Changes)
    async def set_correction(request: Request, name: str, number: int, body: Correction) -> Any:
        """Sets the right translation of a segment; the segments after it are translated again."""
        return await _use(desk, request, name, lambda document: correct(document, number, body.text), [body.text])

    @routes.post("/documents/{name}/undo", response_model=Undone)
    async def take_back(request: Request, name: str) -> Any:
        """Takes back the last correction, unless segments were added after it."""
        return await _use(desk, request, name, _take_back)


def _add_explanations(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/documents/{name}/segments/{number}", response_model=ExplainedSegment)
    async def explain(request: Request, name: str, number: int) -> Any:
        """One segment, with what its words attended to when it is read alone."""
        return await _use(desk, request, name, lambda document: explained(document, number))

    @routes.get("/documents/{name}/segments/{number}/alternatives", response_model=Alternatives)
    async def list_alternatives(request: Request, name: str, number: int) -> Any:
        """The translations that the search found for a segment, with what is remembered of those before it."""
        return await _use(desk, request, name, lambda document: alternatives(document, number))

    @routes.get("/documents/{name}/memory", response_model=MemoryUse)
    async def show_memory(request: Request, name: str) -> Any:
        """How the memory was used in each segment."""
        return await _use(desk, request, name, memory_use)


async def _use(desk: Desk, request: Request, name: str, action: Action, texts: Sequence[str] = ()) -> Any:
    """Does something with a document; `texts` are what is to be translated for it, if anything."""
    owner = desk.admit(request)
    desk.count(owner, texts)
    return await desk.run(desk.documents.use, name, owner, action)


def _take_back(document: OpenDocument) -> dict[str, Any]:
    # A client that did not get an answer may ask twice, and must not lose its text.
    if not document.session.undoes_correction:
        raise RefusedError(400, "there is no correction to undo since the last segments were added")
    return undo(document)


def _stream_text(service: Service, text: str, wishes: Wishes, until: float, send: Send) -> None:
    """Sends the translation of a text, segment by segment."""
    cut = cut_text(text, wishes.sentences, wishes.lines)
    send("text", {"first": 1, **cut._asdict()})
    for number, translation in enumerate(service.stream(cut.segments, wishes, until), start=1):
        if not send("segment", {"number": number, "translation": translation}):
            return
    send("end", {"segments": len(cut.segments)})
