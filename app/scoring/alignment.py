"""A word aligner in numpy: which target word translates which source word."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

# As in fast_align: the prior probability of the empty word, how strongly words align along the diagonal, and the
# Dirichlet prior that keeps rare words from collecting all leftover words.
_EMPTY, _TENSION, _ALPHA = 0.08, 4.0, 0.01
_ITERATIONS = 5
_LONGEST = 40  # words per side; longer pairs add little and are slow
_BLOCK = 2000  # segments aligned at once, to limit memory
# Probability of an unseen word pair: below that of any seen pair and of the empty word.
_UNSEEN = 1e-9

Words = Sequence[str]


class Links(NamedTuple):
    """All pairs of a source and a target word in the same segment, as flat arrays of equal length.

    Args:
        source, target: vocabulary indices of the words; -1 for an unknown word.
        source_place, target_place: positions of the words in the whole text.
        near: closeness to the diagonal: exp(-tension * distance), not normalised.
        sources, targets: number of words in the whole text.
    """

    source: np.ndarray
    target: np.ndarray
    source_place: np.ndarray
    target_place: np.ndarray
    near: np.ndarray
    sources: int
    targets: int


class Aligner:
    """IBM model 1 with a diagonal prior, in both directions; words are linked if both directions agree.

    A simplified fast_align with fixed tension, trained by five iterations of variational Bayes. The same text gives the
    same aligner.

    Args:
        pairs: segments with their translations, as words.
        iterations: training iterations.

    Example:
        >>> aligner = Aligner([(["the", "house"], ["das", "haus"]), (["the", "book"], ["das", "buch"])])
        >>> aligner.align([(["the", "book"], ["das", "buch"])])
        [{0: 0, 1: 1}]

    References:
        - Dyer, Chahuneau and Smith 2013, A Simple, Fast, and Effective Reparameterization of IBM Model 2,
          https://aclanthology.org/N13-1073
        - Och and Ney 2003, A Systematic Comparison of Various Statistical Alignment Models,
          https://aclanthology.org/J03-1002 (the intersection of both directions)
    """

    def __init__(self, pairs: Iterable[tuple[Words, Words]], iterations: int = _ITERATIONS):
        pairs = [pair for pair in pairs if all(0 < len(side) <= _LONGEST for side in pair)]
        self._source = _number(word for source, _ in pairs for word in source)
        self._target = _number(word for _, target in pairs for word in target)
        links = self._links(pairs)
        self._keys, key = np.unique(self._key(links), return_inverse=True)
        key = key.astype("int32")
        self._frequencies = [
            _frequencies(links.source, links.source_place, len(self._source)),
            _frequencies(links.target, links.target_place, len(self._target)),
        ]
        # For each word pair: the target word's probability given the source word, and vice versa.
        self._tables = [self._train(links, key, forward, iterations) for forward in (True, False)]

    def align(self, pairs: Sequence[tuple[Words, Words]]) -> list[dict[int, int]]:
        """Finds which target word translates which source word.

        Args:
            pairs: segments with their translations, as words.

        Returns:
            For each pair, a mapping from source word index to target word index; unaligned words are left out.
        """
        if not len(self._keys):
            return [{} for _ in pairs]
        blocks = (pairs[start : start + _BLOCK] for start in range(0, len(pairs), _BLOCK))
        return [found for block in blocks for found in self._align(block)]

    def scores(self, pairs: Sequence[tuple[Words, Words]]) -> np.ndarray:
        """How well the two sides of each pair explain each other.

        Args:
            pairs: segments with their translations, as words.

        Returns:
            (pairs,): the mean over the words of both sides of log p(word | other side) - log p(word), in nats; log 0.08
            for a word that nothing explains. NaN if neither side has a word.
        """
        found = [self._scores(pairs[start : start + _BLOCK]) for start in range(0, len(pairs), _BLOCK)]
        return np.concatenate([np.zeros(0), *found])

    def _scores(self, pairs: Sequence[tuple[Words, Words]]) -> np.ndarray:
        links, gains = self._links(pairs), np.zeros(len(pairs))
        for side, (forward, table) in enumerate(zip((False, True), reversed(self._tables), strict=True)):
            place, count = _explained(links, forward)
            found = np.zeros(count)
            if len(self._keys):
                weight = _prior(links, forward) * self._look_up(links, table) / self._empty(links, forward)
                found = np.bincount(place, weight, minlength=count)
            lengths = [len(pair[side]) for pair in pairs]
            gains += np.bincount(np.repeat(range(len(pairs)), lengths), np.log(found + _EMPTY), minlength=len(pairs))
        words = np.array([len(source) + len(target) for source, target in pairs])
        return np.divide(gains, words, out=np.full(len(pairs), np.nan), where=words > 0)

    def _align(self, pairs: Sequence[tuple[Words, Words]]) -> list[dict[int, int]]:
        links = self._links(pairs)
        chosen = np.ones(len(links.source), bool)
        for forward, table in zip((True, False), self._tables, strict=True):
            weight = _prior(links, forward) * self._look_up(links, table)
            chosen &= _best(links, _posterior(links, weight, self._empty(links, forward), forward), forward)
        places = zip(links.source_place[chosen].tolist(), links.target_place[chosen].tolist(), strict=True)
        return _by_segment(pairs, list(places))

    def _train(self, links: Links, key: np.ndarray, forward: bool, iterations: int) -> np.ndarray:
        """(pairs of words,): translation probabilities of one direction."""
        given = (self._keys // len(self._target)) if forward else (self._keys % len(self._target))
        words = len(self._source if forward else self._target)
        others = len(self._target if forward else self._source)
        prior, empty = _prior(links, forward), self._empty(links, forward)
        table = np.full(len(self._keys), 1 / max(1, others))
        for _ in range(iterations):
            counts = np.bincount(key, _posterior(links, prior * table[key], empty, forward))
            totals = np.bincount(given, counts, minlength=words)
            table = np.exp(_digamma(counts + _ALPHA) - _digamma(totals + _ALPHA * others)[given])
        return table

    def _key(self, links: Links) -> np.ndarray:
        """(links,): one key for each word pair."""
        return links.source.astype("int64") * len(self._target) + links.target

    def _empty(self, links: Links, forward: bool) -> np.ndarray:
        """(links,): probability that the empty word explains a word: that word's share of the text."""
        word = links.target if forward else links.source
        frequencies = self._frequencies[1 if forward else 0]
        return np.where(word < 0, 1 / max(1, len(frequencies)), frequencies[word])

    def _look_up(self, links: Links, table: np.ndarray) -> np.ndarray:
        """(links,): translation probabilities, for any text."""
        wanted = self._key(links)
        place = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        known = (links.source >= 0) & (links.target >= 0) & (self._keys[place] == wanted)
        return np.where(known, table[place], _UNSEEN)

    def _links(self, pairs: Sequence[tuple[Words, Words]]) -> Links:
        columns: list[list[np.ndarray]] = [[] for _ in range(5)]
        sources = targets = 0
        for source, target in pairs:
            n, m = len(source), len(target)
            here = np.arange(n, dtype="int32"), np.arange(m, dtype="int32")
            numbers = [self._source.get(word, -1) for word in source], [self._target.get(word, -1) for word in target]
            distance = np.abs((here[0][None] + 0.5) / max(1, n) - (here[1][:, None] + 0.5) / max(1, m))
            columns[0].append(np.tile(np.array(numbers[0], "int32"), m))
            columns[1].append(np.repeat(np.array(numbers[1], "int32"), n))
            columns[2].append(np.tile(here[0] + sources, m))
            columns[3].append(np.repeat(here[1] + targets, n))
            columns[4].append(np.exp(-_TENSION * distance).ravel())
            sources, targets = sources + n, targets + m
        empty = np.zeros(0, "int32")
        one, two, three, four = (np.concatenate([empty, *column]) for column in columns[:4])
        return Links(one, two, three, four, np.concatenate([np.zeros(0), *columns[4]]), sources, targets)


