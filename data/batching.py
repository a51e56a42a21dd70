"""Shards to batches: length buckets under a token budget, in an order that depends on seed and epoch alone."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data.shards import Shards
from data.tokenizer import BOS, EOS

Batch = tuple[dict[str, np.ndarray], np.ndarray]


class Batches:
    """Batches of one or several corpora; the same seed and epoch give the same batches.

    In each epoch a corpus of weight 1 gives every pair exactly once, of weight 2 twice, of weight 0.5 a half that is
    drawn again for each epoch. Pairs of similar lengths (in steps of `multiple`) share a batch; a batch holds at most
    `batch_tokens` tokens a side, padding included, except that a longer pair is a batch of its own.

    Args:
        shards: the `Shards`, a list of them (one a corpus), or a function from epoch to such a list, for text that
            is encoded again for each epoch.
        batch_tokens: the most that B times T, and B times S, may be.
        seed: of order, drawing and bucketing.
        weights: a positive number for each of `shards`; `None` means 1.
        multiple: S and T are padded up to a multiple of this.
        counts: `counts` of an earlier object with the same arguments. Mainly of use if `shards` is a function: then
            `stream` need not encode the epochs before its start to learn how many batches they had.

    Example:

    ```python
    batches = Batches(shards, batch_tokens=4096, seed=1)
    for inputs, labels in batches.epoch(0):
        inputs["source"].shape, inputs["target"].shape, labels.shape  # (B, S), (B, T), (B, T)
    ```
    """

    inputs = ("source", "target")  # the keys of each batch's first part

    def __init__(
        self,
        shards: Shards | Sequence[Shards] | Callable[[int], Sequence[Shards]],
        batch_tokens: int,
        seed: int,
        weights: Sequence[float] | None = None,
        multiple: int = 8,
        counts: Mapping[int, int] | None = None,
    ):
        if weights is not None and not all(weight > 0 for weight in weights):
            raise ValueError(f"every weight must be above 0, got {list(weights)}")
        self._shards = shards if callable(shards) else _as_list(shards)
        self._weights = weights
        self.batch_tokens, self.seed, self.multiple = batch_tokens, seed, multiple
        self.counts = dict(counts or {})
        self._last: tuple[int, list[Shards], Any] | None = None

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yields the batches of one epoch, from the one with index `start` on."""
        shards, plan = self._plan(epoch)
        bases = bases_of(shards)
        for number in range(start, len(plan)):
            yield assemble(shards, plan.indices(number), self.multiple, bases)

    def batches_per_epoch(self, epoch: int) -> int:
        """The number of batches in `epoch`; it varies between epochs with fractional weights or changing encodings."""
        if self._counted(epoch) not in self.counts:
            self._plan(epoch)
        return self.counts[self._counted(epoch)]

    def position(self, update: int) -> tuple[int, int]:
        """The epoch of the batch with number `update`, counted from 0 over all epochs, and its index in that epoch."""
        epoch = 0
        while update >= (count := self.batches_per_epoch(epoch)):
            epoch, update = epoch + 1, update - count
        return epoch, update

    def stream(self, update: int = 0) -> Iterator[Batch]:
        """Yields batches forever, beginning exactly where drawing `update` batches from `stream(0)` would end."""
        epoch, start = self.position(update)
        for number in itertools.count(epoch):
            yield from self.epoch(number, start if number == epoch else 0)

    def _counted(self, epoch: int) -> int:
        """The key in `counts`: if all epochs have the same lengths, they have the same number of batches."""
        whole = self._weights is None or all(float(weight).is_integer() for weight in self._weights)
        return 0 if whole and not callable(self._shards) else epoch

    def _plan(self, epoch: int) -> tuple[list[Shards], Any]:
        if self._last is None or self._last[0] != epoch:
            shards = self.shards(epoch)
            weights = [1.0] * len(shards) if self._weights is None else self._weights
            plan = self._plan_epoch(shards, epoch, weights)
            self._last = epoch, shards, plan
            self.counts[self._counted(epoch)] = len(plan)
        return self._last[1:]

    def shards(self, epoch: int) -> list[Shards]:
        """The text of one epoch, one `Shards` a corpus."""
        return _as_list(self._shards(epoch)) if callable(self._shards) else self._shards

    def _plan_epoch(self, shards: list[Shards], epoch: int, weights: Sequence[float]) -> Any:
        """The plan from which `epoch` makes batches, with as many entries as there are batches."""
        return plan_epoch(shards, self.batch_tokens, self.seed, epoch, weights, self.multiple)


