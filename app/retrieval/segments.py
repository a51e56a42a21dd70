"""Trusted segments of one document, added and removed as they are corrected."""

from collections.abc import Hashable

from app.retrieval.entries import Entries, concatenated


class SegmentStore:
    """The entries of trusted segments."""

    def __init__(self) -> None:
        self._parts: dict[Hashable, tuple[str, Entries]] = {}

    def add(self, name: Hashable, entries: Entries, text: str) -> None:
        """Stores a segment, or replaces the one of that name."""
        self._parts[name] = text, entries

    def discard(self, name: Hashable) -> None:
        """Forgets a segment, if it is there."""
        self._parts.pop(name, None)

    def __len__(self) -> int:
        return len(self._parts)

    def entries(self, text: str) -> Entries:
        """What the translation of a text may read."""
        return concatenated([entries for _, entries in self._parts.values()])
