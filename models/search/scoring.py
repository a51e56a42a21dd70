"""Scores given sequences with a model: log-probabilities from decoding steps, or from teacher-forced logits."""

from typing import NamedTuple

from keras import ops

from models import Nested, Step, Tensor
from models.search.rollout import roll, total
from models.search.rules import log_probability
from models.search.state import refuse_nan


class Scores(NamedTuple):
    """Scores of B reference sequences.

    log_probs: (B, T) float32, log-probability of each token; 0 from the first padding on, NaN where logits were not
        finite.
    scores: (B,) float32, their sums.
    lengths: (B,) int32, number of tokens before the first padding, including the end token.
    """

    log_probs: Tensor
    scores: Tensor
    lengths: Tensor


def score(step: Step, state: Nested, references: Tensor, bos: int, pad: int = 0) -> Scores:
    """Scores references with a step function, as a search would have scored them.

    Args:
        step: callable, `(tokens (B,), state) -> (logits (B, V), state)`, logits of any float dtype.
        state: nested dict, tuple or list of tensors with B rows, with room for at least T steps.
        references: (B, T) int32 tokens, including the end token, with padding after it.
        bos: int. Token that starts a sequence; not part of `references`.
        pad: int. Token that fills up references.

    Returns:
        `Scores`.

    Raises:
        ValueError: when run eagerly, for logits that are not finite.
    """
    references = ops.cast(references, "int32")
    lengths = _lengths(references, pad)

    def choose(logits, rollout):
        return ops.take(references, rollout.time, axis=1)

    rollout = roll(step, state, choose, lengths, ops.shape(references)[1], bos, pad)
    return refuse_nan(Scores(rollout.log_probs, total(rollout), lengths))


def score_logits(logits: Tensor, labels: Tensor, pad: int = 0) -> Scores:
    """Scores references from the logits of all positions at once, which is much faster than `score`.

    Args:
        logits: (B, T, V) of any float dtype; position t has seen the labels before t.
        labels: (B, T) int32 tokens, including the end token, with padding after it.
        pad: int. Token that fills up labels.

    Returns:
        `Scores`.

    Raises:
        ValueError: when run eagerly, for logits that are not finite.
    """
    labels = ops.cast(labels, "int32")
    batch, length = ops.shape(labels)
    flat = ops.reshape(ops.cast(logits, "float32"), (-1, logits.shape[-1]))
    log_probs = ops.reshape(log_probability(flat, ops.reshape(labels, (-1,))), (batch, length))
    lengths = _lengths(labels, pad)
    log_probs = ops.where(ops.arange(length, dtype="int32")[None, :] < lengths[:, None], log_probs, 0.0)
    return refuse_nan(Scores(log_probs, ops.sum(log_probs, axis=1), lengths))


def _lengths(tokens, pad):
    """(B,) int32: number of tokens before the first padding."""
    return ops.sum(ops.cumprod(ops.cast(tokens != pad, "int32"), axis=1), axis=1)
