"""The probe's documents as batches: lanes of windows of one segment each, or with the segments before it as context."""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from app.probe.documents import LONGEST_SEGMENT, Segment
from data.batching import Batch
from data.packing import PackedWindow, pack


class Shape(NamedTuple):
    """The fixed shape of all batches, so that a graph is made only once.

    Fields:
        lanes: documents side by side.
        windows: windows of a lane in a batch, through which the gradient runs.
        size: segments that a window holds, the scored one included.
    """

    lanes: int
    windows: int
    size: int = 1

    def pack(self, rows: list[list[PackedWindow]]) -> Batch:
        """A batch of rows of at most so many windows, padded to the most tokens that they may have."""
        rows = rows + [[]] * (self.lanes - len(rows))
        return pack(rows, multiple=self.windows * self.size * (LONGEST_SEGMENT + 1), windows=self.windows)


def windows_of(document: list[Segment], size: int) -> list[PackedWindow]:
    """One window for each segment, which alone is scored, after up to `size` - 1 segments of context."""
    windows = []
    for number in range(len(document)):
        seen = document[max(0, number + 1 - size) : number + 1]
        sources, targets = [segment.source for segment in seen], [segment.target for segment in seen]
        windows.append(PackedWindow(sources, targets, scored=len(seen) - 1, reset=number == 0))
    return windows


def stream(documents: Iterable[list[Segment]], shape: Shape) -> Iterator[Batch]:
    """Endless batches of endless documents.

    Each lane draws a document whenever its last one ends; a batch may end amid a document, which goes on in the next.
    """
    documents = iter(documents)

    def lane():
        for document in documents:
            yield from windows_of(document, shape.size)

    lanes = [lane() for _ in range(shape.lanes)]
    while True:
        yield shape.pack([list(itertools.islice(lane, shape.windows)) for lane in lanes])


def last_segments(documents: list[list[Segment]], shape: Shape) -> Iterator[tuple[Batch, list[tuple[int, int]]]]:
    """Batches that lead through documents, at most `shape.lanes` of them, from their first segment to their last.

    Yields:
        A batch whose row n is document n, and for each document that ends in it `(row, column)`: where in the target
        (B, T) its last segment begins. Rows of documents that have ended are padding.
    """
    rows = [windows_of(document, shape.size) for document in documents]
    for start in range(0, max(map(len, rows)), shape.windows):
        inputs, labels = shape.pack([row[start : start + shape.windows] for row in rows])
        ends = []
        for number, row in enumerate(rows):
            last = len(row) - start
            if 1 <= last <= shape.windows:
                scored = (inputs["target_windows"][number] == last) & (labels[number] != 0)
                ends.append((number, int(np.argmax(scored))))
        yield (inputs, labels), ends
