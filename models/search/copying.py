"""Tokens that a hypothesis contains exactly once: they stand for what the translation must copy from the source."""

from collections.abc import Sequence

from keras import ops

from models import Tensor


def copied_range(copied: Sequence[int]) -> tuple[int, ...]:
    """Checks the ids of copied tokens.

    Raises:
        ValueError: they are not consecutive.
    """
    ids = tuple(map(int, copied))
    if ids and ids != tuple(range(ids[0], ids[0] + len(ids))):
        raise ValueError(f"The copied tokens must be consecutive ids. Received: copied={ids}.")
    return ids


def no_debt(batch: int | Tensor, copied: Sequence[int]) -> Tensor:
    """(B, P) bool: nothing is owed."""
    return ops.zeros((batch, len(copied)), dtype="bool")


def spend(owed: Tensor, tokens: Tensor, copied: tuple[int, ...]) -> Tensor:
    """What is still owed after one more token.

    Args:
        owed: (..., P) bool, which of the copied tokens each hypothesis still has to contain.
        tokens: (...) int32, the new tokens.
        copied: the P ids.
    """
    if not copied:
        return owed
    ids = ops.arange(copied[0], copied[-1] + 1, dtype="int32")
    return ops.logical_and(owed, ops.expand_dims(tokens, -1) != ids)


def debt(owed: Tensor | None, needed: Tensor | None = None) -> Tensor:
    """(...) int32: the fewest tokens that must come before the hypothesis may end.

    Args:
        owed: (..., P) bool, the copied tokens that must still come; None for none.
        needed: (...) int32, tokens that terms need, see `models.search.terms`; None for none.
    """
    counts = [] if owed is None else [ops.sum(ops.cast(owed, "int32"), axis=-1)]
    return sum(counts if needed is None else [*counts, needed])


def only_owed(logits: Tensor, largest: Tensor, count: Tensor, time: Tensor, limits: Tensor, eos: int) -> Tensor:
    """Where only an owed token may come next: the model would end here, or the tokens left are only just enough.

    Args:
        logits: (N, V) float32.
        largest: (N,) float32, the largest logit of each row.
        count: (N,) int32, the `debt`.
        time: int32 scalar, number of tokens before this one.
        limits: (N,) int32, the maximum length of each hypothesis in tokens, including the end token.
        eos: the end token.

    Returns:
        (N,) bool.
    """
    pressing = ops.logical_or(logits[:, eos] >= largest, time + 1 + count >= limits)
    return ops.logical_and(count > 0, pressing)
