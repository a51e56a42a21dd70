"""Beam search with the length penalty of GNMT, a separate set of finished hypotheses and an exact early finish."""

from typing import NamedTuple

from keras import ops

from models.search.rules import candidates, make_rules
from models.search.state import Hypotheses, keep_shapes, pick, refuse_nan, reorder_rows, repeat_rows, take_step

NEVER = float("-inf")


class Beams(NamedTuple):
    """The hypotheses of B inputs in the making: K live ones and the n best finished ones of each.

    time: int32 scalar, number of tokens of the live hypotheses.
    tokens: (B, K, T) int32, live hypotheses.
    scores: (B, K) float32, their log-probabilities in falling order; -inf where there is none. All are -inf once
        nothing can change the finished ones of an input any more.
    last: (B * K,) int32, the tokens that the next step reads.
    state: nested decoding state with B * K rows.
    finished: (B, n, T) int32, finished hypotheses.
    finished_scores: (B, n) float32, penalised, in falling order; -inf where there is none.
    broken: (B,) bool, True where a live hypothesis got logits that were not finite.
    """

    time: object
    tokens: object
    scores: object
    last: object
    state: object
    finished: object
    finished_scores: object
    broken: object


def length_penalty(length, alpha):
    """`((5 + length) / 6) ** alpha`, by which a sum of log-probabilities is divided.

    Args:
        length: int tensor or number of tokens, the end token included.
        alpha: float. 0 for no penalty; the larger, the longer the preferred hypotheses.

    References:
        - [Wu et al., 2016](https://arxiv.org/abs/1609.08144), equation 14
    """
    return ops.power((5.0 + ops.cast(length, "float32")) / 6.0, alpha)


def beam_search(
    step,
    state,
    batch,
    beam,
    max_length,
    length_penalty=0.6,
    nbest=1,
    *,
    bos,
    eos,
    pad=0,
    max_lengths=None,
    min_length=0,
    forbidden=(),
):
    """Finds likely sequences by keeping the K best beginnings at each step.

    - A hypothesis finishes when its end token is among the K best candidates of a step; it then leaves its place in
      the beam to the next best beginning. With one beam and no length penalty this is greedy search.
    - The token at an input's limit is the end token, with the probability that the model gives it. So all hypotheses
      are complete, and `score * penalty` is the log-probability of the tokens, as `score` gives it.
    - The search for an input ends when no live hypothesis can come to a better score than the worst of its `nbest`
      finished ones, even if every further token had probability one and the best attainable length. That changes
      nothing in the result.

    Args:
        step: callable, `(tokens (N,), state) -> (logits (N, V), state)`, logits of any float dtype.
        state: nested dict, tuple or list of tensors with B rows, which are repeated to N = B * K here. See
            `models.search.state` for leaves under the key `"fixed"`.
        batch: int. B. In a TensorFlow graph also an int32 scalar.
        beam: int. K.
        max_length: int. T, the most tokens of a hypothesis, the end token included. In a TensorFlow graph also an int32
            scalar.
        length_penalty: float. Alpha of `models.search.length_penalty`.
        nbest: int. Number n of hypotheses to return for each input, at most K.
        bos: int. Token that starts a sequence.
        eos: int. Token that ends one.
        pad: int. Token that fills up what follows.
        max_lengths: optional (B,) int32. Limits of the single inputs; what is above `max_length` is cut to it.
        min_length: int. The fewest tokens of a hypothesis, the end token included. A smaller limit wins.
        forbidden: ids that may not be put out either, such as that of the unknown token.

    Returns:
        `Hypotheses` of tokens (B, n, T), scores (B, n) in falling order and lengths (B, n). A score is a sum of
        log-probabilities over the length penalty.

    Raises:
        ValueError: for options that contradict each other and, when run eagerly, for logits that are not finite.

    References:
        - [Wu et al., 2016](https://arxiv.org/abs/1609.08144)
    """
    if not 1 <= nbest <= beam:
        raise ValueError(f"nbest must be between 1 and the beam size. Received: nbest={nbest}, beam={beam}.")
    rules = make_rules(batch, max_length, bos, eos, pad, max_lengths, min_length, forbidden)
    rules_of_rows = rules._replace(limits=ops.repeat(rules.limits, beam, axis=0))

    def advance(beams):
        logits, new_state = take_step(step, beams.last, beams.state)
        choices = candidates(logits, beams.time, beam, rules_of_rows)
        best = _best_candidates(beams, choices)
        following = _move(beams, best, new_state, _finish(beams, best, length_penalty, rules))
        return (keep_shapes(_stop(following, length_penalty, rules), beams),)

    start = _start(state, batch, beam, nbest, max_length, rules)
    beams = ops.while_loop(lambda beams: ops.any(beams.scores > NEVER), advance, (start,))[0]
    scores = ops.where(beams.broken[:, None], float("nan"), beams.finished_scores)
    lengths = ops.sum(ops.cast(beams.finished != pad, "int32"), axis=-1)
    return refuse_nan(Hypotheses(beams.finished, scores, lengths))


