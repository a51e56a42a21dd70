"""Documents to batches: lanes of documents read side by side, window after window."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data.batching import Batch, Batches, bases_of, draw
from data.packing import INPUTS, PackedWindow, pack
from data.shards import Shards
from data.tokenizer import UNK
from data.windows import WindowOptions, cut_documents, follow


class DocumentBatches(Batches):
    """Batches of documents side by side; the same seed and epoch give the same batches.

    A batch has a row for each of `lanes` lanes. In a lane documents follow one another, each cut into windows that are
    read in the order of `options`. A row holds the next windows of its lane, so a memory state can be carried from a
    lane's row to its row in the next batch. Towards the end of an epoch some lanes have run out, and their rows are
    empty. In each epoch every segment of a corpus of weight 1 is scored exactly once, of weight 2 twice; a corpus of
    weight 0.5 gives half of its documents, drawn again for each epoch. A pair without a document counts as a document.

    Args:
        shards, seed, weights, multiple: see `data.batching.Batches`.
        lanes: B, documents read side by side.
        batch_tokens: the most that B times T, and B times S, may be, except that each row holds at least one window.
        back_propagation: the most windows in a row; gradients can run through all of them.
        options: how documents are cut, and what is left out in training.
        counts: `counts` of an earlier object with the same arguments; with them `stream` need not plan the epochs
            before its start to learn how many batches they had.
        copied: the ids of pieces that are copied from source to target, which `source_dropout` leaves alone.

    Example:

    ```python
    batches = DocumentBatches(shards, 16, 4096, 8, WindowOptions("segments", size=2), seed=1)
    for inputs, labels in batches.epoch(0):
        inputs["source"].shape, inputs["resets"].shape, labels.shape  # (B, S), (B, W), (B, T); as of `pack`
    ```
    """

    inputs = INPUTS

    def __init__(
        self,
        shards: Shards | Sequence[Shards] | Callable[[int], Sequence[Shards]],
        lanes: int,
        batch_tokens: int,
        back_propagation: int,
        options: WindowOptions,
        seed: int,
        weights: Sequence[float] | None = None,
        multiple: int = 2,
        counts: Mapping[int, int] | None = None,
        copied: range = range(0),
    ):
        if lanes < 1 or back_propagation < 1:
            raise ValueError(f"lanes and back_propagation must be at least 1, got {lanes} and {back_propagation}")
        super().__init__(shards, batch_tokens, seed, weights, multiple, counts)
        self.lanes, self.back_propagation, self.options = lanes, back_propagation, options
        self.copied = copied
        self._documents: Documents | None = None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yields the batches of one epoch, from the one with index `start` on."""
        _, plan = self._plan(epoch)
        for number in range(start, len(plan)):
            # The last number is never 0: zeros at the end of a seed change nothing.
            random = _random(self.seed, epoch, number + 1)
            rows = [[plan.documents.window(w, random) for w in row] for row in plan.windows(number)]
            inputs, labels = pack(rows, self.multiple)
            if self.options.context_word_dropout and not self.options.sliding:
                for side in ("source_remembered", "target_remembered"):
                    inputs[side] *= random.random(inputs[side].shape) >= self.options.context_word_dropout
            yield inputs, labels

    def _counted(self, epoch: int) -> int:
        """The key in `counts`: each epoch spreads documents over the lanes differently and so has its own count."""
        return epoch

    def _plan_epoch(self, shards: list[Shards], epoch: int, weights: Sequence[float]) -> "LanePlan":
        if self._documents is None or self._documents.shards is not shards:
            self._documents = Documents(shards, self.options, self.copied)
        room = self.batch_tokens // self.lanes // self.multiple * self.multiple
        random = _random(self.seed, epoch)
        return plan_lanes(self._documents, self.lanes, room, self.back_propagation, weights, random)


