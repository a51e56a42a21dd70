"""The trusted segments of the document at hand, kept in memory; and what every store of segments can do."""

from collections.abc import Sequence
from typing import Any, Protocol

from app.retrieval.entries import MOST, Entries, concatenated
from app.retrieval.words import WordIndex


class Segments(Protocol):
    """Stored segments with their entries, in the form that needs no index over the entries."""

    def similar(self, source: str, count: int) -> list:
        """The names of the stored segments to read for a source, at most `count`, most similar first."""

    def similar_all(self, sources: Sequence[str], count: int) -> list[list]:
        """The same for several sources."""

    def entries(self, names: Sequence, most: int = MOST) -> Entries:
        """The entries of some segments, in this order; no more than `most`, the last segment cut."""


class SegmentStore:
    """Segments in memory, which can be added and removed at any time.

    What it finds depends on the segments that it has, not on those that were removed, nor on the order in which they
    came.

    Args:
        most: while the segments have no more entries than this in all, every one of them is similar.
    """

    def __init__(self, most: int = MOST):
        self._most = most
        self._segments: dict[Any, tuple[Entries, str]] = {}
        self._words: tuple[list, WordIndex] | None = None

    def __len__(self) -> int:
        return len(self._segments)

    @property
    def size(self) -> int:
        """The number of entries."""
        return sum(len(entries.tokens) for entries, _ in self._segments.values())

    def add(self, name: Any, entries: Entries, source: str) -> None:
        """Adds a segment, or replaces the one of that name.

        Args:
            name: what tells it from the others, and orders them: a number, or a tuple of numbers.
            entries: its entries.
            source: its source text.
        """
        self._segments[name] = entries, source
        self._words = None

    def discard(self, name: Any) -> None:
        """Removes a segment, if it is there."""
        if self._segments.pop(name, None):
            self._words = None

    def similar(self, source: str, count: int) -> list:
        """All segments, in order, while they have few entries; else at most `count`, the most similar ones by BM25."""
        if self.size <= self._most:
            return sorted(self._segments)
        if self._words is None:  # BM25's weights depend on all segments, so it starts afresh after each change
            names = sorted(self._segments)
            self._words = names, WordIndex.build(self._segments[name][1] for name in names)
        names, words = self._words
        return [names[place] for place in words.similar(source, count)]

    def similar_all(self, sources: Sequence[str], count: int) -> list[list]:
        """`similar` for several sources."""
        return [self.similar(source, count) for source in sources]

    def entries(self, names: Sequence, most: int = MOST) -> Entries:
        """The entries of some segments, in this order; no more than `most`, the last segment cut."""
        return Entries(*(values[:most] for values in concatenated([self._segments[name][0] for name in names])))
