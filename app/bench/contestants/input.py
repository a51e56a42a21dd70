"""How fast text is encoded, and how fast batches are fed."""

import itertools
import os
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from app.bench.contestants.protocol import Channel, peak_bytes


def main() -> None:
    """Encodes the specification's text, repeated to a number of pairs, on all cores; then draws batches from it."""
    channel = Channel()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from data.corpora.corpora import Corpora
    from data.shards import encode_pairs
    from data.tokenizer import Tokenizer

    spec = channel.spec
    tokenizer = Tokenizer.load(spec["tokenizer"])
    text = list(Corpora().open(spec["corpus"]).pairs("train"))
    pairs = itertools.islice(itertools.cycle(text), spec["pairs"])
    words = sum(len(pair.source.split()) for pair in text) / len(text)
    with tempfile.TemporaryDirectory(dir=spec["folder"]) as folder, _MemoryOfAll() as memory:
        begin = time.perf_counter()
        shards = encode_pairs(pairs, tokenizer, Path(folder), "benchmark")
        seconds = time.perf_counter() - begin
        channel.send(pairs=spec["pairs"], seconds=seconds, words=words, all_bytes=memory.peak)
        channel.send(**_feed(shards, spec))


def _feed(shards, spec) -> dict:
    """Target tokens a second that come out of the pipeline that `fit` reads."""
    from data.batching import Batches
    from data.feeding import as_dataset

    iterator = iter(as_dataset(Batches(shards, spec["batch_tokens"], seed=1, multiple=2)))
    next(iterator)
    tokens, batches, begin = 0, 0, time.perf_counter()
    while time.perf_counter() - begin < spec["seconds"]:
        _, labels = next(iterator)
        tokens += int(np.count_nonzero(labels))
        batches += 1
    seconds = time.perf_counter() - begin
    return {"tokens_a_second": tokens / seconds, "batches_a_second": batches / seconds}


class _MemoryOfAll:
    """Watches the memory of this process and of its children, ten times a second."""

    def __enter__(self):
        self.peak, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self.peak = max(self.peak, _resident_of_all())


def _resident_of_all() -> int:
    """Bytes that this process and its children hold; shared memory counts for each. Without /proc, its own peak."""
    page, total = resource.getpagesize(), 0
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if not children.exists():
        return peak_bytes()
    for number in ["self", *children.read_text().split()]:
        try:
            total += int(Path(f"/proc/{number}/statm").read_text().split()[1]) * page
        except OSError:
            continue  # it has ended
    return total


if __name__ == "__main__":
    main()
