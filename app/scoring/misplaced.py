"""Words taken over from earlier segments of a document, and whether they belong where they are."""

from collections.abc import Sequence

from app.scoring.bootstrap import SAMPLES, Measure, measure, ratio
from app.scoring.words import words

# Lengths of the n-grams; single words occur everywhere.
SIZES = (2, 3, 4)
WRONG = "misplaced"

Documents = Sequence[Sequence[str]]


def misplaced(
    hypotheses: Documents, references: Documents, baseline: Documents | None = None, samples: int = SAMPLES
) -> Measure:
    """The share of n-grams taken over from earlier segments that are not in the segment's own reference.

    An n-gram of a translation is taken over if it occurs in the reference of an earlier segment of its document, the
    text that a person has approved by then. d-BLEU counts it as right anywhere in the document; here it is right only
    if the segment's own reference has it too.

    Args:
        hypotheses: the translated segments of each document.
        references: their references.
        baseline: the translations of another system, to compare with.
        samples: bootstrap samples of documents; 0 for none.

    Returns:
        The share, in percent; less is better.
    """
    other = None if baseline is None else _statistics(baseline, references)
    return measure(WRONG, _statistics(hypotheses, references), ratio(), other, samples)


def _statistics(hypotheses: Documents, references: Documents) -> list[tuple[int, int]]:
    """For each document, how many n-grams were taken over wrongly, and how many in all."""
    found = []
    for translated, right in zip(hypotheses, references, strict=True):
        earlier: set[tuple[str, ...]] = set()
        wrong = taken = 0
        for segment, reference in zip(translated, right, strict=True):
            own = set(_ngrams(reference))
            here = [ngram for ngram in _ngrams(segment) if ngram in earlier]
            taken += len(here)
            wrong += sum(ngram not in own for ngram in here)
            earlier |= own
        found.append((wrong, taken))
    return found


def _ngrams(text: str) -> list[tuple[str, ...]]:
    tokens = words(text)
    return [tuple(tokens[start : start + size]) for size in SIZES for start in range(len(tokens) - size + 1)]
