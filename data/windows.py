"""Documents to windows: which consecutive segments a model sees at once, and which of them are only context."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WINDOWS = ("segments", "tokens", "dynamic")
FORWARD, BACKWARD = ORDERS = ("forward", "backward")
DROPOUTS = ("context_segment_dropout", "context_word_dropout", "source_dropout")
FIRST_LIMIT = 32  # tokens of a document's first window in "dynamic"; each later one may hold twice as many as the last


@dataclass(frozen=True)
class WindowOptions:
    """How a document is cut. A segment costs its source tokens and one more, for the break after it.

    Without `sliding`, windows follow one another and all of their segments are scored; earlier text is left to a
    memory. With it, each segment is scored in a window of its own, which begins with as many previous segments as the
    limit allows, as context.

    Args:
        windows: what limits a window. "segments": `size` segments; "tokens": `tokens` source tokens, in whole segments;
            "dynamic": window n of a document, from 0, holds `min(tokens, 32 * 2**n)` source tokens, so that windows
            grow with the document (with `sliding` they grow anyway, and "dynamic" is the same as "tokens").
        size: segments of a window, its context included.
        tokens: source tokens of a window, its context included; a longer segment is a window by itself.
        sliding: whether windows overlap, for context by concatenation.
        order: "forward", or "backward", where the same windows are read from the last to the first; the segments of a
            window keep their order. Not with `sliding`, whose context is what was read before.
        context_target: with `sliding`, whether the previous target segments are given as well.
        context_segment_dropout: share of context segments left out in training; without `sliding`, share of windows
            that are not remembered.
        context_word_dropout: share of context words replaced by the unknown piece; without `sliding`, share of words
            that are not remembered.
        source_dropout: share of source words that are replaced by the unknown piece in training, in the segments that
            are scored; their translations stay, so that it pays to look for them in the context. The context inside a
            window stays whole, as in CoWord dropout (Fernandes et al. 2021, "Measuring and Increasing Context Usage in
            Context-Aware Machine Translation", section 5). What a memory keeps of the source, however, comes from
            encodings without the hidden words: whole ones would need the encoder twice. What it keeps of the target
            has all words.

    Raises:
        ValueError: a value is out of range.
    """

    windows: str = "segments"
    size: int = 1
    tokens: int = 128
    sliding: bool = False
    order: str = FORWARD
    context_target: bool = True
    context_segment_dropout: float = 0.0
    context_word_dropout: float = 0.0
    source_dropout: float = 0.0

    def __post_init__(self):
        if self.windows not in WINDOWS:
            raise ValueError(f"windows must be one of {', '.join(WINDOWS)}, got {self.windows!r}")
        if self.order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {self.order!r}")
        if self.sliding and self.order == BACKWARD:
            raise ValueError(f"windows that overlap (sliding) are read forward, got order {self.order!r}")
        if self.size < 1 or self.tokens < 1:
            raise ValueError(f"size and tokens must be at least 1, got {self.size} and {self.tokens}")
        for name in DROPOUTS:
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")

    @property
    def alone(self) -> bool:
        """Whether each window is a single segment."""
        return self.windows == "segments" and self.size == 1

    def limit(self, number: int) -> int:
        """The most source tokens of a document's window `number`, counted from 0, if tokens limit it."""
        growing = self.windows == "dynamic" and not self.sliding
        return min(self.tokens, FIRST_LIMIT << min(number, 40)) if growing else self.tokens


# Each segment is a window of its own.
ALONE = WindowOptions("segments", size=1)


def next_window(
    source_lengths: Sequence[int], position: int, number: int, options: WindowOptions
) -> tuple[int, int, int]:
    """One window, for documents that are read forward, as a stream.

    Args:
        source_lengths: the source tokens of the document's segments, without EOS, as far as they are known. A window
            that ends with the last of them might be longer if more were known. Earlier segments that no longer fit into
            the window may be left out; `position` then counts from those that are left.
        position: the first segment that has not been scored.
        number: how many windows of the document came before.
        options: how the document is cut.

    Returns:
        `(first, current, end)`: segments `first` to `current - 1` are context, `current` to `end - 1` are scored;
        `current == position`.
    """
    if options.windows == "segments":
        if options.sliding:
            return max(position - options.size + 1, 0), position, position + 1
        return position, position, min(position + options.size, len(source_lengths))
    first, end = position, position + 1
    room = options.limit(number) - source_lengths[position] - 1
    if options.sliding:
        while first > 0 and source_lengths[first - 1] < room:
            first -= 1
            room -= source_lengths[first] + 1
    else:
        while end < len(source_lengths) and source_lengths[end] < room:
            room -= source_lengths[end] + 1
            end += 1
    return first, position, end


def cut(source_lengths: Sequence[int] | np.ndarray, options: WindowOptions) -> np.ndarray:
    """All windows of one document.

    Args:
        source_lengths: (N,) the source tokens of its segments, without EOS.
        options: how it is cut.

    Returns:
        (W, 3), int32: `first`, `current` and `end` of each window, see `next_window`, in the order in which they are
        read; every segment is in `current` to `end - 1` of exactly one of them.

    Example:

    ```python
    cut([4, 4, 4], WindowOptions("segments", size=2))  # [[0, 0, 2], [2, 2, 3]]
    cut([4, 4, 4], WindowOptions("segments", size=2, sliding=True))  # [[0, 0, 1], [0, 1, 2], [1, 2, 3]]
    ```
    """
    return cut_documents(source_lengths, np.array([0, len(source_lengths)]), options)


def cut_documents(source_lengths: Sequence[int] | np.ndarray, bounds: np.ndarray, options: WindowOptions) -> np.ndarray:
    """All windows of many documents, one after another.

    Args:
        source_lengths: (N,) the source tokens of all segments.
        bounds: (D + 1,) where each document begins, and where the last one ends.
        options: how they are cut.

    Returns:
        (W, 3), int32, as from `cut`, counted over all documents; no window reaches into another document.
    """
    bounds = np.asarray(bounds, np.int64)
    windows = _cut_forward(source_lengths, bounds, options)
    return windows if options.order == FORWARD else windows[_turned(np.searchsorted(windows[:, 1], bounds))]


def _turned(bounds: np.ndarray) -> np.ndarray:
    """The windows of each document from its last to its first; `bounds` (D + 1,) are each document's first window."""
    return np.repeat(bounds[:-1] + bounds[1:] - 1, np.diff(bounds)) - np.arange(bounds[-1])  # first + last - own


def _cut_forward(source_lengths: Sequence[int] | np.ndarray, bounds: np.ndarray, options: WindowOptions) -> np.ndarray:
    every = np.arange(len(source_lengths))
    cumulative = np.concatenate([[0], np.cumsum(np.asarray(source_lengths, np.int64) + 1)])
    begin = np.repeat(bounds[:-1], np.diff(bounds))  # of each segment's document
    if options.sliding:
        if options.windows == "segments":
            first = every - options.size + 1
        else:
            first = np.minimum(np.searchsorted(cumulative, cumulative[1:] - options.tokens), every)
        return np.stack([np.maximum(first, begin), every, every + 1], axis=1).astype(np.int32)
    if options.windows == "segments":
        starts = np.flatnonzero((every - begin) % options.size == 0)
    else:
        starts = _starts(cumulative, bounds, options)
    ends = np.append(starts[1:], len(every))[: len(starts)]
    return np.stack([starts, starts, ends], axis=1).astype(np.int32)


def _starts(cumulative: np.ndarray, bounds: np.ndarray, options: WindowOptions) -> np.ndarray:
    """Where windows begin, if they follow one another and tokens limit them; `cumulative` (N + 1,) are costs."""
    marked = np.zeros(len(cumulative), bool)
    position, end = bounds[:-1], bounds[1:]

    def after(position, limit):
        """Where windows that begin at `position` would end if their documents did not."""
        fitting = np.searchsorted(cumulative, cumulative[position] + limit, side="right") - 1
        return np.maximum(fitting, position + 1)

    number = 0
    while True:  # as long as windows grow, those of all documents at once
        unfinished = position < end
        position, end = position[unfinished], end[unfinished]
        if options.limit(number) == options.tokens:
            break
        marked[position] = True
        position = after(position, options.limit(number))
        number += 1
    follow(after(np.arange(bounds[-1]), options.tokens), position, end, marked)
    return np.flatnonzero(marked)


def follow(following: np.ndarray, starts: np.ndarray, ends: np.ndarray, marked: np.ndarray) -> None:
    """Marks each of `starts`, and all that `following` leads to from there, before the end in `ends`."""
    steps, marks = memoryview(following), memoryview(marked.view(np.uint8))  # item access without NumPy's overhead
    for place, end in zip(starts.tolist(), ends.tolist(), strict=True):
        while place < end:
            marks[place] = 1
            place = steps[place]
