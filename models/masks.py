"""Boolean attention masks. True means "may attend"."""

from keras import ops

from models import Tensor

PAD = 0  # the id of padding
# A score that leaves no weight; a row in which all scores are masked gets the plain mean.
MASKED = -1e9


def score_ceilings(mask: Tensor) -> Tensor:
    """Upper limits of scores, float32 in the shape of a mask: infinite where it is true, else `MASKED`."""
    return ops.where(mask, float("inf"), MASKED)


def group_mask(rows: Tensor, columns: Tensor) -> Tensor:
    """Boolean (B, T, S): which columns (B, S) belong to the same group as each row (B, T). Groups are numbered from 1;
    0 is padding, to which nothing attends."""
    return ops.logical_and(ops.equal(rows[:, :, None], columns[:, None]), ops.not_equal(columns, 0)[:, None])


def padding_mask(tokens: Tensor) -> Tensor:
    """Which positions hold a token rather than padding.

    Args:
        tokens: integer tensor (B, S).

    Returns:
        Boolean tensor (B, 1, S): every query position may attend only to real tokens.
    """
    return ops.expand_dims(ops.not_equal(tokens, PAD), axis=1)


def look_ahead_mask(length: int | Tensor) -> Tensor:
    """Which positions each position may attend to: itself and those before it.

    Args:
        length: number of positions T; an integer or a scalar tensor.

    Returns:
        Boolean tensor (T, T), True on and below the diagonal: row t may attend to columns 0..t.

    References:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.2.3.
    """
    positions = ops.arange(length)
    return ops.greater_equal(ops.expand_dims(positions, 1), ops.expand_dims(positions, 0))
