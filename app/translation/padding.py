"""The sizes that batches are padded to."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from data.tokenizer import EOS, PAD

MULTIPLE = 8


def round_length(length: int) -> int:
    """The length to pad to: a multiple of 8; on JAX, which compiles for each length, one of a few."""
    step = MULTIPLE
    if keras.backend.backend() == "jax":
        step = max(step, 1 << max(0, length.bit_length() - 2))
    return -(-length // step) * step


def least_rows(model: Any) -> int:
    """The minimum rows of a batch: two in bfloat16, where one input alone is computed differently from several."""
    return 2 if getattr(model, "compute_dtype", "") == "bfloat16" else 1


def round_rows(rows: int, least: int = 1) -> int:
    """The number of rows to pad a batch to: at least `least`, and on JAX a power of two."""
    rows = max(rows, least)
    return 1 << (rows - 1).bit_length() if keras.backend.backend() == "jax" else rows


def pad_rows(sequences: list[Sequence[int]], rows: int) -> np.ndarray:
    """(B, S) int32; rows beyond the sequences hold only an end token, as attention needs something to attend to."""
    padded = np.full((rows, round_length(max(map(len, sequences)))), PAD, "int32")
    padded[len(sequences) :, 0] = EOS
    for row, ids in zip(padded, sequences, strict=False):
        row[: len(ids)] = ids
    return padded