class Documents:
    """The documents of one or several corpora, cut into windows: twenty bytes a window, and no Python object for each.

    Args:
        shards: a list of `Shards`.
        options: how documents are cut, and what is left out of them.
        copied: see `DocumentBatches`.

    Attributes:
        cut: (N, 3) `first`, `current` and `end` of all windows, counted over all of `shards`; each document's in the
            order in which they are read.
        bounds: (D + 1,) each document's first window, and at the end the number of all windows.
        per_shard: (len(shards),) the number of documents in each of `shards`.
    """

    def __init__(self, shards: list[Shards], options: WindowOptions, copied: range = range(0)):
        self.shards, self._options, self._bases, self._copied = shards, options, bases_of(shards), copied
        starts = [_document_starts(one.documents) for one in shards]
        self.per_shard = [len(own) for own in starts]
        bounds = np.concatenate([own + base for own, base in zip(starts, self._bases[:-1], strict=True)])
        bounds = np.append(bounds, self._bases[-1])
        self.cut = cut_documents(self._joined("source_lengths"), bounds, options)
        self.bounds = np.searchsorted(np.sort(self.cut[:, 1], kind="stable"), bounds).astype(np.int32)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def _joined(self, name: str) -> np.ndarray:
        arrays = [getattr(one, name) for one in self.shards]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    @cached_property
    def costs(self) -> np.ndarray:
        """(2, N) source and target tokens of each window, with its breaks."""
        first, current, end = self.cut.T
        begins = [first, first if self._options.context_target else current]
        costs = np.empty((2, len(end)), np.int32)
        for side, name in enumerate(("source_lengths", "target_lengths")):
            cumulative = np.concatenate([[0], np.cumsum(self._joined(name).astype(np.int64) + 1)])
            costs[side] = cumulative[end] - cumulative[begins[side]]
        return costs

    def window(self, number: int, random: np.random.Generator) -> PackedWindow:
        """One window with its ids, its context thinned out, and words of its current source hidden."""
        options = self._options
        first, current, end = self.cut[number].tolist()
        context = range(first, current)
        if options.context_segment_dropout and context:
            kept = random.random(len(context)) >= options.context_segment_dropout
            context = [segment for segment, stays in zip(context, kept.tolist(), strict=True) if stays]
        place = int(np.searchsorted(self._bases, current, side="right")) - 1
        shards, base = self.shards[place], int(self._bases[place])

        def ids(tokens, offsets, context):
            before = [tokens[offsets[i - base] : offsets[i - base + 1]] for i in context]
            if options.context_word_dropout:
                before = [np.where(random.random(len(own)) < options.context_word_dropout, UNK, own) for own in before]
            return before + [tokens[offsets[i - base] : offsets[i - base + 1]] for i in range(current, end)]

        sources = ids(shards.source_tokens, shards.source_offsets, context)
        if options.source_dropout:
            sources[len(context) :] = [self._hidden(own, random) for own in sources[len(context) :]]
        shown = context if options.context_target else []
        targets = ids(shards.target_tokens, shards.target_offsets, shown)
        reset = bool(self._is_first[number])
        left_out = (
            not options.sliding
            and options.context_segment_dropout
            and random.random() < options.context_segment_dropout
        )
        return PackedWindow(sources, targets, len(shown), reset, not left_out)

    def _hidden(self, segment, random):
        """A segment (N,) with some of its words hidden."""
        # A numbered piece stays: no context says which one belongs here, and the search demands those of the source.
        copied = (segment >= self._copied.start) & (segment < self._copied.stop)
        chosen = random.random(len(segment)) < self._options.source_dropout
        return np.where(chosen & ~copied, UNK, segment)

    @cached_property
    def _is_first(self) -> np.ndarray:
        """(N,) whether a window is the first of its document."""
        first = np.zeros(len(self.cut), bool)
        first[self.bounds[:-1]] = True
        return first


