"""What a client may ask for: limits on size, rate and time, and keys."""

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data.errors import UserError

# How many clients' rates are remembered; beyond that, the client that was idle longest is forgotten.
_MOST_CLIENTS = 10_000


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: the HTTP status.
        message: what is wrong, without paths of files and without text.
        wait: seconds after which the client may try again; 0 if there is no use in that.
    """

    def __init__(self, status: int, message: str, wait: float = 0.0):
        super().__init__(message)
        self.status, self.message, self.wait = status, message, wait


class KeyRefusedError(RefusedError):
    """A request that needs a right key."""

    def __init__(self) -> None:
        super().__init__(403, "the key is missing or wrong")


@dataclass(frozen=True)
class Limits:
    """Limits of the server.

    Args:
        body: bytes of a request's body.
        characters: characters of all texts of a request.
        texts: texts of a request.
        seconds: seconds for the translation of a request.
        read_seconds: seconds in which a request must have come in.
        rate: requests of a client in a minute; 0 for any number.
        at_once: requests that are translated at the same time; as many again may wait.
        documents: documents that are open at the same time.
        segments: segments of an open document.
        idle_seconds: seconds after which an unused document is forgotten.
        glossaries: glossaries that are kept.
        terms: terms of a glossary.
        alternatives: alternative translations of a text.
        file_size: MiB of a file.
        upload_seconds: seconds in which a request with a file must have come in.
        file_characters: characters of the text in a file.
        files: files that are kept; one that nobody asks for in `idle_seconds` is forgotten.
        files_at_once: files that are translated at the same time.
        file_seconds: seconds that a client may wait for a file.
    """

    body: int = 1 << 20
    characters: int = 50_000
    texts: int = 1000
    seconds: float = 60.0
    read_seconds: float = 10.0
    rate: int = 6000
    at_once: int = 64
    documents: int = 100
    segments: int = 2000
    idle_seconds: float = 3600.0
    glossaries: int = 100
    terms: int = 5000
    alternatives: int = 5
    file_size: int = 32
    upload_seconds: float = 180.0
    file_characters: int = 2_000_000
    files: int = 20
    files_at_once: int = 2
    file_seconds: float = 600.0

    @property
    def file_bytes(self) -> int:
        """`file_size` in bytes."""
        return self.file_size << 20

    @property
    def file_too_large(self) -> str:
        """What a client is told about a larger file."""
        return f"the file is larger than {self.file_size} MiB"


class Keys:
    """The keys that open the server; without any it is open.

    Args:
        keys: as clients send them.
    """

    def __init__(self, keys: Iterable[str] = ()):
        self._digests = [_digest(key) for key in keys]

    @classmethod
    def read(cls, path: Path | str) -> "Keys":
        """The keys of a file, one on each line; lines that begin with "#" are notes.

        Raises:
            UserError: the file cannot be read, or has no key, or one that is easily guessed.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read; expected a text file with a key on each line") from error
        keys = {number: line.strip() for number, line in enumerate(lines, start=1)}
        keys = {number: key for number, key in keys.items() if key and not key.startswith("#")}
        for number, key in keys.items():
            if len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key:
                raise UserError(
                    f"{path}, line {number}: a key has at least 16 ASCII characters without spaces; "
                    "make one with `openssl rand -hex 16`"
                )
        if not keys:
            raise UserError(f"{path}: no key; expected one on each line")
        return cls(keys.values())

    def __bool__(self) -> bool:
        return bool(self._digests)

    def owner(self, key: str | None) -> str | None:
        """Who a key belongs to: a name that does not reveal the key; None for a wrong key.

        The time that this takes does not depend on how much of the key is right.
        """
        digest = _digest(key or "")
        right = [hmac.compare_digest(digest, own) for own in self._digests]
        return digest.hex()[:16] if any(right) else None


class Rates:
    """How many requests each client may still send.

    A client that was idle may send a tenth of a minute's requests at once.

    Args:
        rate: requests in a minute; 0 for any number.
    """

    def __init__(self, rate: int):
        self.rate, self._burst = rate, max(rate / 10, 1.0)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Counts a request; returns the seconds until the client may send it again, 0 if it is within the rate."""
        if not self.rate:
            return 0.0
        now, each = time.monotonic(), 60 / self.rate
        left, since = self._left.pop(client, (self._burst, now))
        left = min(left + (now - since) / each, self._burst)
        self._left[client] = (left - (left >= 1), now)
        if len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) * each


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
