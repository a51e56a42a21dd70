"""Which tokens may come next: end, padding and forbidden tokens, and the shortest and longest output."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from models import Tensor
from models.search.copying import copied_range, debt, only_owed
from models.search.state import pick
from models.search.terms import TermState, Words, look_ahead, promote


class Rules(NamedTuple):
    """The special token ids and the limits of one search.

    bos: id that starts the decoder's input and is never output.
    eos: id that ends a hypothesis.
    pad: id that fills up a finished hypothesis and is never output.
    forbidden: further ids that are never output, such as the unknown token.
    min_length: the end token is not allowed as one of the first `min_length - 1` tokens.
    limits: (B,) int32, at least 1; the `limits[b]`-th token of input b is the end token, whatever the model says.
    copied: consecutive ids, output once where they are owed and otherwise never; see `models.search.copying`.
    words: `models.search.terms.Words`, for terms.
    """

    bos: int
    eos: int
    pad: int
    forbidden: tuple
    min_length: int
    limits: Tensor
    copied: tuple = ()
    words: Any = None

    @property
    def never(self) -> tuple[int, ...]:
        """Ids that are never output, each once."""
        return tuple(sorted({self.bos, self.pad, *self.forbidden}))


def make_rules(
    batch: int | Tensor,
    max_length: int | Tensor,
    bos: int,
    eos: int,
    pad: int,
    max_lengths: Tensor | None = None,
    min_length: int = 0,
    forbidden: Sequence[int] = (),
    copied: Sequence[int] = (),
    words: Words | None = None,
) -> Rules:
    """Checks the options that all searches share and turns them into `Rules`.

    Raises:
        ValueError: for lengths below one, a minimum above the maximum, or an end token that may not be output.
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
    return Rules(int(bos), int(eos), int(pad), forbidden, min_length, limits, copied_range(copied), words)


def restrict(
    logits: Tensor, time: Tensor, rules: Rules, owed: Tensor | None = None, terms: TermState | tuple[()] = ()
) -> Tensor:
    """Sets the logits of tokens that may not come next to -inf, and adds the bonus of terms to the others.

    Args:
        logits: (N, V) float32.
        time: int32 scalar, number of tokens before this one.
        rules: `Rules` with N limits.
        owed: (N, P) bool, which of `rules.copied` must still come.
        terms: the state of each row's terms, with K = 1; () for none.

    Returns:
        Logits (N, V).
    """
    ids = ops.arange(vocabulary(logits, rules), dtype="int32")[None, :]
    ends = ids == rules.eos
    allowed = ops.where(ends, may_end(time, rules)[:, None], (time + 1 < rules.limits)[:, None])
    for token in rules.never:
        allowed = ops.logical_and(allowed, ids != token)
    if not rules.copied and not terms:
        return ops.where(allowed, logits, float("-inf"))
    promoted, needed, nearer = logits, None, ops.zeros((1, 1), dtype="bool")
    if terms:
        outlook = look_ahead(terms, rules.words)
        promoted, nearer = promote(logits, outlook, terms.terms, rules.words)
        needed = outlook.needed[:, 0]
    count = debt(owed, needed)
    only = only_owed(logits, ops.max(logits, axis=-1), count, time, rules.limits, rules.eos)
    free = ops.logical_or(nearer, ops.logical_not(only)[:, None])
    free = _copies_free(free, owed, rules, vocabulary(logits, rules))
    free = ops.where(ends, (count == 0)[:, None], free)
    allowed = ops.logical_and(allowed, ops.logical_or((time + 1 >= rules.limits)[:, None], free))
    return ops.where(allowed, promoted, float("-inf"))


def _copies_free(free, owed, rules, size):
    """(N, V) or (N, 1) bool: the free tokens; among the copied ones, those that are owed."""
    if not rules.copied:
        return free
    free, first = ops.broadcast_to(free, (ops.shape(owed)[0], size)), rules.copied[0]
    return ops.concatenate([free[:, :first], owed, free[:, first + len(rules.copied) :]], axis=1)


def log_probability(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability of one token of each row.

    Args:
        logits: (N, V) float32.
        tokens: (N,) int32.

    Returns:
        Log-probabilities (N,) float32; NaN where logits of the row are NaN or infinite.
    """
    total = log_total(logits)[:, 0]
    log_probs = pick(logits, tokens[:, None])[:, 0] - total
    return ops.where(ops.isfinite(total), log_probs, float("nan"))


def log_total(logits: Tensor, largest: Tensor | None = None) -> Tensor:
    """Logarithm of the sum of exponentials, never below the largest logit: (N, V) float32 -> (N, 1).

    It is derived from the largest probability, as softmax is a single fast operation and logsumexp is several. NaN
    where a logit is NaN or +inf, or all are -inf. The largest logits (N, 1) may be given if they are known.
    """
    most = ops.max(ops.softmax(logits, axis=-1), axis=-1, keepdims=True)
    largest = ops.max(logits, axis=-1, keepdims=True) if largest is None else largest
    return largest - ops.log(ops.minimum(most, 1.0))


def may_end(time: Tensor, rules: Rules) -> Tensor:
    """(N,) bool: whether the end token is allowed as token number `time + 1`. The upper limit overrides the minimum."""
    return ops.logical_or(time + 1 >= rules.min_length, time + 1 >= rules.limits)


def vocabulary(logits: Tensor, rules: Rules) -> Tensor:
    """V, after checking that the rules leave some of it."""
    size = logits.shape[-1]
    if size is None or size <= len(rules.never) + 1:
        raise ValueError(
            f"The logits need a known vocabulary size and tokens other than {rules.eos} (the end) and {rules.never} "
            f"(never generated). Received: logits.shape={tuple(logits.shape)}."
        )
    return size
