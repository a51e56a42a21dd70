"""Fuzzy matches: stored segments that are nearly the same as the one to translate."""

import re
from collections.abc import Iterable
from typing import NamedTuple

ALMOST = 0.99  # the similarity of texts that differ only in their spaces
_TOKEN = re.compile("\u27e6\\d+\u27e7|\\w+|[^\\w\\s]")


class Match(NamedTuple):
    """A stored pair whose source resembles a segment.

    Fields:
        number: of the stored segment.
        similarity: 0 to 1; 1 only for the same text.
        source: the stored source.
        target: its translation.
    """

    number: int
    similarity: float
    source: str
    target: str


def tokens_of(text: str) -> list[str]:
    """The words, numbered pieces and other signs of a text."""
    return _TOKEN.findall(text)


def best_matches(source: str, candidates: Iterable[tuple[int, str, str]], least: float) -> list[Match]:
    """The stored pairs that resemble a segment.

    The similarity is 1 - d / max(n, m), where n and m are the numbers of words, pieces and other signs of the two
    texts, and d is the least number of them to insert, delete or replace to turn one text into the other. Case
    matters. Numbers that were set aside are pieces, so texts that differ only in such numbers are the same.

    Args:
        source: the segment, with its spans as pieces.
        candidates: stored pairs: number, source and target. BM25 finds them.
        least: the lowest similarity wanted.

    Returns:
        The matches, most similar first; of equally similar ones, the lower number first.

    References:
        Koehn and Senellart 2010, Convergence of Translation Memory and Statistical Machine Translation
    """
    tokens = tokens_of(source)
    found = (Match(number, _similarity(source, tokens, other, least), other, to) for number, other, to in candidates)
    return sorted(
        (match for match in found if match.similarity >= least), key=lambda match: (-match.similarity, match.number)
    )


def _similarity(source: str, tokens: list[str], other: str, least: float) -> float:
    """The similarity; any number below `least` if the similarity is below it."""
    from rapidfuzz.distance import Levenshtein

    if source == other:
        return 1.0
    # A little below the cutoff: rounding must not lose a match that lies exactly on it.
    found = Levenshtein.normalized_similarity(tokens, tokens_of(other), score_cutoff=max(0.0, least - 1e-6))
    return min(found, ALMOST)
