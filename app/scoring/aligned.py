"""Finds pairs whose sides are translations of each other, by aligning their words."""

from collections.abc import Callable, Sequence

import numpy as np

from app.scoring.alignment import Aligner, Words
from app.scoring.words import source_words, target_words
from data.pairs import Pair

_LINKS = 10_000_000  # pairs of words that an aligner learns from: about 1 GB, half a minute


def alignment_scores(
    pairs: Sequence[Pair], source: str, target: str, progress: Callable[[float], None] | None = None
) -> np.ndarray:
    """How well the sides of each pair explain each other, see `Aligner.scores`.

    An aligner trained on every other pair scores the pairs between them, and the other way round. So no pair is scored
    by an aligner that learnt from it: the rare words of a wrong pair would explain each other.

    Args:
        pairs: the segments of a corpus.
        source, target: the languages.
        progress: called with the share done.

    Returns:
        (pairs,): in nats per word; infinite for pairs without words, such as numbers, which cannot be judged.
    """
    words = [(source_words(pair.source, source), target_words(pair.target, target)) for pair in pairs]
    scores = np.zeros(len(pairs))
    for half in range(2):
        aligner = Aligner(_sample(words[1 - half :: 2]))
        if progress:
            progress((half + 0.8) / 2)
        scores[half::2] = aligner.scores(words[half::2])
        if progress:
            progress((half + 1) / 2)
    return np.where(np.isnan(scores), np.inf, scores)


def divided(scores: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """The places of the pairs with the highest scores, in order, up to this share; and of the others, worst first."""
    worst_first = np.argsort(scores, kind="stable")
    border = round(len(scores) * (1 - share))
    return np.sort(worst_first[border:]), worst_first[:border]


def _sample(words: Sequence[tuple[Words, Words]]) -> Sequence[tuple[Words, Words]]:
    """Evenly spread pairs with about `_LINKS` pairs of words."""
    links = sum(len(source) * len(target) for source, target in words)
    return words[:: max(1, -(-links // _LINKS))]
