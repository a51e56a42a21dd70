"""Glossaries that clients have stored, for their own requests."""

import csv
import datetime
import io
import threading
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.serving.limits import Limits, RefusedError
from data.cleaning import normalise
from data.glossary import MOST_WORDS, Term
from data.terms import Glossary


@dataclass(frozen=True)
class StoredGlossary:
    """A glossary with its name, its owner and its entries as they were sent."""

    name: str
    owner: str
    entries: tuple[tuple[str, str], ...]
    glossary: Glossary
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))


class Glossaries:
    """The glossaries of all clients, in memory until the server stops.

    Args:
        limits: the server's limits.
        target: the language of translations.
    """

    def __init__(self, limits: Limits, target: str):
        self.limits, self._target = limits, target
        self._stored: dict[str, StoredGlossary] = {}
        self._lock = threading.Lock()

    def add(self, name: str, owner: str, entries: Iterable[tuple[str, str]]) -> StoredGlossary:
        """Stores a glossary.

        Raises:
            RefusedError: a term is empty, too long or there twice, or there are too many.
        """
        pairs = tuple((normalise(source), normalise(target)) for source, target in entries)
        if not name.strip() or len(name) > 1024:
            raise RefusedError(400, "name: expected 1 to 1024 characters")
        _check(pairs, self.limits.terms)
        stored = StoredGlossary(name, owner, pairs, Glossary([Term(*pair) for pair in pairs], self._target))
        with self._lock:
            if len(self._stored) >= self.limits.glossaries:
                raise RefusedError(429, "too many glossaries are stored; delete one")
            self._stored[stored.key] = stored
        return stored

    def get(self, key: str, owner: str) -> StoredGlossary:
        """A glossary of this owner; a RefusedError if there is none."""
        stored = self._stored.get(key)
        if stored is None or stored.owner != owner:
            raise RefusedError(404, "there is no such glossary")
        return stored

    def all(self, owner: str) -> list[StoredGlossary]:
        """The glossaries of an owner."""
        with self._lock:
            return [stored for stored in self._stored.values() if stored.owner == owner]

    def delete(self, key: str, owner: str) -> None:
        """Forgets a glossary."""
        self.get(key, owner)
        with self._lock:
            self._stored.pop(key, None)


def read_entries(text: str, kind: str) -> list[tuple[str, str]]:
    """Reads the entries of a glossary.

    Args:
        text: a source term and its translation on each line.
        kind: "tsv" or "csv". In the latter, two more columns may name the languages.

    Raises:
        RefusedError: a line has the wrong number of columns.
    """
    if kind not in ("tsv", "csv"):
        raise RefusedError(400, "entries_format: expected tsv or csv")
    lines = text.splitlines()
    try:
        rows = [line.split("\t") for line in lines] if kind == "tsv" else list(csv.reader(io.StringIO(text)))
    except csv.Error:
        raise RefusedError(400, "entries: not valid CSV") from None
    entries = []
    for number, row in enumerate(rows, start=1):
        if not any(map(str.strip, row)):
            continue
        if len(row) != 2 and not (kind == "csv" and len(row) == 4):
            raise RefusedError(400, f"entries, line {number}: expected a source term and its translation")
        entries.append((row[0], row[1]))
    return entries


def _check(pairs: tuple[tuple[str, str], ...], most: int) -> None:
    if not pairs:
        raise RefusedError(400, "entries: expected at least one term")
    if len(pairs) > most:
        raise RefusedError(413, f"entries: at most {most} terms")
    seen: set[str] = set()
    for number, (source, target) in enumerate(pairs, start=1):
        for side, words in (("source", source.split()), ("target", target.split())):
            if not 0 < len(words) <= MOST_WORDS:
                raise RefusedError(400, f"entries, number {number}: the {side} term must have 1 to {MOST_WORDS} words")
        if source in seen:
            raise RefusedError(400, f"entries, number {number}: this source term occurs twice")
        seen.add(source)
