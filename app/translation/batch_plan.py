"""Which sequences are decoded together."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def plan_batches(lengths: Sequence[int], budget: int, padded: Callable[[int], int] = int) -> Iterator[list[int]]:
    """Groups sequences of similar length, longest first, so that running out of memory shows at once.

    Args:
        lengths: length of each sequence in tokens.
        budget: tokens in a batch, padding included; a longer sequence gets a batch of its own.
        padded: gives the padded length of a batch from the length of its longest sequence.

    Yields:
        For each batch, the indices of its sequences.
    """
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if rows and (len(rows) + 1) * padded(lengths[rows[0]]) > budget:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def plan_apart(
    lengths: Sequence[int], kinds: Sequence[bool], budget: int, padded: Callable[[int], int] = int
) -> list[list[int]]:
    """Batches of sequences of the same kind; see `plan_batches`.

    Args:
        lengths, budget, padded: as for `plan_batches`.
        kinds: which of two kinds each sequence is of.
    """
    found = []
    for kind in (False, True):
        own = [row for row, other in enumerate(kinds) if other == kind]
        batches = plan_batches([lengths[row] for row in own], budget, padded)
        found += [[own[place] for place in batch] for batch in batches]
    return found


def spread(batches: Iterable[list[int]], at_once: int) -> list[list[int]]:
    """Divides batches if there are fewer than can be computed at once, but none into parts of under two sequences."""
    batches = list(batches)
    parts = at_once // max(len(batches), 1)
    counts = [max(min(parts, len(rows) // 2), 1) for rows in batches]
    return [part.tolist() for rows, count in zip(batches, counts, strict=True) for part in np.array_split(rows, count)]


def plan_rows(parts: Iterable[T], length: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Groups consecutive parts into rows of at most `most` tokens, but at least one part."""
    row: list[T] = []
    size = 0
    for part in parts:
        if row and size + length(part) > most:
            yield row
            row, size = [], 0
        row.append(part)
        size += length(part)
    if row:
        yield row


class Share:
    """Reports the share of the work that is done, measured in source tokens because lines differ in length.

    Args:
        sizes: tokens of each source.
        progress: called with the share, 0 to 1.

    Call arguments:
        rows: the sources that are done now.
    """

    def __init__(self, sizes: list[int], progress: Callable[[float], None]):
        self._sizes = sizes
        self._all = sum(sizes) or 1
        self._done = 0
        self._progress = progress

    def __call__(self, rows: list[int]) -> None:
        self._done += sum(self._sizes[row] for row in rows)
        self._progress(self._done / self._all)