class _Best(NamedTuple):
    """The 2 K best candidates of each input: enough for K that go on, as at most K of them end.

    scores: (B, 2 K) float32, log-probabilities of the whole hypotheses in falling order.
    parents: (B, 2 K) int32, which live hypothesis each continues.
    last: (B, 2 K) int32, the new token.
    tokens: (B, 2 K, T) int32, the whole hypothesis.
    ends: (B, 2 K) bool, whether the new token is the end.
    broken: (B,) bool, whether a live hypothesis got logits that are not finite.
    """

    scores: object
    parents: object
    last: object
    tokens: object
    ends: object
    broken: object


def _start(state, batch, beam, nbest, max_length, rules):
    """`Beams` with one live hypothesis: of K equal ones, all but the first would only crowd the beam."""
    first = ops.arange(beam, dtype="int32")[None, :] == ops.zeros((batch, 1), dtype="int32")
    return Beams(
        time=ops.convert_to_tensor(0, dtype="int32"),
        tokens=ops.full((batch, beam, max_length), rules.pad, dtype="int32"),
        scores=ops.where(first, 0.0, NEVER),
        last=ops.full((batch * beam,), rules.bos, dtype="int32"),
        state=repeat_rows(state, beam),
        finished=ops.full((batch, nbest, max_length), rules.pad, dtype="int32"),
        finished_scores=ops.full((batch, nbest), NEVER, dtype="float32"),
        broken=ops.zeros((batch,), dtype="bool"),
    )


def _best_candidates(beams, choices):
    """Ranks the candidates of all live hypotheses of an input together. Returns `_Best`."""
    log_probs, tokens, finite = choices
    batch, beam, length = ops.shape(beams.tokens)
    columns = log_probs.shape[1]
    totals = beams.scores[:, :, None] + ops.reshape(log_probs, (batch, beam, columns))
    scores, index = ops.top_k(ops.reshape(totals, (batch, beam * columns)), 2 * beam)
    index = ops.cast(index, "int32")
    parents = index // columns
    last = pick(ops.reshape(tokens, (batch, beam * columns)), index)
    here = ops.arange(length, dtype="int32") == beams.time
    whole = ops.where(here, last[:, :, None], pick(beams.tokens, parents))
    alive = beams.scores > NEVER
    broken = ops.logical_and(alive, ops.logical_not(ops.reshape(finite, (batch, beam))))
    return _Best(scores, parents, last, whole, index % columns == 0, ops.any(broken, axis=1))


def _finish(beams, best, alpha, rules):
    """Merges candidates that end, if among the K best, into the finished set. Returns its tokens and scores."""
    beam, nbest = beams.scores.shape[1], beams.finished_scores.shape[1]
    penalised = best.scores[:, :beam] / length_penalty(beams.time + 1, alpha)
    ended = ops.where(best.ends[:, :beam], penalised, NEVER)
    # Finished ones come first, so that of two equal hypotheses the earlier stays. Of those that are -inf any may be
    # taken, and none may leave tokens behind.
    scores, index = ops.top_k(ops.concatenate([beams.finished_scores, ended], axis=1), nbest)
    ended_tokens = ops.where(ops.isfinite(ended)[:, :, None], best.tokens[:, :beam], rules.pad)
    tokens = ops.concatenate([beams.finished, ended_tokens], axis=1)
    return pick(tokens, ops.cast(index, "int32")), scores


def _move(beams, best, state, finished):
    """The K best candidates that go on become the live hypotheses, and the rows of the state follow them."""
    batch, beam = ops.shape(beams.scores)
    scores, index = ops.top_k(ops.where(best.ends, NEVER, best.scores), beam)
    index = ops.cast(index, "int32")
    parents = pick(best.parents, index)
    rows = ops.reshape(parents + beam * ops.arange(batch, dtype="int32")[:, None], (-1,))
    return Beams(
        time=beams.time + 1,
        tokens=pick(best.tokens, index),
        scores=scores,
        last=ops.reshape(pick(best.last, index), (-1,)),
        state=reorder_rows(state, rows),
        finished=finished[0],
        finished_scores=finished[1],
        broken=ops.logical_or(beams.broken, best.broken),
    )


def _stop(beams, alpha, rules):
    """Takes away the live hypotheses of inputs where they cannot change the finished ones any more."""
    hopeless = attainable(beams, alpha, rules) <= beams.finished_scores[:, -1]
    return beams._replace(scores=ops.where(hopeless[:, None], NEVER, beams.scores))


def attainable(beams, alpha, rules):
    """(B,) float32: a bound of the penalised scores to which live hypotheses can still come.

    Log-probabilities only fall (rounded ones as well: a computed logsumexp is never below the largest logit) and the
    penalty is monotonic in the length. So the best that can happen is that the best live hypothesis loses nothing more
    and ends at the length with the largest penalty: the next one or the limit.
    """
    nearest = length_penalty(beams.time + 1, alpha)
    return beams.scores[:, 0] / ops.maximum(nearest, length_penalty(rules.limits, alpha))
