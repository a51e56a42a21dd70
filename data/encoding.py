"""Text to token ids in chunks, in this process or in a pool of others, in the order of the input."""

import contextlib
import itertools
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError
from data.pairs import Pair

CHUNK = 10_000  # pairs; part of the format, as sampled segmentations are seeded by chunk
SMALL = 30_000  # pairs; below, starting processes takes longer than encoding
MOST_WORKERS = 16  # each holds a chunk of text, so this bounds memory


class Chunk(NamedTuple):
    """Consecutive pairs; `documents` and `corpora` are int32 arrays parallel to the texts."""

    number: int
    sources: list[str]
    targets: list[str]
    documents: np.ndarray
    corpora: np.ndarray


@dataclass(frozen=True)
class Encoder:
    """Encodes one chunk; a pure function of the chunk's number and texts, so any process may do it."""

    tokenizer: Any
    sampling: float
    seed: int
    max_length: int

    def __call__(self, number: int, sources: list[str], targets: list[str]) -> dict:
        """Returns `kept` (a boolean array over the pairs) and, of each side, flat tokens and lengths of those kept."""
        sides = [self._ids(texts, number, side) for side, texts in enumerate((sources, targets))]
        lengths = np.array([[len(ids) for ids in side] for side in sides], dtype=np.int32).reshape(2, -1)
        kept = (lengths <= self.max_length).all(axis=0)
        dtype = np.uint16 if self.tokenizer.vocabulary_size < 2**16 else np.int32
        encoded = {"kept": kept}
        for name, side, counts in zip(("source", "target"), sides, lengths[:, kept], strict=True):
            ids = itertools.chain.from_iterable(itertools.compress(side, kept))
            encoded[name] = np.fromiter(ids, dtype, count=int(counts.sum())), counts
        return encoded

    def _ids(self, texts: list[str], number: int, side: int) -> list[list[int]]:
        if not self.sampling:
            return self.tokenizer.encode(texts)
        seed = int(np.random.SeedSequence([self.seed, number, side]).generate_state(1)[0])
        return self.tokenizer.encode_sampled(texts, self.sampling, seed)


def encode_chunks(
    corpora: Mapping[str, Iterable[Pair]], encoder: Encoder, workers: int | None
) -> Iterator[tuple[Chunk, dict]]:
    """Yields every chunk with its encoding, in order.

    Args:
        corpora: pairs by corpus name.
        encoder: what to do with a chunk.
        workers: number of processes; `None` means one a core, and none beside this one for small corpora.

    Raises:
        UserError: if a worker was ended from outside.
    """
    chunks = _chunks(corpora)
    first = list(itertools.islice(chunks, -(-SMALL // CHUNK)))
    if workers is None:
        workers = min(cores(), MOST_WORKERS) if sum(len(chunk.sources) for chunk in first) >= SMALL else 1
    chunks = itertools.chain(first, chunks)
    if workers <= 1:
        return ((chunk, encoder(*chunk[:3])) for chunk in chunks)
    return _in_parallel(chunks, encoder, workers)


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(corpora: Mapping[str, Iterable[Pair]]) -> Iterator[Chunk]:
    numbered = _number(corpora)
    for number in itertools.count():
        rows = list(itertools.islice(numbered, CHUNK))
        if not rows:
            return
        pairs, documents, indices = zip(*rows, strict=True)
        sources, targets = [pair.source for pair in pairs], [pair.target for pair in pairs]
        yield Chunk(number, sources, targets, np.array(documents, np.int32), np.array(indices, np.int32))


def _number(corpora: Mapping[str, Iterable[Pair]]) -> Iterator[tuple[Pair, int, int]]:
    """Yields (pair, document index or -1, corpus index); a document ends where the next pair has another id."""
    document = -1
    for corpus, pairs in enumerate(corpora.values()):
        last = ""
        for pair in pairs:
            if pair.doc and pair.doc != last:
                document += 1
            last = pair.doc
            yield pair, document if pair.doc else -1, corpus


def _in_parallel(chunks: Iterator[Chunk], encoder: Encoder, workers: int) -> Iterator[tuple[Chunk, dict]]:
    # "spawn": a fork of a process that runs TensorFlow's threads may hang.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker, initargs=(encoder,))
    waiting: deque = deque()
    try:
        for chunk in chunks:
            with _interrupts_blocked():  # the workers start here and inherit this: Ctrl-C is this process's to answer
                waiting.append((chunk, pool.submit(_work, *chunk[:3])))
            if len(waiting) > workers + 2:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "a process that encoded text was ended from outside, probably for lack of memory: free some and try again"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_blocked():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_encoder: Encoder


def _start_worker(encoder: Encoder) -> None:
    global _encoder
    _encoder = encoder
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this worker when its parent is killed; it would wait for work for ever."""
    parent_process().join()
    os._exit(1)


def _work(number: int, sources: list[str], targets: list[str]) -> dict:
    return _encoder(number, sources, targets)
