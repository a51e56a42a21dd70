"""What the APIs share: who may ask, how much, and where the work is done."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import Request

from app.formats.base import FileDocument, Options
from app.formats.opening import open_document
from app.serving.batches import OverdueError, StoppedError
from app.serving.documents import Documents
from app.serving.fields import checked
from app.serving.files import Files, TranslatedFile, output_name
from app.serving.glossaries import Glossaries
from app.serving.limits import KeyRefusedError, Keys, Limits, Rates, RefusedError
from app.serving.metrics import Metrics
from app.serving.service import Service
from data.errors import UserError
from data.terms import Glossary

T = TypeVar("T")
# How clients send a key in the header `Authorization`.
_SCHEMES = ("deepl-auth-key", "bearer")


class Desk:
    """The server's state.

    Args:
        service: translates.
        keys: the keys that open the server.
        metrics: the server's metrics.
    """

    def __init__(self, service: Service, keys: Keys, metrics: Metrics):
        self.service, self.keys, self.metrics = service, keys, metrics
        self.limits: Limits = service.limits
        self.rates = Rates(self.limits.rate)
        self.documents = Documents(self.limits)
        self.files = Files(self.limits)
        self.glossaries = Glossaries(self.limits, service.target)
        self.characters: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(self.limits.at_once, thread_name_prefix="requests")
        self._running = 0
        batches = service.batches
        metrics.watch(lambda: batches.decoder.output_tokens, lambda: batches.waiting, lambda: len(self.documents))

    def admit(self, request: Request, key: str | None = None) -> str:
        """Who sent a request: the owner of its key, or the same for all if there are no keys.

        Args:
            request: the request.
            key: the key in the body, if clients send it there; without one, it is looked for in the header.

        Raises:
            RefusedError: the key is wrong, or the client sends too many requests.
        """
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        given = key or (value.strip() if scheme.lower() in _SCHEMES else None)
        owner = self.keys.owner(given) if self.keys else ""
        client = owner or (request.client.host if request.client else "")
        if wait := self.rates.take(client):
            raise RefusedError(429, "too many requests; slow down", wait)
        if owner is None:
            raise KeyRefusedError
        return owner

    def count(self, owner: str, texts: Sequence[str], most: int | None = None) -> int:
        """Counts the characters of texts to translate, after checking their limits."""
        if len(texts) > (most or self.limits.texts):
            raise RefusedError(413, f"more than {most or self.limits.texts} texts in a request")
        characters = sum(len(checked("text", text)) for text in texts)
        if characters > self.limits.characters:
            raise RefusedError(413, f"more than {self.limits.characters} characters in a request")
        self._note(owner, characters)
        return characters

    def _note(self, owner: str, characters: int) -> None:
        with self._lock:
            self.characters[owner] += characters
        self.metrics.characters.inc(characters)

    async def start_file(
        self,
        owner: str,
        name: str,
        content: bytes,
        glossary: str | None,
        columns: Sequence[str] = (),
        own: bool = False,
    ) -> TranslatedFile:
        """Reads a file that was sent, and begins to translate it.

        Args:
            owner: who sent it.
            name, content: the file's name and content.
            glossary: the key of a stored glossary; none without one.
            columns: the columns of a table to translate.
            own: whether to refuse a file that is clearly in another language.
        """
        if len(content) > self.limits.file_bytes:
            raise RefusedError(413, self.limits.file_too_large)
        options = Options(name, self.service.source, self.service.target, tuple(columns))
        terms = self.glossary(glossary, owner)
        document = await self.run(_opened, content, options)
        texts = [text for piece in document.pieces if piece.known is None for text in piece.texts]
        characters = sum(map(len, texts))
        # Memories hold finished translations, too.
        known = [text for piece in document.pieces if piece.known for text in (piece.known, *piece.texts)]
        if characters + sum(map(len, known)) > self.limits.file_characters:
            raise RefusedError(413, f"more than {self.limits.file_characters} characters of text in the file")
        if own:
            await self.run(self.service.refuse_foreign, [" ".join(texts)[: self.limits.characters]])
        file = TranslatedFile(owner, output_name(name, self.service.target), characters)

        def work(progress: Callable[[int, int], None]) -> bytes:
            return self.service.translate_file(document, name, terms, progress)

        self.files.start(file, work)
        self._note(owner, characters)
        return file

    def check_context(self, context: str) -> str:
        """Returns a context, unless it is too long."""
        if len(checked("context", context)) > self.limits.characters:
            raise RefusedError(413, f"context: more than {self.limits.characters} characters")
        return context

    def glossary(self, key: str | None, owner: str) -> Glossary | None:
        """A stored glossary for a translation; None for no key."""
        return self.glossaries.get(key, owner).glossary if key else None

    def check_glossaries(self) -> None:
        """Refuses a glossary for an engine that takes none."""
        if not self.service.takes_glossaries:
            raise RefusedError(400, "the engine of this server takes no glossaries")

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Does something in a thread, and waits for it as long as a request may take.

        Raises:
            RefusedError: it takes longer, too much else is to be done, or the server is stopping.
        """
        future = self.submit(in_time(work, self.until()), *arguments)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self.limits.seconds + 1)
        except (OverdueError, TimeoutError):
            raise overdue() from None
        except StoppedError:
            raise RefusedError(503, "the server is stopping", 10) from None

    def until(self) -> float:
        """When a request that comes now is overdue, by `time.monotonic()`."""
        return time.monotonic() + self.limits.seconds

    def submit(self, work: Callable[..., Any], *arguments: Any) -> asyncio.Future:
        """Does something in a thread."""
        if self._running >= 2 * self.limits.at_once:
            raise RefusedError(429, "too many requests are waiting; try again later", 1)
        self._running += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        future.add_done_callback(self._finished)
        return future

    def stop(self) -> None:
        """Finishes what is being done."""
        self.files.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.service.stop()

    def _finished(self, future: asyncio.Future) -> None:
        self._running -= 1
        if not future.cancelled():
            future.exception()  # nobody may be waiting for it any more


def _opened(content: bytes, options: Options) -> FileDocument:
    try:
        return open_document(content, options)
    except UserError as error:
        raise RefusedError(400, str(error)) from None


def in_time(work: Callable[..., T], until: float) -> Callable[..., T]:
    """The work, which raises OverdueError if it begins too late, when the client already has its answer."""

    def begun(*arguments: Any) -> T:
        if time.monotonic() >= until:
            raise OverdueError
        return work(*arguments)

    return begun


def overdue() -> RefusedError:
    """The refusal of a request that takes too long."""
    return RefusedError(503, "the translation takes too long; send less, or try again later", 5)


def check_language(name: str, given: str, own: str) -> None:
    """Refuses a language other than the model's, in DeepL's words."""
    if not same_language(given, own):
        raise RefusedError(400, f"Value for '{name}' not supported.")


def same_language(given: str, own: str) -> bool:
    """Whether a client's code for a language, such as EN-US, means this one."""
    return given.lower().replace("_", "-").partition("-")[0] == own
