"""The likeliest continuations of the hypotheses of an input, found without sorting the whole vocabulary."""

import math
from typing import NamedTuple

import numpy as np
from keras import ops

from models import Tensor
from models.search.copying import debt, only_owed
from models.search.rules import Rules, log_total, may_end, vocabulary
from models.search.state import pick
from models.search.terms import TermState, look_ahead, promote, worth_of_all

NEVER = float("-inf")
# Approximate number of tokens in a group, and the vocabulary size from which groups pay off.
_GROUP, _LARGE = 64, 1024


class Ranking(NamedTuple):
    """What may follow the K hypotheses of each of B inputs.

    scores: (B, C) float32, log-probabilities of the C best hypotheses that continue; -inf where there is none.
    parents: (B, C) int32, which hypothesis each continues.
    tokens: (B, C) int32, the new token.
    ends: (B, K) float32, log-probability of each hypothesis with the end token; -inf where it may not end.
    finite: (B, K) bool, False where logits were NaN or infinite.
    order: (B, C) float32, what they are ranked by, in falling order: the scores plus the bonus of terms.
    end_order: (B, K) float32, the same for those that end.
    """

    scores: Tensor
    parents: Tensor
    tokens: Tensor
    ends: Tensor
    finite: Tensor
    order: Tensor
    end_order: Tensor


def rank(
    logits: Tensor,
    scores: Tensor,
    time: Tensor,
    count: int,
    rules: Rules,
    owed: Tensor | None = None,
    terms: TermState | tuple[()] = (),
) -> Ranking:
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
        terms: the state of the hypotheses' terms; () for none.

    Returns:
        `Ranking`.
    """
    size, beam = vocabulary(logits, rules), scores.shape[1]
    width = group_width(size, count)
    maxima = _maxima(logits, width)
    largest = ops.max(maxima, axis=-1, keepdims=True)
    total = ops.reshape(log_total(logits, largest), (-1, beam))
    finite = ops.isfinite(total)
    base = ops.where(finite, scores - total, NEVER)
    ends = _add(ops.reshape(logits[:, rules.eos], (-1, beam)), base)
    ends = ops.where(may_end(time, rules)[:, None], ends, NEVER)
    goes_on = (time + 1 < rules.limits)[:, None]
    base = ops.where(goes_on, base, NEVER)
    special = np.isin(np.arange(size), (rules.eos, *rules.never, *rules.copied))
    # What the ranking uses: the logits and what is added to them, including the bonus of terms.
    promoted, order_base, needed, nearer = logits, base, None, None
    if terms:
        outlook = look_ahead(terms, rules.words)
        promoted, nearer = promote(logits, outlook, terms.terms, rules.words)
        order_base, needed = base + outlook.kept, outlook.needed
    copies = _copies(promoted, order_base, owed, rules) if rules.copied else None
    if rules.copied or terms:
        owing = debt(owed, needed)
        ends = ops.where(ops.logical_and(owing > 0, goes_on), NEVER, ends)
        limits = ops.repeat(rules.limits, beam, axis=0)
        only = only_owed(logits, largest[:, 0], ops.reshape(owing, (-1,)), time, limits, rules.eos)
        if terms:
            promoted = ops.where(ops.logical_and(only[:, None], ops.logical_not(nearer)), NEVER, promoted)
            maxima = _maxima(promoted, width)
        else:
            order_base = ops.where(ops.reshape(only, (-1, beam)), NEVER, order_base)
    if width:
        best, index = _best_by_groups(promoted, maxima, order_base, count, special)
    else:
        allowed = _add(ops.where(special, NEVER, ops.reshape(promoted, (-1, beam, size))), order_base[:, :, None])
        best, index = ops.top_k(ops.reshape(allowed, (-1, beam * size)), count)
    index = ops.cast(index, "int32")
    if copies:
        best, place = ops.top_k(ops.concatenate([best, copies.scores], axis=1), count)
        index = pick(ops.concatenate([index, copies.index], axis=1), ops.cast(place, "int32"))
    parents, tokens = index // size, index % size
    if not terms:
        return Ranking(best, parents, tokens, ends, finite, best, ends)
    true = pick(ops.reshape(logits, (-1, beam * size)), index) + pick(base, parents)
    end_order = ends + worth_of_all(terms.terms)
    return Ranking(ops.where(best > NEVER, true, NEVER), parents, tokens, ends, finite, best, end_order)


def _maxima(logits, width):
    """(N, G): the largest logit of each group of neighbours; the logits themselves if there are no groups."""
    return ops.max(ops.reshape(logits, (-1, logits.shape[-1] // width, width)), axis=-1) if width else logits


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
    """Tokens in a group, a divisor of the vocabulary's size; 0 if groups do not pay off or no divisor fits."""
    fitting = [width for width in range(_GROUP // 4, _GROUP * 4) if size % width == 0 and size // width >= count]
    if size < _LARGE or not fitting:
        return 0
    return min(fitting, key=lambda width: abs(math.log(width / _GROUP)))


def _best_by_groups(logits, maxima, base, count, special):
    """The best `count` of the K * V continuations of each input, exactly.

    They can only be in the `count` groups with the largest maxima, so one cheap pass over the logits is enough.

    Args:
        logits: (B * K, V) float32.
        maxima: (B * K, G) float32, the largest logit of each group of neighbours.
        base: (B, K) float32, what is added to a hypothesis's logits; -inf for one without continuations.
        count: int. C.
        special: (V,) numpy bool, tokens that are left out.

    Returns:
        Scores (B, C), in falling order, and joint numbers of hypothesis and token (B, C), the token counting fastest.
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
    """values + base, but -inf where the base is -inf, even if the values are not finite."""
    return ops.where(base > NEVER, values + base, NEVER)
