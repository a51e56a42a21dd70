"""Finds held-out text in training text by hashes of segments."""

import hashlib
from collections.abc import Iterable

import numpy as np

from data.pairs import Pair

SHORTEST = 3  # words; shorter segments, such as "Yes, please", occur everywhere and give nothing away


def segment_hash(text: str) -> int:
    """A 64-bit hash of a segment without case and white space; 0 if it has fewer than `SHORTEST` words."""
    words = text.casefold().split()
    if len(words) < SHORTEST:
        return 0
    return int.from_bytes(hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest(), "little")


def segment_hashes(pairs: Iterable[Pair]) -> np.ndarray:
    """The hashes of both sides of pairs, (N, 2), uint64."""
    sides = [(segment_hash(pair.source), segment_hash(pair.target)) for pair in pairs]
    return np.array(sides, np.uint64).reshape(-1, 2)


def repeats(training: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Which training pairs share their source or their target with a held-out pair.

    Args:
        training, held_out: as `segment_hashes` gives them.

    Returns:
        One boolean for each training pair (N,).
    """
    found = np.zeros(len(training), bool)
    for side in (0, 1):
        known = np.unique(held_out[:, side])
        known = known[known != 0]
        if len(known):
            nearest = np.searchsorted(known, training[:, side]).clip(max=len(known) - 1)
            found |= known[nearest] == training[:, side]
    return found
