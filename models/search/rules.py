"""Which tokens may come next: end, padding and forbidden tokens, and the shortest and longest output."""

from typing import NamedTuple

from keras import ops

from models.search.state import pick


class Rules(NamedTuple):
    """The special token ids and the limits of one search.

    bos: id that starts the decoder's input and is never put out.
    eos: id that ends a hypothesis.
    pad: id that fills up a finished hypothesis and is never put out.
    forbidden: further ids that are never put out, such as the unknown token.
    min_length: the end token is not allowed as one of the first `min_length - 1` tokens.
    limits: (B,) int32, at least 1; the `limits[b]`-th token of input b is the end token, whatever the model says.
    """

    bos: int
    eos: int
    pad: int
    forbidden: tuple
    min_length: int
    limits: object

    @property
    def never(self):
        """Ids that are never put out, each once."""
        return tuple(sorted({self.bos, self.pad, *self.forbidden}))


def make_rules(batch, max_length, bos, eos, pad, max_lengths=None, min_length=0, forbidden=()):
    """Checks the options that all searches share and makes `Rules` of them.

    Raises:
        ValueError: for lengths below one, a minimum above the maximum, or an end token that may not be put out.
    """
    forbidden = tuple(int(token) for token in forbidden)
    if eos in (bos, pad) or eos in forbidden:
        raise ValueError(f"The end token must differ from bos, pad and forbidden tokens. Received: eos={eos}.")
    if isinstance(max_length, int) and max_length < max(1, min_length):
        raise ValueError(
            f"max_length must be at least 1 and at least min_length. Received: max_length={max_length}, "
            f"min_length={min_length}."
        )
    limits = ops.full((batch,), max_length, dtype="int32")
    if max_lengths is not None:
        limits = ops.maximum(ops.minimum(ops.cast(max_lengths, "int32"), limits), 1)
    return Rules(int(bos), int(eos), int(pad), forbidden, min_length, limits)


def candidates(logits, time, count, rules):
    """The best continuations of each row, and its end.

    Probabilities are the model's own: they are not spread anew over what the rules leave, so that the score of a
    hypothesis is what `score` says about its tokens. Only `count` logits of each row are touched after one logsumexp.

    Args:
        logits: (N, V) float32. V must be known.
        time: int32 scalar, number of tokens before this one.
        count: int. How many continuations are wanted.
        rules: `Rules` whose `limits` has N rows.

    Returns:
        Tuple of: log-probabilities (N, C) float32 (-inf where not allowed), tokens (N, C) int32, and finite (N,) bool,
        False where logits were NaN or infinite. Column 0 is the end token; the others are in falling order.
    """
    size = _vocabulary(logits, rules)
    total = ops.logsumexp(logits, axis=-1, keepdims=True)
    finite = ops.isfinite(total)
    # The end token and those that are never put out may be among the best, so as many more are taken.
    values, tokens = ops.top_k(logits, min(size, count + 1 + len(rules.never)))
    tokens = ops.cast(tokens, "int32")
    allowed = (time + 1 < rules.limits)[:, None]
    for token in (rules.eos, *rules.never):
        allowed = ops.logical_and(allowed, tokens != token)
    end = logits[:, rules.eos : rules.eos + 1]
    end_allowed = ops.broadcast_to(_may_end(time, rules)[:, None], ops.shape(end))
    values = ops.concatenate([end, values], axis=1)
    allowed = ops.concatenate([end_allowed, allowed], axis=1)
    tokens = ops.concatenate([ops.full_like(tokens[:, :1], rules.eos), tokens], axis=1)
    log_probs = ops.where(ops.logical_and(allowed, finite), values - total, float("-inf"))
    return log_probs, tokens, finite[:, 0]


def restrict(logits, time, rules):
    """Sets the logits of tokens that may not come next to -inf. (N, V) float32 -> (N, V)."""
    ids = ops.arange(_vocabulary(logits, rules), dtype="int32")[None, :]
    ends = ids == rules.eos
    allowed = ops.where(ends, _may_end(time, rules)[:, None], (time + 1 < rules.limits)[:, None])
    for token in rules.never:
        allowed = ops.logical_and(allowed, ids != token)
    return ops.where(allowed, logits, float("-inf"))


def log_probability(logits, tokens):
    """Log-probability of one token of each row.

    Args:
        logits: (N, V) float32.
        tokens: (N,) int32.

    Returns:
        Log-probabilities (N,) float32; NaN where logits of the row were NaN or infinite.
    """
    total = ops.logsumexp(logits, axis=-1)
    log_probs = pick(logits, tokens[:, None])[:, 0] - total
    return ops.where(ops.isfinite(total), log_probs, float("nan"))


def _may_end(time, rules):
    """(N,) bool: the end token is allowed as token number `time + 1`. The upper limit wins over the minimum."""
    return ops.logical_or(time + 1 >= rules.min_length, time + 1 >= rules.limits)


def _vocabulary(logits, rules):
    """V, after a look whether the rules leave anything of it."""
    size = logits.shape[-1]
    if size is None or size <= len(rules.never) + 1:
        raise ValueError(
            f"The logits need a known vocabulary size and tokens other than {rules.eos} (the end) and {rules.never} "
            f"(never put out). Received: logits.shape={tuple(logits.shape)}."
        )
    return size