def _explained(links: Links, forward: bool) -> tuple[np.ndarray, int]:
    """(links,): the position of the word that each link explains, and the number of such words."""
    return (links.target_place, links.targets) if forward else (links.source_place, links.sources)


def _prior(links: Links, forward: bool) -> np.ndarray:
    """(links,): the prior of each link, from its position alone."""
    place, count = _explained(links, forward)
    return (1 - _EMPTY) * links.near / np.bincount(place, links.near, minlength=count)[place]


def _posterior(links: Links, weight: np.ndarray, empty: np.ndarray, forward: bool) -> np.ndarray:
    """(links,): the posterior of each link among all explanations of the same word, including the empty word."""
    place, count = _explained(links, forward)
    return weight / (np.bincount(place, weight, minlength=count)[place] + _EMPTY * empty)


def _best(links: Links, posterior: np.ndarray, forward: bool) -> np.ndarray:
    """(links,): whether the link is the most likely explanation of its word, ahead of the empty word."""
    place, count = _explained(links, forward)
    order = np.lexsort((posterior, place))
    last = np.ones(len(order), bool)
    last[:-1] = place[order][1:] != place[order][:-1]
    chosen = np.zeros(len(posterior), bool)
    chosen[order[last]] = True
    return chosen & (posterior > 1 - np.bincount(place, posterior, minlength=count)[place])


def _by_segment(pairs: Sequence[tuple[Words, Words]], places: list[tuple[int, int]]) -> list[dict[int, int]]:
    """Converts positions in the whole text to positions in their segments."""
    found: list[dict[int, int]] = []
    target_of = dict(places)
    sources = targets = 0
    for source, target in pairs:
        inside = {n: target_of[sources + n] - targets for n in range(len(source)) if sources + n in target_of}
        found.append(inside)
        sources, targets = sources + len(source), targets + len(target)
    return found


def _number(words: Iterable[str]) -> dict[str, int]:
    return {word: number for number, word in enumerate(dict.fromkeys(words))}


def _frequencies(words: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """(vocabulary,): each word's share of the text."""
    counts = np.bincount(words[np.unique(places, return_index=True)[1]], minlength=size)
    return counts / max(1, counts.sum())


def _digamma(x: np.ndarray) -> np.ndarray:
    """The derivative of log gamma, for x above 0: shifted up by recurrence, then the asymptotic series."""
    x, shift = np.asarray(x, "float64"), np.zeros_like(x, "float64")
    for _ in range(6):
        shift, x = shift - 1 / x, x + 1
    square = 1 / (x * x)
    return shift + np.log(x) - 0.5 / x - square * (1 / 12 - square * (1 / 120 - square / 252))
