"""The likeliest continuations of the hypotheses of an input, found without sorting the whole vocabulary."""

import math
from typing import NamedTuple

import numpy as np
from keras import ops

from models import Tensor
from models.search.copying import indebted, only_owed
from models.search.rules import Rules, log_total, may_end, vocabulary
from models.search.state import pick

NEVER = float("-inf")
# Tokens in a group, about; and the vocabulary from which on groups pay.
_GROUP, _LARGE = 64, 1024


class Ranking(NamedTuple):
    """What may follow the K hypotheses of each of B inputs.

    scores: (B, C) float32, log-probabilities of the C best hypotheses that go on, in falling order; -inf where none is.
    parents: (B, C) int32, which hypothesis each continues.
    tokens: (B, C) int32, the new token.
    ends: (B, K) float32, log-probability of each hypothesis with the end token; -inf where it may not end.
    finite: (B, K) bool, False where logits were NaN or infinite.
    """

    scores: Tensor
    parents: Tensor
    tokens: Tensor
    ends: Tensor
    finite: Tensor


def rank(logits: Tensor, scores: Tensor, time: Tensor, count: int, rules: Rules, owed: Tensor | None = None) -> Ranking:
    """Ranks all continuations of all hypotheses of an input together.

    Probabilities are the model's own: they are not renormalised over what the rules leave, so that the score of a
    hypothesis equals what `score` computes for its tokens.

    Args:
        logits: (B * K, V) float32. V must be known.
        scores: (B, K) float32, log-probabilities of the hypotheses; -inf where there is none.
        time: int32 scalar, number of tokens before this one.
        count: int. C, less than V.
        rules: `Rules` whose `limits` has B rows.
        owed: (B, K, P) bool, which of the P tokens `rules.copied` each hypothesis must still contain.

    Returns:
        `Ranking`.
    """
    size, beam = vocabulary(logits, rules), scores.shape[1]
    width = group_width(size, count)
    maxima = ops.max(ops.reshape(logits, (-1, size // width, width)), axis=-1) if width else logits
    largest = ops.max(maxima, axis=-1, keepdims=True)
    total = ops.reshape(log_total(logits, largest), (-1, beam))
    finite = ops.isfinite(total)
    base = ops.where(finite, scores - total, NEVER)
    ends = _add(ops.reshape(logits[:, rules.eos], (-1, beam)), base)
    ends = ops.where(may_end(time, rules)[:, None], ends, NEVER)
    base = ops.where((time + 1 < rules.limits)[:, None], base, NEVER)
    special = np.isin(np.arange(size), (rules.eos, *rules.never, *rules.copied))
    if rules.copied:
        copies = _copies(logits, base, owed, rules)
        ends = ops.where(ops.logical_and(indebted(owed), (time + 1 < rules.limits)[:, None]), NEVER, ends)
        limits = ops.repeat(rules.limits, beam, axis=0)
        flat = ops.reshape(owed, (-1, len(rules.copied)))
        only = only_owed(logits, largest[:, 0], flat, time, limits, rules.eos)
        base = ops.where(ops.reshape(only, (-1, beam)), NEVER, base)
    if width:
        best, index = _best_by_groups(logits, maxima, base, count, special)
    else:
        allowed = _add(ops.where(special, NEVER, ops.reshape(logits, (-1, beam, size))), base[:, :, None])
        best, index = ops.top_k(ops.reshape(allowed, (-1, beam * size)), count)
    index = ops.cast(index, "int32")
    if rules.copied:
        best, place = ops.top_k(ops.concatenate([best, copies.scores], axis=1), count)
        index = pick(ops.concatenate([index, copies.index], axis=1), ops.cast(place, "int32"))
    return Ranking(best, index // size, index % size, ends, finite)


class _Copies(NamedTuple):
    """The continuations of K hypotheses by owed tokens: scores (B, K * P) and, as in `rank`, numbers (B, K * P)."""

    scores: Tensor
    index: Tensor


def _copies(logits, base, owed, rules):
    beam, size, first, count = base.shape[1], logits.shape[-1], rules.copied[0], len(rules.copied)
    values = ops.reshape(logits[:, first : first + count], (-1, beam, count))
    scores = ops.reshape(ops.where(owed, _add(values, base[:, :, None]), NEVER), (-1, beam * count))
    index = size * ops.arange(beam, dtype="int32")[:, None] + ops.arange(first, first + count, dtype="int32")
    return _Copies(scores, ops.zeros_like(scores, dtype="int32") + ops.reshape(index, (1, -1)))


def group_width(size: int, count: int) -> int:
    """Tokens in a group, a divisor of the vocabulary's size; 0 where groups do not pay or there is no such divisor."""
    fitting = [width for width in range(_GROUP // 4, _GROUP * 4) if size % width == 0 and size // width >= count]
    if size < _LARGE or not fitting:
        return 0
    return min(fitting, key=lambda width: abs(math.log(width / _GROUP)))


def _best_by_groups(logits, maxima, base, count, special):
    """The best `count` of the K * V continuations of each input, exactly.

    They can only be in the `count` groups with the largest maxima, so that one cheap pass over the logits is enough.

    Args:
        logits: (B * K, V) float32.
        maxima: (B * K, G) float32, the largest logit of each group of neighbours.
        base: (B, K) float32, what is added to a hypothesis' logits; -inf for one without continuations.
        count: int. C.
        special: (V,) numpy bool, tokens that are left out.

    Returns:
        Scores (B, C), in falling order, and the numbers of hypothesis and token (B, C), the latter counting fastest.
    """
    beam, groups = base.shape[1], maxima.shape[1]
    width = len(special) // groups
    maxima = _leave_out(special, logits, maxima)
    maxima = _add(ops.reshape(maxima, (-1, beam, groups)), base[:, :, None])
    _, best = ops.top_k(ops.reshape(maxima, (-1, beam * groups)), count)
    best = ops.cast(best, "int32")
    values = pick(ops.reshape(logits, (-1, beam * groups, width)), best)
    index = ops.expand_dims(best * width, -1) + ops.arange(width, dtype="int32")
    left_out = ops.take(special, ops.mod(index, len(special)), axis=0)
    values = _add(ops.where(left_out, NEVER, values), pick(base, best // groups)[:, :, None])
    scores, place = ops.top_k(ops.reshape(values, (-1, count * width)), count)
    return scores, pick(ops.reshape(index, (-1, count * width)), ops.cast(place, "int32"))


def _leave_out(special, logits, maxima):
    """The maxima (N, G) of logits (N, V) without the special tokens."""
    width = len(special) // maxima.shape[1]
    for group in sorted(set(np.flatnonzero(special) // width)):
        columns = slice(group * width, (group + 1) * width)
        one = ops.max(ops.where(special[columns], NEVER, logits[:, columns]), axis=-1, keepdims=True)
        maxima = ops.concatenate([maxima[:, :group], one, maxima[:, group + 1 :]], axis=1)
    return maxima


def _add(values, base):
    """values + base, and -inf where the base is, even if the values are not finite."""
    return ops.where(base > NEVER, values + base, NEVER)
