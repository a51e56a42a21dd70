"""The loop of every search that follows one hypothesis per row: greedy, sampling and forced scoring."""

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from models import Nested, Step, Tensor
from models.search.copying import no_debt, spend
from models.search.rules import log_probability
from models.search.state import keep_shapes, take_step
from models.search.terms import TermState, Words, add_tokens


class Rollout(NamedTuple):
    """One unfinished hypothesis for each of N rows.

    time: int32 scalar, number of tokens so far.
    last: (N,) int32, the tokens that the next step reads.
    tokens: (N, T) int32, padding where nothing has been chosen yet.
    log_probs: (N, T) float32, the model's log-probability of each token; 0 at padding, NaN for logits that were not
        finite.
    alive: (N,) bool, False after the end, and after logits that were not finite.
    state: nested decoding state with N rows.
    owed: (N, P) bool, which of the P copied tokens must still come.
    terms: the state of the rows' terms, with K = 1; () for none.
    """

    time: Tensor
    last: Tensor
    tokens: Tensor
    log_probs: Tensor
    alive: Tensor
    state: Nested
    owed: Tensor
    terms: TermState | tuple[()]


def roll(
    step: Step,
    state: Nested,
    choose: Callable[[Tensor, Rollout], Tensor],
    limits: Tensor,
    max_length: int | Tensor,
    bos: int,
    pad: int,
    eos: int | None = None,
    owed: Tensor | None = None,
    copied: tuple[int, ...] = (),
    terms: TermState | tuple[()] = (),
    words: Words | None = None,
) -> Rollout:
    """Chooses a token for each row, step by step, until all rows have ended.

    Args:
        step: callable, `(tokens (N,), state) -> (logits (N, V), state)`.
        state: nested decoding state with N rows.
        choose: callable, `(logits (N, V) float32, rollout) -> tokens (N,) int32`.
        limits: (N,) int32. A row ends with its `limits[n]`-th token.
        max_length: int. T; no limit may exceed it.
        bos: int. Token that the first step reads.
        pad: int. Fills up what follows the end.
        eos: int or None. A row also ends with this token.
        owed: optional (N, P) bool, which of the `copied` tokens must still come.
        copied: their P consecutive ids.
        terms: the state of the rows' terms, with K = 1; () for none.
        words: where words begin, for terms.

    Returns:
        The final `Rollout`.
    """

    def advance(rollout):
        logits, state = take_step(step, rollout.last, rollout.state)
        token = ops.cast(choose(logits, rollout), "int32")
        log_prob = log_probability(logits, token)
        here = ops.logical_and(ops.arange(max_length, dtype="int32") == rollout.time, rollout.alive[:, None])
        sound = ops.logical_not(ops.isnan(log_prob))
        alive = ops.logical_and(ops.logical_and(rollout.alive, sound), rollout.time + 1 < limits)
        following = Rollout(
            time=rollout.time + 1,
            last=token,
            tokens=ops.where(here, token[:, None], rollout.tokens),
            log_probs=ops.where(here, log_prob[:, None], rollout.log_probs),
            alive=alive if eos is None else ops.logical_and(alive, token != eos),
            state=state,
            owed=spend(rollout.owed, token, copied),
            terms=add_tokens(rollout.terms, token[:, None], words) if terms else (),
        )
        return (keep_shapes(following, rollout),)

    rows = ops.shape(limits)[0]
    start = Rollout(
        time=ops.convert_to_tensor(0, dtype="int32"),
        last=ops.full((rows,), bos, dtype="int32"),
        tokens=ops.full((rows, max_length), pad, dtype="int32"),
        log_probs=ops.zeros((rows, max_length), dtype="float32"),
        alive=limits > 0,
        state=state,
        owed=no_debt(rows, copied) if owed is None else owed,
        terms=terms,
    )
    return ops.while_loop(lambda rollout: ops.any(rollout.alive), advance, (start,))[0]


def total(rollout: Rollout) -> Tensor:
    """(N,) float32: the sum of the log-probabilities of each row; NaN where logits were not finite."""
    return ops.sum(rollout.log_probs, axis=1)


def lengths(rollout: Rollout, pad: int) -> Tensor:
    """(N,) int32: the number of tokens of each row."""
    return ops.sum(ops.cast(rollout.tokens != pad, "int32"), axis=1)
