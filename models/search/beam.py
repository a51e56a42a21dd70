"""Beam search with the length penalty of GNMT, a separate set of finished hypotheses and an early finish."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from keras import ops, tree

from models import Nested, Step, Tensor
from models.search.copying import copied_range, no_debt, spend
from models.search.ranking import NEVER, rank
from models.search.rules import Rules, make_rules
from models.search.state import (
    Hypotheses,
    by_input,
    keep_shapes,
    map_leaves,
    pick,
    refuse_nan,
    reorder_rows,
    repeat_rows,
    take_step,
)
from models.search.terms import Terms, TermState, Words, add_tokens, begin_terms, follow

# In the length penalty of GNMT.
OFFSET = 5.0


class Beams(NamedTuple):
    """The hypotheses of B inputs during a search: K live ones and the n best finished ones of each.

    time: int32 scalar, number of tokens of the live hypotheses.
    tokens: (B, K, T) int32, live hypotheses.
    scores: (B, K) float32, their log-probabilities, in falling order unless terms change it; -inf where there is none.
        All are -inf once nothing can change an input's finished hypotheses any more.
    last: (B * K,) int32, the tokens that the next step reads.
    state: nested decoding state with B * K rows.
    finished: (B, n, T) int32, finished hypotheses.
    finished_scores: (B, n) float32, penalised, in falling order; -inf where there is none.
    broken: (B,) bool, True where a live hypothesis got logits that were not finite.
    limits: (B,) int32, the maximum length of an input's hypotheses in tokens.
    owed: (B, K, P) bool, which of the P copied tokens a live hypothesis must still contain.
    terms: how far the live hypotheses have got with the terms; () for none.
    """

    time: Tensor
    tokens: Tensor
    scores: Tensor
    last: Tensor
    state: Nested
    finished: Tensor
    finished_scores: Tensor
    broken: Tensor
    limits: Tensor
    owed: Tensor
    terms: TermState | tuple[()]


def length_penalty(length: int | Tensor, alpha: float, offset: float = OFFSET) -> Tensor:
    """`((offset + length) / (offset + 1)) ** alpha`, by which a sum of log-probabilities is divided.

    Args:
        length: number of tokens, including the end token; an int or an int tensor.
        alpha: float. 0 for no penalty; the larger, the longer the preferred hypotheses.
        offset: float, at least 0. With 0 and an alpha of 1 the score is the mean log-probability of a token.

    References:
        - [Wu et al., 2016](https://arxiv.org/abs/1609.08144), equation 14
    """
    return ops.power((offset + ops.cast(length, "float32")) / (offset + 1.0), alpha)


def beam_search(
    step: Step,
    state: Nested,
    batch: int | Tensor,
    beam: int,
    max_length: int | Tensor,
    length_penalty: float = 0.6,
    nbest: int = 1,
    *,
    bos: int,
    eos: int,
    pad: int = 0,
    max_lengths: Tensor | None = None,
    min_length: int = 0,
    forbidden: Sequence[int] = (),
    exact: bool = False,
    copied: Sequence[int] = (),
    owed: Tensor | None = None,
    terms: Terms | None = None,
    words: Words | None = None,
    length_offset: float = OFFSET,
) -> Hypotheses:
    """Finds likely sequences by keeping the K best beginnings at each step.

    - A hypothesis finishes when its end token is among the K best candidates of a step; it then leaves its place in
      the beam to the next best beginning. With one beam and no length penalty this is greedy search.
    - At an input's limit the end token is forced, with the probability that the model gives it. So all hypotheses are
      complete, and `score * penalty` is the log-probability of the tokens, as `score` gives it.
    - The search for an input ends when no live hypothesis, even if it could end now at no cost, would score better
      than the worst of its `nbest` finished ones. In principle, a longer one may still gain from the length penalty;
      with `exact` the search continues until that is impossible, which takes about twice the time and hardly ever finds
      anything.

    Args:
        step: callable, `(tokens (N,), state) -> (logits (N, V), state)`, logits of any float dtype.
        state: nested dict, tuple or list of tensors with B rows, which are repeated to N = B * K here. See
            `models.search.state` for leaves that keep their B rows.
        batch: int. B. In a TensorFlow graph it may also be an int32 scalar.
        beam: int. K.
        max_length: int. T, the maximum length of a hypothesis in tokens, including the end token. In a TensorFlow graph
            it may also be an int32 scalar.
        length_penalty: float. Alpha of `models.search.length_penalty`; `length_offset` is its offset.
        nbest: int. Number n of hypotheses to return for each input, at most K.
        bos: int. Token that starts a sequence.
        eos: int. Token that ends one.
        pad: int. Token that fills up the rest.
        max_lengths: optional (B,) int32. Limits of the individual inputs; larger values are cut to `max_length`.
        min_length: int. The minimum length of a hypothesis in tokens, including the end token. A smaller limit wins.
        forbidden: further ids that are never output, such as that of the unknown token.
        exact: bool. Whether the early finish must not change the result. Without a length penalty it never does.
        copied: P consecutive ids that a hypothesis contains once where they are owed, and otherwise never.
        owed: optional (B, P) bool, which of them each input's hypotheses must contain. A limit of fewer tokens wins.
        terms: optional, the terms of each input; hypotheses must contain them. A limit of fewer tokens wins. Each term
            needs a form whose first token begins a word. See `models.search.terms`.
        words: where words begin, see `models.search.terms`; needed for `terms`.

    Returns:
        `Hypotheses` of tokens (B, n, T), scores (B, n) in falling order and lengths (B, n). A score is a sum of
        log-probabilities, divided by the length penalty.

    Raises:
        ValueError: for options that contradict each other and, when run eagerly, for logits that are not finite.

    References:
        - [Wu et al., 2016](https://arxiv.org/abs/1609.08144)
    """
    options = (min_length, forbidden, exact, copied, words, length_offset)
    search = BeamSearch(step, beam, length_penalty, nbest, bos, eos, pad, *options)
    beams = search.start(state, batch, max_length, max_lengths, owed=owed, terms=terms)
    return refuse_nan(search.hypotheses(search.advance(beams)))


class BeamSearch:
    """Beam search in parts, so that a caller can act between them.

    `beam_search` is one `start`, one `advance` to the end and `hypotheses`. Between two calls of `advance` a caller may
    drop inputs that are done (`select_inputs`), which does not change the others' results, or give the others room for
    more tokens (`lengthen`).

    Args:
        step, beam, length_penalty, nbest, bos, eos, pad, min_length, forbidden, exact, copied, words, length_offset:
            see `beam_search`.
    """

    def __init__(
        self,
        step: Step,
        beam: int,
        length_penalty: float,
        nbest: int,
        bos: int,
        eos: int,
        pad: int = 0,
        min_length: int = 0,
        forbidden: Sequence[int] = (),
        exact: bool = False,
        copied: Sequence[int] = (),
        words: Words | None = None,
        length_offset: float = OFFSET,
    ) -> None:
        if not 1 <= nbest <= beam:
            raise ValueError(f"nbest must be between 1 and the beam size. Received: nbest={nbest}, beam={beam}.")
        self.step, self.beam, self.nbest, self.exact = step, beam, nbest, exact
        self.penalty = _penalty(length_penalty, length_offset)
        forbidden = tuple(map(int, forbidden))
        self.ids: dict[str, Any] = {
            "bos": bos,
            "eos": eos,
            "pad": pad,
            "min_length": min_length,
            "forbidden": forbidden,
            "copied": copied_range(copied),
            "words": words,
        }

    def start(
        self,
        state: Nested,
        batch: int | Tensor,
        max_length: int | Tensor,
        max_lengths: Tensor | None = None,
        room: int | None = None,
        owed: Tensor | None = None,
        terms: Terms | None = None,
    ) -> Beams:
        """`Beams` before the first step: one live hypothesis, as K equal ones would only crowd the beam.

        Args:
            state, batch, max_length, max_lengths, owed, terms: see `beam_search`.
            room: optional int, at most `max_length`. Number of tokens after which the caller will `lengthen`.
        """
        rules = make_rules(batch, max_length, max_lengths=max_lengths, **self.ids)
        room = max_length if room is None else room
        owed = no_debt(batch, rules.copied) if owed is None else owed
        first = ops.arange(self.beam, dtype="int32")[None, :] == ops.zeros((batch, 1), dtype="int32")
        return Beams(
            time=ops.convert_to_tensor(0, dtype="int32"),
            tokens=ops.full((batch, self.beam, room), rules.pad, dtype="int32"),
            scores=ops.where(first, 0.0, NEVER),
            last=ops.full((batch * self.beam,), rules.bos, dtype="int32"),
            state=repeat_rows(state, self.beam),
            finished=ops.full((batch, self.nbest, room), rules.pad, dtype="int32"),
            finished_scores=ops.full((batch, self.nbest), NEVER, dtype="float32"),
            broken=ops.zeros((batch,), dtype="bool"),
            limits=rules.limits,
            owed=ops.repeat(owed[:, None, :], self.beam, axis=1),
            terms=begin_terms(terms, self.beam, rules.bos, rules.words) if terms else (),
        )

    def advance(self, beams: Beams, steps: int | None = None) -> Beams:
        """Continues until all inputs are done, or for `steps` steps. There must be room for them."""
        end = None if steps is None else beams.time + steps

        def more(beams):
            live = ops.any(live_inputs(beams))
            return live if end is None else ops.logical_and(live, beams.time < end)

        return ops.while_loop(more, lambda beams: (self._advance(beams),), (beams,))[0]

    def _advance(self, beams):
        rules = Rules(**self.ids, limits=beams.limits)
        logits, state = take_step(self.step, beams.last, beams.state)
        ranking = rank(logits, beams.scores, beams.time, self.beam, rules, beams.owed, beams.terms)
        following = _move(beams, ranking, state, _finish(beams, ranking, self.penalty, rules), rules)
        return keep_shapes(_stop(following, self.penalty, rules, self.exact), beams)

    def hypotheses(self, beams: Beams) -> Hypotheses:
        """The `Hypotheses` of inputs that are done."""
        scores = ops.where(beams.broken[:, None], float("nan"), beams.finished_scores)
        lengths = ops.sum(ops.cast(beams.finished != self.ids["pad"], "int32"), axis=-1)
        return Hypotheses(beams.finished, scores, lengths)

    def lengthen(self, beams: Beams, steps: int, state: Nested) -> Beams:
        """The same beams with room for `steps` more tokens, and with a `state` that has room for them as well."""

        def longer(tokens):
            return ops.pad(tokens, ((0, 0), (0, 0), (0, steps)), constant_values=self.ids["pad"])

        return beams._replace(tokens=longer(beams.tokens), finished=longer(beams.finished), state=state)


def _penalty(alpha, offset):
    return partial(length_penalty, alpha=alpha, offset=offset)


def live_inputs(beams: Beams) -> Tensor:
    """(B,) bool: inputs whose search continues."""
    return ops.any(beams.scores > NEVER, axis=1)


def select_inputs(beams: Beams, inputs: Tensor) -> Beams:
    """The `Beams` of some of the inputs.

    Args:
        beams: `Beams` of B inputs.
        inputs: (C,) int32, their numbers.
    """
    beam = beams.scores.shape[1]
    rows = ops.reshape(inputs[:, None] * beam + ops.arange(beam, dtype="int32"), (-1,))
    state = map_leaves(lambda leaf, key: ops.take(leaf, inputs if by_input(key) else rows, axis=0), beams.state)
    rest = {name: ops.take(getattr(beams, name), inputs, axis=0) for name in _BY_INPUT}
    rest["terms"] = tree.map_structure(lambda leaf: ops.take(leaf, inputs, axis=0), beams.terms)
    return beams._replace(last=ops.take(beams.last, rows, axis=0), state=state, **rest)


_BY_INPUT = ("tokens", "scores", "finished", "finished_scores", "broken", "limits", "owed")


def _finish(beams, ranking, penalty, rules):
    """Merges hypotheses that end and are among the K best into the finished set. Returns its tokens and scores."""
    beam, nbest = beams.scores.shape[1], beams.finished_scores.shape[1]
    best, index = ops.top_k(ops.concatenate([ranking.end_order, ranking.order], axis=1), beam)
    index = ops.cast(index, "int32")
    if beams.terms:
        best = pick(ops.concatenate([ranking.ends, ranking.scores], axis=1), index)
    ends = index < beam
    ended = ops.where(ends, best / penalty(beams.time + 1), NEVER)
    ended_tokens = _append(beams, ops.where(ends, index, 0), rules.eos)
    # Finished ones come first, so that of two equal hypotheses the earlier stays. Any of those at -inf may be taken, so
    # none of them may leave tokens behind.
    scores, index = ops.top_k(ops.concatenate([beams.finished_scores, ended], axis=1), nbest)
    ended_tokens = ops.where(ops.isfinite(ended)[:, :, None], ended_tokens, rules.pad)
    tokens = ops.concatenate([beams.finished, ended_tokens], axis=1)
    return pick(tokens, ops.cast(index, "int32")), scores


def _move(beams, ranking, state, finished, rules):
    """The K best continuations become the live hypotheses, and the rows of the state follow them."""
    beam = beams.scores.shape[1]
    firsts = beam * ops.arange(ops.shape(beams.scores)[0], dtype="int32")
    rows = ops.reshape(ranking.parents + firsts[:, None], (-1,))
    broken = ops.logical_and(beams.scores > NEVER, ops.logical_not(ranking.finite))
    terms: TermState | tuple[()] = ()
    if beams.terms:
        terms = add_tokens(follow(beams.terms, ranking.parents), ranking.tokens, rules.words)
    return beams._replace(
        time=beams.time + 1,
        tokens=_append(beams, ranking.parents, ranking.tokens[:, :, None]),
        scores=ranking.scores,
        last=ops.reshape(ranking.tokens, (-1,)),
        state=reorder_rows(state, rows),
        finished=finished[0],
        finished_scores=finished[1],
        broken=ops.logical_or(beams.broken, ops.any(broken, axis=1)),
        owed=spend(pick(beams.owed, ranking.parents), ranking.tokens, rules.copied) if rules.copied else beams.owed,
        terms=terms,
    )


def _append(beams, parents, tokens):
    """The tokens (B, K, T) of the hypotheses `parents` (B, K), with one more token each (B, K, 1)."""
    here = ops.arange(ops.shape(beams.tokens)[2], dtype="int32") == beams.time
    return ops.where(here, tokens, pick(beams.tokens, parents))


def _stop(beams, penalty, rules, exact):
    """Removes an input's live hypotheses if they cannot, or probably will not, change the finished ones any more."""
    hopeless = attainable(beams, penalty, rules, exact) <= beams.finished_scores[:, -1]
    return beams._replace(scores=ops.where(hopeless[:, None], NEVER, beams.scores))


def attainable(beams: Beams, penalty: Callable[[Tensor], Tensor], rules: Rules, exact: bool) -> Tensor:
    """(B,) float32: a bound on the penalised scores that live hypotheses reach if they end next; with `exact`, at all.

    Log-probabilities only fall (rounded ones as well: a computed `log_total` is never below the largest logit) and the
    penalty is monotonic in the length. So the best possible case, the exact bound, is that the best live hypothesis
    loses nothing more and ends at the length with the largest penalty: the next one or the limit.
    """
    divisor = penalty(beams.time + 1)
    if exact:
        divisor = ops.maximum(divisor, penalty(rules.limits))
    return ops.max(beams.scores, axis=1) / divisor
