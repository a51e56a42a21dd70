"""Windows of documents side by side in the rows of a batch: each row a lane, its windows one after another."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.batching import Batch
from data.tokenizer import BOS, EOS

INPUTS = tuple(
    f"{side}{kind}" for side in ("source", "target") for kind in ("", "_windows", "_positions", "_remembered")
) + ("target_following", "resets")


class PackedWindow(NamedTuple):
    """Consecutive segments of one document that a model sees at once.

    Fields:
        sources: the source segments' ids, without EOS.
        targets: the target segments' ids, without BOS or EOS; may be fewer than `sources`, or none.
        scored: `targets[scored:]` are scored; those before are context.
        reset: whether the window is the first of its document.
        remembered: whether a memory may be written from this window.
    """

    sources: Sequence[Sequence[int] | np.ndarray]
    targets: Sequence[Sequence[int] | np.ndarray]
    scored: int
    reset: bool
    remembered: bool = True


def pack(rows: Sequence[Sequence[PackedWindow]], multiple: int = 8, windows: int | None = None) -> Batch:
    """Joins each row's windows, and pads the rows into one batch.

    A source segment is followed by EOS; a target segment is followed by EOS in the labels and preceded by BOS in the
    decoder's input. In a window with several segments, these are the breaks between them.

    Args:
        rows: the windows of each of the B lanes; a lane may have none.
        multiple: S and T are padded up to a multiple of this.
        windows: W, if it should be larger than the largest number of windows in a row.

    Returns:
        `(inputs, labels (B, T))`, all int32 and 0 where padded. `inputs` has `source` (B, S), `target` (B, T), and for
        each side `*_windows`, the number of the token's window in its row, from 1, `*_positions`, which begin at 0 in
        each window, and `*_remembered`, 1 where a memory may be written from this token; `target_following` (B, T), the
        label of each token, scored or not, but 0 for the last one of a window; and `resets` (B, W), 1 where window
        w + 1 of the row is the first of its document. `labels` are 0 where not scored.

    Raises:
        ValueError: a row has more than `windows` windows.

    Example:

    ```python
    inputs, labels = pack([[PackedWindow([[7, 8], [9]], [[4], [5, 6]], scored=1, reset=True)]], multiple=1)
    inputs["source"], inputs["target"], labels  # [[7, 8, 3, 9, 3]], [[2, 4, 2, 5, 6]], [[0, 0, 5, 6, 3]]
    ```
    """
    counts = np.array([len(row) for row in rows], np.int64)
    most = max(int(counts.max(initial=0)), 1)
    if windows is not None and windows < most:
        raise ValueError(f"a row has {most} windows, but windows = {windows}")
    flat = [window for row in rows for window in row]
    source = _layout(counts, flat, [window.sources for window in flat], multiple)
    target = _layout(counts, flat, [window.targets for window in flat], multiple)
    tokens = source.rows(source.joined(EOS, after=True))
    inputs = {"source": tokens} | source.named("source")
    inputs |= {"target": target.rows(target.joined(BOS, after=False))} | target.named("target")
    following = target.joined(EOS, after=True)
    inside = np.append(target.position[1:], 0) > 0
    inputs["target_following"] = target.rows(following * inside[: len(following)])
    resets = np.zeros((len(rows), windows or most), np.int32)
    resets[np.arange(resets.shape[1]) < counts[:, None]] = [window.reset for window in flat]
    first = np.repeat([window.scored for window in flat], [len(window.targets) for window in flat])
    scored = np.repeat(target.order >= first, target.sizes)
    labels = target.rows(following * scored)
    return inputs | {"resets": resets}, labels


class _Layout(NamedTuple):
    """Where one side's tokens go; G segments, N tokens, breaks included.

    `segments` are the ids of the G segments, `sizes` (G,) their lengths with the break and `order` (G,) their places in
    their windows; `row`, `column`, `window`, `position` and `remembered` (N,) belong to each token; `shape` is (B, S).
    """

    segments: list
    sizes: np.ndarray
    order: np.ndarray
    row: np.ndarray
    column: np.ndarray
    window: np.ndarray
    position: np.ndarray
    remembered: np.ndarray
    shape: tuple[int, int]

    def joined(self, sign: int, after: bool) -> np.ndarray:
        """All ids (N,), each segment with `sign` after or before it."""
        breaks = np.cumsum(self.sizes) - 1 if after else np.cumsum(self.sizes) - self.sizes
        tokens = np.full(len(self.row), sign, np.int32)
        inside = np.ones(len(tokens), bool)
        inside[breaks] = False
        if self.segments:
            tokens[inside] = np.concatenate(self.segments)
        return tokens

    def rows(self, values: np.ndarray) -> np.ndarray:
        """A value for each token (N,) as a padded matrix (B, S)."""
        matrix = np.zeros(self.shape, np.int32)
        matrix[self.row, self.column] = values
        return matrix

    def named(self, side: str) -> dict[str, np.ndarray]:
        values = {"windows": self.window, "positions": self.position, "remembered": self.remembered}
        return {f"{side}_{kind}": self.rows(value) for kind, value in values.items()}


def _layout(counts: np.ndarray, windows: list[PackedWindow], segments: list, multiple: int) -> _Layout:
    """Lays out one side: `counts` (B,) are windows a row, `windows` and `segments` those of all rows in order."""
    number = np.array([len(own) for own in segments], np.int64)
    every = [segment for own in segments for segment in own]
    sizes = np.array([len(segment) + 1 for segment in every], np.int64)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    bounds = np.concatenate([[0], np.cumsum(number)])  # of the windows, in segments
    lengths = np.diff(ends[bounds])  # of the windows, in tokens
    owner = np.repeat(np.arange(len(counts)), counts)  # the windows' rows
    totals = np.bincount(owner, lengths, minlength=len(counts)).astype(np.int64)
    place = np.arange(ends[-1])
    row = np.repeat(owner, lengths)
    return _Layout(
        every,
        sizes,
        np.arange(len(every)) - np.repeat(bounds[:-1], number),
        row,
        place - (np.cumsum(totals) - totals)[row],
        np.repeat(np.arange(len(windows)) - (np.cumsum(counts) - counts)[owner] + 1, lengths),
        place - np.repeat(ends[bounds[:-1]], lengths),
        np.repeat(np.array([window.remembered for window in windows], bool), lengths),
        (len(counts), max(-(-int(totals.max(initial=0)) // multiple), 1) * multiple),
    )
