"""Random sampling, with temperature, from all tokens or from the likeliest (top-k, top-p, min-p)."""

from collections.abc import Sequence
from typing import Any

from keras import ops, random

from models import Nested, Step, Tensor
from models.search.rollout import lengths, roll, total
from models.search.rules import make_rules, restrict
from models.search.state import Hypotheses, pick, refuse_nan, repeat_rows
from models.search.terms import Terms, Words, begin_terms


def sample(
    step: Step,
    state: Nested,
    batch: int | Tensor,
    max_length: int | Tensor,
    seed: Any,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    samples: int = 1,
    min_p: float = 0.0,
    *,
    bos: int,
    eos: int,
    pad: int = 0,
    max_lengths: Tensor | None = None,
    min_length: int = 0,
    forbidden: Sequence[int] = (),
    copied: Sequence[int] = (),
    owed: Tensor | None = None,
    terms: Terms | None = None,
    words: Words | None = None,
) -> Hypotheses:
    """Draws sequences from the model, token by token.

    Tokens that may not come next are removed first; then temperature, top-k, top-p and min-p apply, in this order. The
    token at an input's limit is the end token. The same integer seed gives the same draws on the same backend for the
    same batch size, `samples` and `max_length`.

    Args:
        step: callable, `(tokens (N,), state) -> (logits (N, V), state)`, logits of any float dtype.
        state: nested dict, tuple or list of tensors with B rows, which are repeated to N = B * `samples` here.
        batch: int. B. In a TensorFlow graph it may also be an int32 scalar.
        max_length: int. T, the maximum length of a hypothesis in tokens, including the end token. In a TensorFlow graph
            it may also be an int32 scalar.
        seed: int, or `keras.random.SeedGenerator`, which gives different draws at each call.
        temperature: float above zero. Logits are divided by it: below one, likely tokens become more likely.
        top_k: optional int. Draws only from this many of the likeliest tokens.
        top_p: optional float in (0, 1]. Draws only from the likeliest tokens, the fewest that together have this
            probability.
        samples: int. Number n of sequences for each input.
        min_p: float in [0, 1). Draws only from tokens with at least this share of the likeliest one's probability.
        bos: int. Token that starts a sequence.
        eos: int. Token that ends one.
        pad: int. Token that fills up the rest.
        max_lengths: optional (B,) int32. Limits of the individual inputs; larger values are cut to `max_length`.
        min_length: int. The minimum length of a hypothesis in tokens, including the end token. A smaller limit wins.
        forbidden: further ids that are never output, such as that of the unknown token.
        copied, owed, terms, words: see `beam_search`. The bonus of terms makes their tokens likelier to be drawn.

    Returns:
        `Hypotheses` of tokens (B, n, T), scores (B, n) and lengths (B, n), in the order drawn. A score is the sum of
        the model's own log-probabilities, whatever was drawn from, so it is comparable with those of other searches.

    Raises:
        ValueError: for options out of range or that contradict each other and, when run eagerly, for logits that are
            not finite.

    References:
        - [Fan et al., 2018](https://arxiv.org/abs/1805.04833) (top-k)
        - [Holtzman et al., 2019](https://arxiv.org/abs/1904.09751) (top-p)
        - [Nguyen et al., 2024](https://arxiv.org/abs/2407.01082) (min-p)
    """
    _check(temperature, top_k, top_p, samples, min_p)
    rules = make_rules(batch, max_length, bos, eos, pad, max_lengths, min_length, forbidden, copied, words)
    rules = rules._replace(limits=ops.repeat(rules.limits, samples, axis=0))
    rows = ops.shape(rules.limits)[0]
    # All draws are made here, as a seed generator cannot advance inside a loop on JAX. Staying below one keeps the draw
    # below the last cumulative sum despite rounding.
    uniform = random.uniform((max_length, rows), maxval=1.0 - 1e-6, dtype="float32", seed=seed)

    def choose(logits, rollout):
        allowed = restrict(logits, rollout.time, rules, rollout.owed, rollout.terms)
        probabilities, ids = distribution(allowed, temperature, top_k, top_p, min_p)
        index, found = invert(probabilities, ops.take(uniform, rollout.time, axis=0))
        token = index if ids is None else pick(ids, index[:, None])[:, 0]
        return ops.where(found, token, eos)

    owed = None if owed is None else ops.repeat(owed, samples, axis=0)
    state = repeat_rows(state, samples)
    followed = (
        begin_terms(Terms(*(ops.repeat(leaf, samples, axis=0) for leaf in terms)), 1, bos, words) if terms else ()
    )
    rollout = roll(step, state, choose, rules.limits, max_length, bos, pad, eos, owed, rules.copied, followed, words)
    tokens = ops.reshape(rollout.tokens, (batch, samples, max_length))
    scores = ops.reshape(total(rollout), (batch, samples))
    return refuse_nan(Hypotheses(tokens, scores, ops.reshape(lengths(rollout, pad), (batch, samples))))


def distribution(
    logits: Tensor, temperature: float, top_k: int | None, top_p: float | None, min_p: float = 0.0
) -> tuple[Tensor, Tensor | None]:
    """What to draw from.

    Args:
        logits: (N, V) float32, -inf for tokens that may not come next.
        temperature, top_k, top_p, min_p: as for `sample`.

    Returns:
        Tuple of: weights (N, C) float32, at least zero, whose sum is at most one; and the ids (N, C) int32 that they
        belong to, or None where column c is token c.
    """
    logits, ids = logits / temperature, None
    if top_k is not None or (top_p is not None and top_p < 1.0):
        size = logits.shape[-1]
        logits, ids = ops.top_k(logits, size if top_k is None else min(top_k, size))
        ids = ops.cast(ids, "int32")
    weights = ops.exp(logits - ops.logsumexp(logits, axis=-1, keepdims=True))
    if top_p is not None and top_p < 1.0:
        before = ops.cumsum(weights, axis=-1) - weights
        # The first is always kept, however small top_p is and however `before` was rounded.
        kept = ops.logical_or(before < top_p, ops.arange(weights.shape[-1]) == 0)
        weights = ops.where(kept, weights, 0.0)
    if min_p:
        weights = ops.where(weights >= min_p * ops.max(weights, axis=-1, keepdims=True), weights, 0.0)
    return weights, ids


def invert(weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Draws by inverting the cumulative distribution, which needs one random number per row, not one per token.

    Args:
        weights: (N, C) float32, at least zero.
        uniform: (N,) float32 in [0, 1).

    Returns:
        Tuple of: columns (N,) int32, never one of weight zero; and found (N,) bool, False where all weights are zero or
        NaN.
    """
    sums = ops.cumsum(weights, axis=-1)
    above = ops.logical_and(sums > uniform[:, None] * sums[:, -1:], weights > 0.0)
    return ops.cast(ops.argmax(ops.cast(above, "int32"), axis=-1), "int32"), ops.any(above, axis=-1)


def _check(temperature, top_k, top_p, samples, min_p):
    """Raises a ValueError for an option out of range."""
    if not temperature > 0.0:
        raise ValueError(f"temperature must be above zero; `greedy` is zero. Received: temperature={temperature}.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1. Received: top_k={top_k}.")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p must be above 0 and at most 1. Received: top_p={top_p}.")
    if not 0.0 <= min_p < 1.0:
        raise ValueError(f"min_p must be at least 0 and below 1. Received: min_p={min_p}.")
    if samples < 1:
        raise ValueError(f"samples must be at least 1. Received: samples={samples}.")
