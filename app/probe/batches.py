"""The probe's documents as batches: lanes of windows with one segment each, or with preceding segments as context."""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from app.probe.documents import LONGEST_SEGMENT, Segment
from data.batching import Batch
from data.packing import PackedWindow, pack


class Shape(NamedTuple):
    """The fixed shape of all batches, so that a graph is built only once.

    Fields:
        lanes: number of documents read in parallel.
        windows: windows per lane in a batch, through which gradients flow.
        size: segments in a window, including the scored one.
    """

    lanes: int
    windows: int
    size: int = 1

    def pack(self, rows: list[list[PackedWindow]]) -> Batch:
        """A batch of rows of at most `windows` windows, padded to their maximum number of tokens."""
        rows = rows + [[]] * (self.lanes - len(rows))
        return pack(rows, multiple=self.windows * self.size * (LONGEST_SEGMENT + 1), windows=self.windows)


def windows_of(document: list[Segment], size: int) -> list[PackedWindow]:
    """One window for each segment; only it is scored, after up to `size` - 1 segments of context."""
    windows = []
    for number in range(len(document)):
        seen = document[max(0, number + 1 - size) : number + 1]
        sources, targets = [segment.source for segment in seen], [segment.target for segment in seen]
        windows.append(PackedWindow(sources, targets, scored=len(seen) - 1, reset=number == 0))
    return windows


def stream(documents: Iterable[list[Segment]], shape: Shape) -> Iterator[Batch]:
    """Endless batches of endless documents.

    Each lane draws a new document whenever one ends; a document may continue in the next batch.
    """
    documents = iter(documents)

    def lane():
        for document in documents:
            yield from windows_of(document, shape.size)

    lanes = [lane() for _ in range(shape.lanes)]
    while True:
        yield shape.pack([list(itertools.islice(lane, shape.windows)) for lane in lanes])


def last_segments(documents: list[list[Segment]], shape: Shape) -> Iterator[tuple[Batch, list[tuple[int, int]]]]:
    """Batches that cover at most `shape.lanes` documents from their first to their last segment.

    Yields:
        A batch whose row n is document n, and for each document that ends in it `(row, column)`: the position in the
        target (B, T) where its last segment begins. Rows of documents that have ended are padding.
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
