"""Open documents: translated segment by segment and corrected, each with its own state."""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.serving.limits import Limits, RefusedError
from app.translation.attention import attend
from app.translation.decoder import TokenScore
from app.translation.lines import one_line
from app.translation.sentences import Cut
from app.translation.session import Session
from data.errors import UserError

T = TypeVar("T")
# Sends an event with its content; returns whether the client is still there.
Send = Callable[[str, dict[str, Any]], bool]
# How many requests may use a document or wait for it.
_MOST_USERS = 4


@dataclass
class OpenDocument:
    """A document: its name, its owner, and its session, which one thread at a time may use."""

    name: str
    owner: str
    session: Session
    glossary: str | None = None
    used: float = field(default_factory=lambda: time.monotonic())
    lock: threading.Lock = field(default_factory=threading.Lock)
    broken: bool = False
    users: int = 0


class Documents:
    """The open documents of all users; one that is not used for a while is forgotten.

    Args:
        limits: the server's limits.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self._documents: dict[str, OpenDocument] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            self._forget()
            return len(self._documents)

    def open(self, session: Session, owner: str, glossary: str | None = None) -> OpenDocument:
        """Opens a document with a name that cannot be guessed."""
        document = OpenDocument(secrets.token_urlsafe(16), owner, session, glossary)
        with self._lock:
            self._forget()
            if len(self._documents) >= self.limits.documents:
                raise RefusedError(429, "too many documents are open; close one, or try again later")
            self._documents[document.name] = document
        return document

    def close(self, name: str, owner: str) -> None:
        """Forgets a document."""
        self._find(name, owner)
        with self._lock:
            self._documents.pop(name, None)

    def use(self, name: str, owner: str, action: Callable[[OpenDocument], T]) -> T:
        """Does something with a document, once all others are done with it.

        Raises:
            RefusedError: there is no such document of this owner, or what is asked for cannot be done.
        """
        document = self._find(name, owner)
        with self._queued(document):
            if not document.lock.acquire(timeout=self.limits.seconds):
                raise _busy()
            try:
                with self._in_use(document):
                    return action(document)
            except UserError as error:
                raise RefusedError(400, str(error)) from None
            finally:
                document.lock.release()

    @contextlib.contextmanager
    def _queued(self, document: OpenDocument) -> Iterator[None]:
        """Each waiting request holds a thread, so only a few may wait."""
        with self._lock:
            if document.users >= _MOST_USERS:
                raise _busy()
            document.users += 1
        try:
            yield
        finally:
            with self._lock:
                document.users -= 1

    @contextlib.contextmanager
    def _in_use(self, document: OpenDocument) -> Iterator[None]:
        if document.broken:
            raise _missing()
        document.used = time.monotonic()
        try:
            yield
        except (RefusedError, UserError):
            raise
        except BaseException:
            # A half translated document could not be continued.
            document.broken = True
            with self._lock:
                self._documents.pop(document.name, None)
            raise
        finally:
            document.used = time.monotonic()

    def _find(self, name: str, owner: str) -> OpenDocument:
        with self._lock:
            self._forget()
            document = self._documents.get(name)
        if document is None or document.owner != owner:
            raise _missing()
        return document

    def _forget(self) -> None:
        latest = time.monotonic() - self.limits.idle_seconds
        for name, document in list(self._documents.items()):
            if document.used < latest and not document.users:
                del self._documents[name]


def push(
    document: OpenDocument, segments: list[str], most: int, corrections: Sequence[str | None] | None = None
) -> dict[str, Any]:
    """Appends segments to a document of at most `most`; some may already have their right translations."""
    first = _first(document, segments, most)
    known = [text if text is None else one_line(text) for text in corrections] if corrections is not None else None
    return {"first": first, "translations": document.session.push(segments, known)}


def push_text(document: OpenDocument, cut: Cut, most: int, send: Send) -> None:
    """Like `push`, but sends events: for the text, each of its segments, and the end; stops if nobody listens."""
    first = _first(document, cut.segments, most)
    send("text", {"first": first, **cut._asdict()})
    with contextlib.closing(document.session.stream(cut.segments)) as found:
        for number, text in found:
            if not send("segment", {"number": number, "translation": text, **_scored(document.session.score(number))}):
                return
    send("end", {"segments": len(document.session.sources)})


def correct(document: OpenDocument, number: int, text: str) -> dict[str, Any]:
    """Sets the right translation of a segment."""
    return {"changed": _changes(document.session.correct(number, text))}


def undo(document: OpenDocument) -> dict[str, Any]:
    """Takes back the last correction or push."""
    changed = document.session.undo()
    return {"segments": len(document.session.sources), "changed": _changes(changed)}


def shown(document: OpenDocument) -> dict[str, Any]:
    """All of a document."""
    session = document.session
    return {"id": document.name, "segments": _segments(session), "undoable": session.undoes_correction}


def explained(document: OpenDocument, number: int) -> dict[str, Any]:
    """One segment with what its words attended to, if the engine can tell; "attention" is None if it cannot."""
    session = document.session
    session.score(number)  # refuses a number that does not exist
    found = _segments(session)[number - 1] | {"attention": None}
    if session.translator.decoder.attends:
        # There may be nothing to translate, or more than the model takes at once.
        with contextlib.suppress(UserError):
            source, target, weights = attend(session.translator, found["source"], found["translation"]).alignment()
            rows = [[round(float(weight), 3) for weight in row] for row in weights]
            found["attention"] = {"source": source, "target": target, "weights": rows}
    return found


def alternatives(document: OpenDocument, number: int) -> dict[str, Any]:
    """The translations that the search found for a segment, each text once, the best first."""
    found: dict[str, TokenScore] = {}
    for text, score in document.session.alternatives(number):
        found.setdefault(text, score)
    return {"alternatives": [{"text": text, **_scored(score)} for text, score in found.items()]}


def memory_use(document: OpenDocument) -> dict[str, Any]:
    """How the memory was used in each segment; None for a memory that cannot be shown."""
    records: dict[int, dict] = {}
    for number, record in document.session.memory_use():
        records.setdefault(number, record)
    names = ("window", "source_gate", "target_gate", "source_slots", "target_slots", "writes")
    rows = [{"number": number, **{name: record[name] for name in names}} for number, record in records.items()]
    return {"segments": rows or None}


def _first(document: OpenDocument, segments: Sequence[str], most: int) -> int:
    """The number of the first new segment."""
    first = len(document.session.sources) + 1
    if first + len(segments) - 1 > most:
        raise RefusedError(413, f"the document would have more than {most} segments; open another one")
    return first


def _segments(session: Session) -> list[dict[str, Any]]:
    lines = enumerate(zip(session.sources, session.translations, session.corrections, strict=True), start=1)
    return [
        {"number": number, "source": source, "translation": text, "corrected": correction is not None}
        | _scored(session.score(number))
        for number, (source, text, correction) in lines
    ]


def _scored(score: TokenScore | None) -> dict[str, Any]:
    """The mean log-probability of a token, and the number of tokens."""
    if score is None:
        return {"score": None, "tokens": None}
    return {"score": round(score.log_probability / score.tokens, 4), "tokens": score.tokens}


def _changes(changed: dict[int, str]) -> list[dict[str, Any]]:
    return [{"number": number, "translation": text} for number, text in sorted(changed.items())]


def _busy() -> RefusedError:
    return RefusedError(409, "the document is still being translated; try again later")


def _missing() -> RefusedError:
    return RefusedError(404, "there is no such document; it may have expired")
