"""Turns text into token ids in chunks."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from data.forms import PLAIN, TextForm
from data.pairs import Pair
from data.parallel import Job, Workers, opened

CHUNK = 10_000  # pairs; part of the format, as sampled segmentations are seeded by chunk


class Chunk(NamedTuple):
    """Consecutive pairs; `documents` is an int32 array parallel to the texts, see `Shards.doc`."""

    number: int
    sources: list[str]
    targets: list[str]
    documents: np.ndarray


@dataclass(frozen=True)
class Encoder:
    """Encodes one chunk; a pure function of the chunk's number and texts, so any process may do it.

    Args:
        tokenizer: a `data.tokenizer.Tokenizer`.
        sampling, seed, max_length: see `data.shards.encode_pairs`.
        form: how pairs are written for the model.
    """

    tokenizer: Any
    sampling: float
    seed: int
    max_length: int
    form: TextForm = PLAIN

    def __call__(self, number: int, sources: list[str], targets: list[str]) -> dict:
        """Returns `kept` (a boolean array over the pairs) and, for each side, flat tokens and lengths of those kept."""
        sides = [self._ids(texts, number, side) for side, texts in enumerate(self.form.pairs(sources, targets))]
        lengths = np.array([[len(ids) for ids in side] for side in sides], dtype=np.int32).reshape(2, -1)
        kept = (lengths <= self.max_length).all(axis=0)
        dtype = np.uint16 if self.tokenizer.vocabulary_size < 2**16 else np.int32
        encoded = {"kept": kept}
        for name, side, counts in zip(("source", "target"), sides, lengths[:, kept], strict=True):
            ids = itertools.chain.from_iterable(itertools.compress(side, kept))
            encoded[name] = np.fromiter(ids, dtype, count=int(counts.sum())), counts
        return encoded

    def _ids(self, texts: list[str], number: int, side: int) -> list[list[int]]:
        subwords = (self.tokenizer.source, self.tokenizer.target)[side]
        if not self.sampling:
            return subwords.encode(texts)
        seed = int(np.random.SeedSequence([self.seed, number, side]).generate_state(1)[0])
        return subwords.encode_sampled(texts, self.sampling, seed)


def encode_chunks(
    pairs: Iterable[Pair], encoder: Encoder, workers: Workers | int | None
) -> Iterator[tuple[Chunk, dict]]:
    """Yields every chunk with its encoding, in order.

    Args:
        pairs: the pairs.
        encoder: what to do with a chunk.
        workers: see `data.shards.encode_pairs`.

    Raises:
        UserError: a worker was ended from outside.
    """
    jobs = (Job(chunk[:3], len(chunk.sources), chunk) for chunk in _chunks(pairs))
    with opened(workers) as pool:
        yield from pool.map(encoder, jobs)


def _chunks(pairs: Iterable[Pair]) -> Iterator[Chunk]:
    numbered = _number(pairs)
    for number in itertools.count():
        rows = list(itertools.islice(numbered, CHUNK))
        if not rows:
            return
        chosen, documents = zip(*rows, strict=True)
        sources, targets = [pair.source for pair in chosen], [pair.target for pair in chosen]
        yield Chunk(number, sources, targets, np.array(documents, np.int32))


def _number(pairs: Iterable[Pair]) -> Iterator[tuple[Pair, int]]:
    """Yields (pair, document index or -1); a document ends where the next pair has another id."""
    document, last = -1, ""
    for pair in pairs:
        if pair.doc and pair.doc != last:
            document += 1
        last = pair.doc
        yield pair, document if pair.doc else -1
