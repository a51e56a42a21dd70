"""The trusted segments of the current document, kept in memory."""

from collections.abc import Collection, Sequence
from typing import Any

from app.retrieval.entries import Entries, concatenated
from app.retrieval.words import WordIndex


class SegmentStore:
    """Segments in memory, which can be added and removed at any time.

    What it finds depends only on the segments that it has, not on removed ones or on the order in which they were
    added.
    """

    def __init__(self) -> None:
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
            name: identifies the segment, and orders the segments: a number, or a tuple of numbers.
            entries: its entries.
            source: its source text.
        """
        self._segments[name] = entries, source
        self._words = None

    def discard(self, name: Any) -> None:
        """Removes a segment, if it is there."""
        if self._segments.pop(name, None):
            self._words = None

    def without(self, names: Collection[Any]) -> "SegmentStore":
        """A store of all segments but these."""
        rest = SegmentStore()
        rest._segments = {name: found for name, found in self._segments.items() if name not in names}
        return rest

    def similar(self, source: str, count: int, most: int) -> list:
        """The names of segments whose entries the translation of a source may read.

        Args:
            source: the source text.
            count: how many segments, if not all.
            most: as long as all segments together have no more entries than this, every one of them counts as similar.

        Returns:
            All segments in order, or the most similar ones by BM25, best first.
        """
        if self.size <= most:
            return sorted(self._segments)
        if self._words is None:  # BM25's weights depend on all segments, so each change needs a new index
            names = sorted(self._segments)
            self._words = names, WordIndex.build(self._segments[name][1] for name in names)
        names, words = self._words
        return [names[place] for place in words.similar(source, count)]

    def entries(self, names: Sequence, most: int) -> Entries:
        """The entries of some segments, in this order; at most `most`, if need be with the last segment cut."""
        return Entries(*(values[:most] for values in concatenated([self._segments[name][0] for name in names])))
