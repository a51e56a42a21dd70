"""Entries of a retrieval memory: decoder states, each with the token that followed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MOST = 1024  # entries that a search reads at once


class Entries(NamedTuple):
    """N decoder states and what followed them.

    keys: (N, D) float16 or float32; see `models.transformer.Transformer.keys`.
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


def padded(parts: Sequence[Entries | None], rows: int, least: int, width: int) -> dict[str, np.ndarray]:
    """The entries of each row of a batch, as `models.memories.retrieval.Stored` by name.

    Args:
        parts: the entries of the first rows, None for no entries; further rows have none.
        rows: B.
        least: the smallest N; it becomes a power of two, as some backends compile for each size.
        width: D.

    Returns:
        keys (B, N, D) float32, tokens (B, N) int32, 0 for padding, and trust (B, N) float32.
    """
    longest = max(least, *(len(part.tokens) for part in parts if part), 1)
    size = 1 << (longest - 1).bit_length()
    batch = {
        "keys": np.zeros((rows, size, width), "float32"),
        "tokens": np.zeros((rows, size), "int32"),
        "trust": np.zeros((rows, size), "float32"),
    }
    for row, part in enumerate(parts):
        if part:
            for name, values in part._asdict().items():
                batch[name][row, : len(part.tokens)] = values
    return batch
