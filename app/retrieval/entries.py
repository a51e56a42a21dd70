"""Entries of a retrieval memory: decoder states, each with the token that followed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Entries(NamedTuple):
    """N decoder states and what followed them.

    keys: (N, D) float16; see `models.transformer.Transformer.keys`.
    tokens: (N,) int32.
    trust: (N,) float32, 0 to 1.
    """

    keys: np.ndarray
    tokens: np.ndarray
    trust: np.ndarray

    def __bool__(self) -> bool:
        return len(self.tokens) > 0


NOTHING = Entries(np.zeros((0, 0), "float32"), np.zeros(0, "int32"), np.zeros(0, "float32"))


def concatenated(parts: Sequence[Entries]) -> Entries:
    """All entries of several parts, in order."""
    parts = [part for part in parts if part]
    return Entries(*map(np.concatenate, zip(*parts, strict=True))) if parts else NOTHING


def padded(parts: Sequence[Entries], rows: int, size: int, width: int) -> dict[str, np.ndarray]:
    """The entries of each row of a batch, as `models.memories.retrieval.RetrievalModel.initial_state` takes them.

    Args:
        parts: the entries of the first rows; further rows have none.
        rows: B.
        size: N, at least the number of entries of each.
        width: D.

    Returns:
        keys (B, N, D) float16, tokens (B, N) int32, 0 for padding, and trust (B, N) float32.
    """
    keys = np.empty((rows, size, width), "float16")
    tokens, trust = np.zeros((rows, size), "int32"), np.zeros((rows, size), "float32")
    for row in range(rows):
        part = parts[row] if row < len(parts) else NOTHING
        count = len(part.tokens)
        if count:
            keys[row, :count], tokens[row, :count], trust[row, :count] = part
        keys[row, count:] = 0
    return {"keys": keys, "tokens": tokens, "trust": trust}