def ordered(
    shards: Shards | Sequence[Shards], batch_tokens: int, multiple: int = 8
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Yields every pair once in order of length, for losses and scores that do not depend on the order.

    Args:
        shards: the `Shards`, or a list of them, numbered one after another.
        batch_tokens: the most that B times T, and B times S, may be.
        multiple: S and T are padded up to a multiple of this.

    Yields:
        `(indices, (inputs, labels))`; `indices` (B,) are the positions of the rows' pairs in `shards`.
    """
    shards = _as_list(shards)
    bases = bases_of(shards)
    everything = np.arange(bases[-1], dtype=np.int32)
    order, starts = _bucket(everything, *_padded_lengths(shards, everything, multiple), batch_tokens, multiple)
    for begin, end in itertools.pairwise(starts):
        yield order[begin:end], assemble(shards, order[begin:end], multiple, bases)


def assemble(shards: Sequence[Shards], indices: np.ndarray, multiple: int, bases: np.ndarray | None = None) -> Batch:
    """Pads the pairs with these indices (B,) into one batch.

    Returns:
        `({"source": (B, S), "target": (B, T)}, labels (B, T))`, int32, 0 where padded: `source` ends with EOS,
        `target` begins with BOS, `labels` is `target` shifted one to the left and ends with EOS.
    """
    bases = bases_of(shards) if bases is None else bases
    source, ends = _pad(shards, bases, indices, "source", multiple)
    rows = np.arange(len(indices))
    source[rows, ends] = EOS
    labels, ends = _pad(shards, bases, indices, "target", multiple)
    target = np.zeros_like(labels)
    target[:, 1:] = labels[:, :-1]
    target[:, 0] = BOS
    labels[rows, ends] = EOS
    return {"source": source, "target": target}, labels


def share(batch: Batch, index: int, count: int) -> Batch:
    """One of `count` parts of a batch: every `count`-th row from row `index` on; a row of padding if there is none.

    Neighbours in a batch have similar lengths, so all parts take about the same work. A lane of documents is in the
    same part of every batch.
    """
    inputs, labels = fill(batch, count) if len(batch[1]) < count else batch
    return {key: matrix[index::count] for key, matrix in inputs.items()}, labels[index::count]


def fill(batch: Batch, multiple: int) -> Batch:
    """Adds rows of padding, so that the number of rows is divisible by `multiple`."""
    inputs, labels = batch
    missing = -len(labels) % multiple

    def longer(matrix):
        return np.pad(matrix, ((0, missing), (0, 0)))

    return {key: longer(matrix) for key, matrix in inputs.items()}, longer(labels)


class Plan(NamedTuple):
    """An epoch without its tokens: batch `n` has the pairs `order[starts[m]:starts[m + 1]]` with `m = sequence[n]`."""

    order: np.ndarray
    starts: np.ndarray
    sequence: np.ndarray

    def __len__(self) -> int:
        return len(self.sequence)

    def indices(self, number: int) -> np.ndarray:
        batch = self.sequence[number]
        return self.order[self.starts[batch] : self.starts[batch + 1]]


def plan_epoch(
    shards: Sequence[Any], batch_tokens: int, seed: int, epoch: int, weights: Sequence[float], multiple: int
) -> Plan:
    """Draws, shuffles and buckets the pairs of one epoch; four bytes a pair are kept."""
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    bases = bases_of(shards)
    drawn = [draw(len(one), weight, random) for one, weight in zip(shards, weights, strict=True)]
    drawn = [own + base for own, base in zip(drawn, bases[:-1], strict=True)]
    pairs = np.concatenate(drawn).astype(np.int32)
    random.shuffle(pairs)
    order, starts = _bucket(pairs, *_padded_lengths(shards, pairs, multiple), batch_tokens, multiple)
    return Plan(order, starts, random.permutation(len(starts) - 1).astype(np.int32))


def draw(size: int, weight: float, random: np.random.Generator) -> np.ndarray:
    """`weight * size` of the numbers below `size`, each as often as any other or once more; at least one."""
    whole, rest = divmod(weight, 1.0)
    copies = [np.arange(size)] * int(whole)
    extra = max(round(rest * size), 0 if copies else 1)
    return np.concatenate([*copies, random.permutation(size)[:extra]])


def _bucket(pairs, source, target, budget: int, multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorts pairs by padded (target, source) length and cuts them into batches within the budget.

    Every second target length takes its source lengths from long to short, so that neighbours stay alike where one
    target length ends and the next begins.

    Returns:
        The pairs in the new order, and where each batch begins and the last one ends.
    """
    source, target = source // multiple, target // multiple
    width = int(source.max()) + 1
    key = target.astype(np.int64) * width + np.where(target % 2, width - 1 - source, source)
    key = key.astype(np.uint16 if key.max() < 2**16 else np.int64)  # short integers are sorted many times faster
    order = np.argsort(key, kind="stable")
    cells, counts = np.unique(key[order], return_counts=True)
    target, source = np.divmod(cells.astype(np.int64), width)
    source = np.where(target % 2, width - 1 - source, source)
    return pairs[order], _cut(source * multiple, target * multiple, counts, budget)


def _cut(sources, targets, counts, budget: int) -> np.ndarray:
    """Cuts a row of cells, each with some pairs of the same S and T, into batches.

    A cell is cut into batches of one size, and the rest is filled up from the next cells. So there are few shapes, and
    the same ones in all epochs with the same pairs.
    """
    starts, end = [0], 0
    open_pairs, open_source, open_target = 0, 0, 0
    for source, target, pairs in zip(sources.tolist(), targets.tolist(), counts.tolist(), strict=True):
        if open_pairs:
            merged_source, merged_target = max(source, open_source), max(target, open_target)
            room = max(budget // max(merged_source, merged_target) - open_pairs, 0)
            taken = min(room, pairs)
            end, pairs, open_pairs = end + taken, pairs - taken, open_pairs + taken
            if not pairs:
                open_source, open_target = merged_source, merged_target
                continue
            starts.append(end)
        size = max(budget // max(source, target), 1)
        starts.extend(range(end + size, end + pairs + 1, size))
        end, open_pairs, open_source, open_target = end + pairs, pairs % size, source, target
    if open_pairs:
        starts.append(end)
    return np.array(starts, dtype=np.int64)


def _as_list(shards: Shards | Sequence[Shards]) -> list[Shards]:
    return list(shards) if isinstance(shards, Sequence) else [shards]


def bases_of(shards: Sequence[Shards]) -> np.ndarray:
    """The index of the first pair of each of `shards`, and the number of all pairs, (len(shards) + 1,)."""
    return np.cumsum([0, *(len(one) for one in shards)])


def _padded_lengths(shards, indices: np.ndarray, multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """S and T of each pair on its own: one more than its tokens, rounded up to a multiple."""
    padded = []
    for name in ("source_lengths", "target_lengths"):
        lengths = [getattr(one, name) for one in shards]
        lengths = (lengths[0] if len(lengths) == 1 else np.concatenate(lengths))[indices]
        padded.append(-(-(lengths + 1) // multiple) * multiple)
    return padded[0], padded[1]


def _pad(shards, bases: np.ndarray, indices: np.ndarray, side: str, multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """One side as (B, length) with at least one 0 at the end of each row, and the rows' lengths (B,)."""
    owners = np.searchsorted(bases, indices, side="right") - 1
    groups = []
    for number in np.unique(owners):
        rows = np.flatnonzero(owners == number)
        groups.append((shards[number], rows, indices[rows] - bases[number]))
    lengths = np.zeros(len(indices), np.int64)
    for one, rows, own in groups:
        offsets = getattr(one, f"{side}_offsets")
        lengths[rows] = offsets[own + 1] - offsets[own]
    columns = np.arange(-(-(int(lengths.max()) + 1) // multiple) * multiple)
    padded = np.zeros((len(indices), len(columns)), np.int32)
    for one, rows, own in groups:
        filled = columns < lengths[rows, None]
        places = getattr(one, f"{side}_offsets")[own][:, None] + columns
        padded[rows] = _scatter(filled, getattr(one, f"{side}_tokens")[places[filled]])
    return padded, lengths


def _scatter(filled: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    rows = np.zeros(filled.shape, np.int32)
    rows[filled] = tokens
    return rows
