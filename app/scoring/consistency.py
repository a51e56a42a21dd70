"""Term consistency: is a source word that a document repeats always translated in the same way?"""

import hashlib
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from app.scoring.alignment import Aligner
from app.scoring.bootstrap import SAMPLES, Measure, measure, ratio
from app.scoring.testsets import TestSet
from app.scoring.words import is_term, source_words, target_words
from data.corpora.corpora import DEFAULT_CORPORA, Corpora
from data.errors import UserError

# Limits on training pairs for the aligner: for each word, in total, and pairs read from each corpus.
EACH, MOST, READ = 10, 20_000, 200_000
ALL, TERMS, SAME, FOUND = (
    "consistency, repeated words",
    "consistency, terms",
    "terms as in the reference",
    "repeated words aligned",
)

Occurrences = dict[str, list[tuple[int, str]]]  # maps a source word to (segment, target word)


class TermScorer:
    """Scores any number of systems on the same documents, with one aligner.

    The aligner is trained on the documents with their references, and on training text that contains their repeated
    words; never on system output, so that scores of different systems can be compared.

    Args:
        test: the documents.
        source, target: languages.
        training: more pairs of segments, see `training_pairs`.

    `trained_on` holds the number of those pairs and a hash of them; two evaluations are comparable if it is equal.
    """

    def __init__(self, test: TestSet, source: str = "en", target: str = "de", training: Iterable[tuple[str, str]] = ()):
        self._target = target
        self._reference_lines = test.cut(test.references)
        self._sources = [[source_words(line, source) for line in document] for document in test.cut(test.sources)]
        self._terms = [repeated(document, source) for document in self._sources]
        references = self._cut(self._reference_lines)
        own = zip(_flat(self._sources), _flat(references), strict=True)
        more = [(source_words(a, source), target_words(b, target)) for a, b in training]
        digest = hashlib.sha256(json.dumps(more).encode()).hexdigest()[:16]
        self.trained_on = {"training_pairs": len(more), "fingerprint": digest}
        self._aligner = Aligner(itertools.chain(own, more))
        self._references = self._occurrences(references)

    def score(
        self,
        hypotheses: Sequence[Sequence[str]],
        baseline: Sequence[Sequence[str]] | None = None,
        samples: int = SAMPLES,
    ) -> list[Measure]:
        """Consistency in percent.

        For a source word that occurs in several segments of a document, take all pairs of occurrences from different
        segments: the word's consistency is the share of pairs whose translations are equal apart from endings (LTCR).
        The score is its mean over all words and documents. A term is a word that the reference translates in one way
        throughout its document, so that a deviation is not a choice of style.

        Args:
            hypotheses: the translated segments of each document.
            baseline: the translated segments of another system.
            samples: bootstrap samples of documents; 0 for none.

        Returns:
            The consistency of all repeated words; that of terms; the share of term occurrences whose translated segment
            contains the reference's word; the share of repeated words that could be aligned. Each is given with the
            reference's own score.

        References:
            Lyu et al. 2021, Encouraging Lexical Translation Consistency for Document-Level Neural Machine Translation,
            https://aclanthology.org/2021.emnlp-main.262 (LTCR)
        """
        reference = self._statistics(self._reference_lines)
        found, other = self._statistics(hypotheses), baseline and self._statistics(baseline)
        return [
            measure(
                name,
                found[name],
                ratio(),
                other and other[name],
                samples,
                reference=ratio()(reference[name].sum(axis=0)),
            )
            for name in (ALL, TERMS, SAME, FOUND)
        ]

    def _statistics(self, translations: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
        """For each score, one row (amount, total) for each document."""
        targets = self._cut(translations)
        rows: dict[str, list] = {name: [] for name in (ALL, TERMS, SAME, FOUND)}
        for n, found in enumerate(self._occurrences(targets)):
            reference = self._references[n]
            terms = [word for word in reference if agreement(reference[word]) == 1]
            rows[ALL].append(_mean_agreement(found, self._terms[n]))
            rows[TERMS].append(_mean_agreement(found, terms))
            same = [word in targets[n][segment] for term in terms for segment, word in reference[term]]
            rows[SAME].append((sum(same), len(same)))
            rows[FOUND].append((sum(map(len, found.values())), sum(self._terms[n].values())))
        return {name: np.array(row, "float64") for name, row in rows.items()}

    def _cut(self, translations: Sequence[Sequence[str]]) -> list[list[list[str]]]:
        return [[target_words(line, self._target) for line in document] for document in translations]

    def _occurrences(self, targets: list[list[list[str]]]) -> list[Occurrences]:
        """For each document, its repeated words with their aligned translations."""
        alignments = iter(self._aligner.align(list(zip(_flat(self._sources), _flat(targets), strict=True))))
        every = []
        for sources, lines, terms in zip(self._sources, targets, self._terms, strict=True):
            found: Occurrences = defaultdict(list)
            for segment, (source, target) in enumerate(zip(sources, lines, strict=True)):
                for a, b in sorted(next(alignments).items()):
                    if source[a] in terms:
                        found[source[a]].append((segment, target[b]))
            every.append(dict(found))
        return every


def repeated(document: Sequence[Sequence[str]], language: str) -> Counter:
    """Candidate terms that occur in at least two segments of a document, with their counts."""
    segments = Counter(word for line in document for word in set(line))
    counts = Counter(word for line in document for word in line)
    return Counter({w: counts[w] for w in counts if segments[w] > 1 and is_term(w, language)})


def agreement(occurrences: Sequence[tuple[int, str]]) -> float | None:
    """The share of equal translations among all pairs of occurrences in different segments; None if there are none."""
    pairs = math.comb(len(occurrences), 2) - _within(segment for segment, _ in occurrences)
    return (_within(word for _, word in occurrences) - _within(occurrences)) / pairs if pairs else None


def _within(values: Iterable) -> int:
    """The number of pairs of equal values."""
    return sum(math.comb(count, 2) for count in Counter(values).values())


def training_pairs(
    test: TestSet,
    names: Iterable[str],
    corpora: Corpora = DEFAULT_CORPORA,
) -> list[tuple[str, str]]:
    """Pairs from the train splits of corpora that contain repeated words of the documents.

    Args:
        test: the documents whose words are to be aligned.
        names: corpora, read in this order; those that have no train split, are missing or are not fetched yet are
            skipped.
        corpora: where to look for them.

    Returns:
        The first pairs that show each word `EACH` times, at most `MOST` in total.
    """
    missing, source = Counter(), corpora.source
    for document in test.cut(test.sources):
        missing |= Counter(dict.fromkeys(repeated([source_words(line, source) for line in document], source), EACH))
    found: list[tuple[str, str]] = []
    for name in dict.fromkeys(names):
        try:
            corpus = corpora.open(name)
            pairs = corpus.pairs("train") if corpus.size("train") else ()
        except UserError:
            continue
        for pair in itertools.islice(pairs, READ):
            wanted = [word for word in set(source_words(pair.source, source)) if missing[word] > 0]
            if not wanted:
                continue
            found.append((pair.source, pair.target))
            missing.subtract(wanted)
            if len(found) == MOST:
                return found
    return found


def _mean_agreement(found: Occurrences, words: Iterable[str]) -> tuple[float, int]:
    shares = [share for word in words if (share := agreement(found.get(word, ()))) is not None]
    return sum(shares), len(shares)


def _flat(documents: Sequence[Sequence]) -> list:
    return [line for document in documents for line in document]
