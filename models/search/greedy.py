"""Greedy search: the likeliest token at each step."""

from collections.abc import Sequence

from keras import ops

from models import Nested, Step, Tensor
from models.search.copying import no_debt
from models.search.ranking import rank
from models.search.rollout import lengths, roll, total
from models.search.rules import make_rules
from models.search.state import Hypotheses, refuse_nan
from models.search.terms import Terms, Words, begin_terms


def greedy(
    step: Step,
    state: Nested,
    batch: int | Tensor,
    max_length: int | Tensor,
    bos: int,
    eos: int,
    pad: int = 0,
    *,
    max_lengths: Tensor | None = None,
    min_length: int = 0,
    forbidden: Sequence[int] = (),
    copied: Sequence[int] = (),
    owed: Tensor | None = None,
    terms: Terms | None = None,
    words: Words | None = None,
) -> Hypotheses:
    """Takes the likeliest token at each step.

    At an input's limit the end token is forced, with the probability that the model gives it, so every hypothesis is
    complete. `bos` and `pad` are never output.

    Args:
        step: callable, `(tokens (B,), state) -> (logits (B, V), state)`, logits of any float dtype.
        state: nested dict, tuple or list of tensors with B rows. See `models.search.state`.
        batch: int. B. In a TensorFlow graph it may also be an int32 scalar.
        max_length: int. T, the maximum length of a hypothesis in tokens, including the end token. In a TensorFlow graph
            it may also be an int32 scalar.
        bos: int. Token that starts a sequence.
        eos: int. Token that ends one.
        pad: int. Token that fills up the rest.
        max_lengths: optional (B,) int32. Limits of the individual inputs; larger values are cut to `max_length`.
        min_length: int. The minimum length of a hypothesis in tokens, including the end token. A smaller limit wins.
        forbidden: further ids that are never output, such as that of the unknown token.
        copied, owed, terms, words: see `beam_search`.

    Returns:
        `Hypotheses` of tokens (B, T), scores (B,) and lengths (B,). A score is a sum of log-probabilities.

    Raises:
        ValueError: for options that contradict each other and, when run eagerly, for logits that are not finite.
    """
    rules = make_rules(batch, max_length, bos, eos, pad, max_lengths, min_length, forbidden, copied, words)
    owed = no_debt(batch, rules.copied) if owed is None else owed

    def choose(logits, rollout):
        scores, owed = ops.zeros((batch, 1), "float32"), rollout.owed[:, None, :]
        ranking = rank(logits, scores, rollout.time, 1, rules, owed, rollout.terms)
        return ops.where(ranking.end_order >= ranking.order, rules.eos, ranking.tokens)[:, 0]

    followed = begin_terms(terms, 1, bos, words) if terms else ()
    rollout = roll(step, state, choose, rules.limits, max_length, bos, pad, eos, owed, rules.copied, followed, words)
    return refuse_nan(Hypotheses(rollout.tokens, total(rollout), lengths(rollout, pad)))