@dataclass(frozen=True)
class LanePlan:
    """An epoch without its tokens: `order` are windows, lane after lane; row `l` of batch `n` has the windows
    `order[rows[l, n]:rows[l, n + 1]]`.
    """

    documents: Documents
    order: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return self.rows.shape[1] - 1

    def windows(self, number: int) -> list[list[int]]:
        """The windows of each row of batch `number`."""
        return [self.order[begin:end].tolist() for begin, end in self.rows[:, number : number + 2].tolist()]


def plan_lanes(
    documents: Documents,
    lanes: int,
    room: int,
    back_propagation: int,
    weights: Sequence[float],
    random: np.random.Generator,
) -> LanePlan:
    """Draws and shuffles the documents of one epoch, gives each a lane, and cuts the lanes into rows.

    A row takes at most `back_propagation` windows and, unless a single window is longer, `room` tokens a side.
    """
    bases = np.cumsum([0, *documents.per_shard])
    drawn = [draw(size, weight, random) for size, weight in zip(documents.per_shard, weights, strict=True)]
    drawn = np.concatenate([own + base for own, base in zip(drawn, bases[:-1], strict=True)]).astype(np.int32)
    random.shuffle(drawn)
    share = np.maximum(documents.costs.max(axis=0) / max(room, 1), 1 / back_propagation).clip(max=1)
    loads = np.add.reduceat(share, documents.bounds[:-1])[drawn]
    lane = _lanes(loads, lanes)
    by_lane = np.argsort(lane, kind="stable")
    drawn = drawn[by_lane]
    sizes = np.diff(documents.bounds)[drawn]
    ends = np.cumsum(sizes)
    order = np.arange(ends[-1]) + np.repeat(documents.bounds[drawn] - (ends - sizes), sizes)
    last = np.searchsorted(lane[by_lane], np.arange(lanes), side="right")
    lane_ends = np.concatenate([[0], ends])[last]
    rows = _rows(documents.costs[:, order], lane_ends, room, back_propagation)
    return LanePlan(documents, order.astype(np.int32), rows)


def _lanes(loads: np.ndarray, lanes: int) -> np.ndarray:
    """A lane for each document: the largest first, each into the lane with the least load, so that all end together."""
    lane = np.empty(len(loads), np.int16 if lanes < 2**15 else np.int32)
    heap = [(0.0, number) for number in range(lanes)]
    by_load = np.argsort(-loads, kind="stable")
    chosen = []
    for load in loads[by_load].tolist():
        filled, number = heap[0]
        heapq.heapreplace(heap, (filled + load, number))
        chosen.append(number)
    lane[by_load] = chosen
    return lane


def _rows(costs: np.ndarray, lane_ends: np.ndarray, room: int, back_propagation: int) -> np.ndarray:
    """Where the rows of each lane begin, (lanes, batches + 1), among windows with `costs` (2, N) in their order."""
    lane_starts = np.concatenate([[0], lane_ends[:-1]])
    windows = np.arange(costs.shape[1])
    following = windows + back_propagation
    for own in costs:
        cumulative = np.concatenate([[0], np.cumsum(own, dtype=np.int64)])
        following = np.minimum(following, np.searchsorted(cumulative, cumulative[:-1] + room, side="right") - 1)
    following = np.maximum(following, windows + 1)
    marked = np.zeros(len(windows), bool)
    follow(following, lane_starts, lane_ends, marked)
    starts = np.flatnonzero(marked)
    splits = np.searchsorted(starts, np.append(lane_starts, len(windows)))
    rows = np.repeat(lane_ends[:, None], int(np.diff(splits).max()) + 1, axis=1).astype(np.int32)
    for lane, (begin, end) in enumerate(zip(splits[:-1], splits[1:], strict=True)):
        rows[lane, : end - begin] = starts[begin:end]
    return rows


def _document_starts(documents: np.ndarray) -> np.ndarray:
    """Where documents begin: where the index changes, and at each segment without one (-1)."""
    return np.flatnonzero(np.concatenate([[True], (documents[1:] != documents[:-1]) | (documents[1:] < 0)]))


def _random(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
