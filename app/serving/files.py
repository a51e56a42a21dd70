"""Files that clients have sent: translated in the background, in memory, and forgotten when nobody asks for them."""

import asyncio
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from fastapi import Response

from app.formats.opening import ending_of
from app.serving.batches import StoppedError
from app.serving.limits import Limits, RefusedError
from app.serving.logs import described, log
from data.errors import UserError

_MOST_NAME = 150
# Characters that no file name needs, on any system.
_BAD_SIGNS = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')

Progress = Callable[[int, int], None]


class _CancelledError(Exception):
    """Nobody wants the translation any more."""


@dataclass
class TranslatedFile:
    """A file and its translation.

    Args:
        owner: who sent it.
        name: the name of the translation.
        characters: how many its text has.

    Attributes:
        key: its name on the server, which cannot be guessed.
        secret: a second one, for clients that have to show two.
        done, segments: how many segments are translated, and of how many.
        content: the translation, once it is done.
        failure: why there is no translation.
        awaited: whether a request waits for it.
    """

    owner: str
    name: str
    characters: int
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    secret: str = field(default_factory=lambda: secrets.token_hex(32))
    done: int = 0
    segments: int = 0
    content: bytes | None = None
    failure: RefusedError | None = None
    awaited: bool = False
    cancelled: bool = False
    begun: float = field(default_factory=lambda: time.monotonic())
    used: float = field(default_factory=lambda: time.monotonic())
    future: Future = field(default_factory=Future)

    @property
    def error(self) -> str:
        """Why there is no translation, in words."""
        return self.failure.message if self.failure else ""

    @property
    def status(self) -> Literal["translating", "done", "failed"]:
        """How far it is."""
        if self.error:
            return "failed"
        return "translating" if self.content is None else "done"

    @property
    def seconds_left(self) -> int:
        """An estimate of how long it will still take."""
        seconds = time.monotonic() - self.begun
        return max(1, round(seconds * (self.segments - self.done) / max(self.done, 1)))

    def progress(self, done: int, segments: int) -> None:
        """Notes how far it is; stops the translation if nobody wants it any more."""
        if self.cancelled:
            raise _CancelledError
        self.done, self.segments = done, segments


class Files:
    """The files of all users.

    Args:
        limits: the server's limits.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self._files: dict[str, TranslatedFile] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(limits.files_at_once, thread_name_prefix="files")

    def __len__(self) -> int:
        with self._lock:
            self._forget()
            return len(self._files)

    def start(self, file: TranslatedFile, work: Callable[[Progress], bytes]) -> None:
        """Begins to translate a file.

        Args:
            file: the file.
            work: translates it; it is given a function to call with its progress.

        Raises:
            RefusedError: there are too many files.
        """
        with self._lock:
            self._forget()
            if len(self._files) >= self.limits.files:
                raise RefusedError(429, "too many files are on the server; delete one, or try again later", 10)
            self._files[file.key] = file
        file.future = self._pool.submit(_translate, file, work)

    def get(self, key: str, owner: str | None) -> TranslatedFile:
        """A file of this owner; None stands for any owner: the client knows the file's key."""
        with self._lock:
            self._forget()
            file = self._files.get(key)
            if file is None or owner not in (None, file.owner):
                raise RefusedError(404, "there is no such file; it may have expired")
            file.used = time.monotonic()
            return file

    async def wait(self, file: TranslatedFile, seconds: float) -> None:
        """Waits until a file's translation has ended, but at most so long; the file is not forgotten meanwhile."""
        file.awaited = True
        try:
            await asyncio.wait([asyncio.wrap_future(file.future)], timeout=seconds)
        finally:
            file.used, file.awaited = time.monotonic(), False

    def delete(self, file: TranslatedFile) -> None:
        """Forgets a file, and stops its translation."""
        file.cancelled = True
        file.future.cancel()
        with self._lock:
            self._files.pop(file.key, None)

    def stop(self) -> None:
        """Forgets all files."""
        for file in list(self._files.values()):
            self.delete(file)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _forget(self) -> None:
        latest = time.monotonic() - self.limits.idle_seconds
        for key, file in list(self._files.items()):
            # A file that is being translated is cancelled too: nobody asks how far it is.
            if file.used < latest and not file.awaited:
                file.cancelled = True
                del self._files[key]


def _translate(file: TranslatedFile, work: Callable[[Progress], bytes]) -> None:
    try:
        file.progress(0, 0)
        file.content = work(file.progress)
    except _CancelledError:
        file.failure = RefusedError(503, "cancelled")
    except UserError as error:
        file.failure = RefusedError(400, str(error))
    except StoppedError:
        file.failure = RefusedError(503, "the server is stopping")
    except Exception as error:
        file.failure = RefusedError(500, "internal error")
        log("file", logging.ERROR, **described(error))
    finally:
        file.used = time.monotonic()


def input_name(name: str) -> str:
    """The name of a file that was sent, without folders and characters that no name needs."""
    name = _BAD_SIGNS.sub("_", name.replace("\\", "/").rpartition("/")[2]).strip()
    ending = ending_of(name)
    return name[: len(name) - len(ending)][:_MOST_NAME] + ending[:20]


def output_name(name: str, language: str) -> str:
    """The name of a translation: "manual.de.docx" of "manual.docx"."""
    ending = ending_of(name)
    return f"{name[: len(name) - len(ending)]}.{language}{ending}"


def attachment(file: TranslatedFile) -> Response:
    """The answer with a translation.

    Raises:
        RefusedError: there is none, or none yet.
    """
    if file.content is None:
        raise RefusedError(409, file.error or "the file is still being translated; ask for it again later")
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(file.name)}"}
    return Response(file.content, media_type="application/octet-stream", headers=headers)
