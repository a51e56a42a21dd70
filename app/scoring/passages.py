"""Passages of documents whose translations gain most from their context: text that makes context worth reading."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from app.scoring.forced import part_of, score_in_blocks
from app.translation.translator import Translator
from data.pairs import Pair, by_document


class Passage(NamedTuple):
    """Consecutive segments of a document.

    pairs: the segments.
    gain: what their context in the passage adds to the log-probability of their translations, in nats.
    tokens: the number of tokens of the translations, end tokens included.
    """

    pairs: list[Pair]
    gain: float
    tokens: int


def cut_passages(pairs: Iterable[Pair], most: int) -> list[list[Pair]]:
    """Cuts documents into passages of about equal lengths.

    Args:
        pairs: the segments of a corpus.
        most: the most segments in a passage.

    Returns:
        The passages, each as a document of its own. Segments without any context are left out.
    """
    found = []
    for own in by_document(pairs):
        parts, doc = -(-len(own) // most), own[0].doc
        bounds = itertools.pairwise(len(own) * part // parts for part in range(parts + 1))
        for number, (begin, end) in enumerate(bounds, start=1):
            name = doc if parts == 1 else f"{doc}#{number}"
            found.append([pair._replace(doc=name) for pair in own[begin:end]])
    return [own for own in found if own[0].doc and len(own) > 1]


def gains(
    translator: Translator, passages: Sequence[Sequence[Pair]], progress: Callable[[float], None] | None = None
) -> list[Passage]:
    """How much each passage gains from its context, measured with a model that reads context; see `app.scoring.cxmi`.

    Args:
        translator: the model's translator.
        passages: from `cut_passages`.
        progress: called with the share done.
    """
    pairs = [[pair[:2] for pair in own] for own in passages]
    single = [[pair] for own in pairs for pair in own]
    right = score_in_blocks(translator, pairs, "all", part_of(progress, 0, 2))
    alone = iter(score_in_blocks(translator, single, "all", part_of(progress, 1, 2)))
    found = []
    for own, scores in zip(passages, right, strict=True):
        without = [next(alone)[0] for _ in own]
        gain = sum(score.log_probability for score in scores) - sum(score.log_probability for score in without)
        found.append(Passage(list(own), gain, sum(score.tokens for score in without)))
    return found


def richest(passages: Sequence[Passage], share: float) -> list[Passage]:
    """The passages that gain most per token, in their order, until they make up this share of all segments.

    A passage that gains nothing is never chosen; the one that gains most always is, if it gains anything.
    """
    order = sorted(range(len(passages)), key=lambda number: -cxmi(passages[number : number + 1]))
    room, chosen = share * sum(len(passage.pairs) for passage in passages), []
    for number in order:
        if passages[number].gain <= 0 or room <= 0:
            break
        chosen.append(number)
        room -= len(passages[number].pairs)
    return [passages[number] for number in sorted(chosen)]


def cxmi(passages: Sequence[Passage]) -> float:
    """The gain in nats per target token."""
    return sum(passage.gain for passage in passages) / max(sum(passage.tokens for passage in passages), 1)
