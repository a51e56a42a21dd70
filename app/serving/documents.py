"""Documents that are open: translated segment by segment and corrected, each with a state of its own."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.serving.limits import Limits, RefusedError
from app.translation.session import Session
from data.errors import UserError

T = TypeVar("T")
# Requests about a document that are worked on or wait for it.
_MOST_USERS = 4


@dataclass
class OpenDocument:
    """A document: its name, whose it is, and its session, which one thread at a time may use."""

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
        limits: of the server.
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
        """Does something with a document, after all that others do with it.

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

    @contextmanager
    def _queued(self, document: OpenDocument) -> Iterator[None]:
        """Each that waits holds a thread, so that only a few may."""
        with self._lock:
            if document.users >= _MOST_USERS:
                raise _busy()
            document.users += 1
        try:
            yield
        finally:
            with self._lock:
                document.users -= 1

    @contextmanager
    def _in_use(self, document: OpenDocument) -> Iterator[None]:
        if document.broken:
            raise _missing()
        document.used = time.monotonic()
        try:
            yield
        except (RefusedError, UserError):
            raise
        except BaseException:
            # Half translated, it could not go on.
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


def push(document: OpenDocument, segments: list[str], most: int) -> dict[str, Any]:
    """Appends segments to a document of at most so many."""
    first = len(document.session.sources) + 1
    if first + len(segments) - 1 > most:
        raise RefusedError(413, f"the document would have more than {most} segments; open another one")
    return {"first": first, "translations": document.session.push(segments)}


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
    lines = zip(session.sources, session.translations, session.corrections, strict=True)
    return {
        "id": document.name,
        "segments": [
            {"number": number, "source": source, "translation": text, "corrected": correction is not None}
            for number, (source, text, correction) in enumerate(lines, start=1)
        ],
    }


def _changes(changed: dict[int, str]) -> list[dict[str, Any]]:
    return [{"number": number, "translation": text} for number, text in sorted(changed.items())]


def _busy() -> RefusedError:
    return RefusedError(409, "the document is still being translated; try again later")


def _missing() -> RefusedError:
    return RefusedError(404, "there is no such document; it may have expired")
