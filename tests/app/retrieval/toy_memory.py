"""Pairs and entries that need no model; as a program, it builds a memory of them: `python -m ... PATH PAIRS SLEEP`."""

import hashlib
import sys
import time

import numpy as np

from app.retrieval import store
from app.retrieval.entries import Entries

WIDTH = 8
WORDS = ["open", "close", "the", "file", "window", "a", "print", "save", "as", "page", "menu", "key", "please"]


def toy_pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Pairs of random words, some of them more than once."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 7, (count, 2))
    return [(" ".join(rng.choice(WORDS, n)), " ".join(rng.choice(WORDS, m)).title()) for n, m in lengths]


def toy_entries(pairs: list[tuple[str, str]]) -> list[Entries]:
    """Entries that depend on the text of a pair alone: one for each target word, and one for the end."""
    made = []
    for pair in pairs:
        rng = np.random.default_rng(int(hashlib.sha256("\t".join(pair).encode()).hexdigest()[:8], 16))
        size = len(pair[1].split()) + 1
        keys = rng.standard_normal((size, WIDTH)).astype("float32")
        made.append(Entries(keys, rng.integers(1, 99, size).astype("int32"), rng.random(size).astype("float32")))
    return made


def _slowly(pairs):
    time.sleep(float(sys.argv[3]))
    return toy_entries(pairs)


if __name__ == "__main__":
    store.PART = 40
    pairs = toy_pairs(int(sys.argv[2]))
    store.build_store(sys.argv[1], pairs, _slowly, {"pairs": len(pairs)}, lambda done: print(done, flush=True))
