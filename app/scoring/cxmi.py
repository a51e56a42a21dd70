"""CXMI: how much the context of a document raises the probability of its reference."""

from collections.abc import Callable, Sequence

import numpy as np

from app.scoring.bootstrap import SAMPLES, Measure, measure, ratio, summed_by_document
from app.scoring.forced import part_of, score_in_blocks
from app.scoring.testsets import TestSet, in_order, shuffled
from app.translation.translator import Translator

RIGHT, WRONG, CONTENT = "CXMI, right context", "CXMI, wrong context", "right less wrong"


def context_use(
    translator: Translator,
    test: TestSet,
    samples: int = SAMPLES,
    progress: Callable[[float], None] | None = None,
) -> list[Measure]:
    """Conditional cross-mutual information of context and reference, in nats per target token.

    For each segment x with its reference y and the preceding document C: log p(y | x, C) - log p(y | x), from the same
    model with and without context; summed over all segments and divided by the number of target tokens, including the
    end token. C ends where x begins, even where a window of the model has segments after x. Without context, each
    segment is scored as a document of its own. For the wrong context, all segments of the text are shuffled so that
    none follows its true predecessor.

    A model that sees no context scores 0 in both. A model that gains as much from a wrong context as from the right
    one has learnt only the domain from context.

    Args:
        translator: the model's translator.
        test: the documents.
        samples: bootstrap samples of documents; 0 for none.
        progress: called with the share done.

    Returns:
        Measures for the right context, the wrong context, and their difference: the gain from the right content.

    References:
        Fernandes et al. 2021, Measuring and Increasing Context Usage in Context-Aware Machine Translation,
        https://aclanthology.org/2021.acl-long.505
    """
    order = shuffled(test.segments)
    parts = test.pairs()
    flat = [pair for part in parts for pair in part]
    orders = [parts, test.cut([flat[n] for n in order]), [[pair] for pair in flat]]
    scores = tuple(
        _scores(translator, part, part_of(progress, number, len(orders))) for number, part in enumerate(orders)
    )
    right, wrong, alone = (
        np.array([score.log_probability for score in part])
        for part in (scores[0], in_order(scores[1], order), scores[2])
    )
    tokens = [score.tokens for score in scores[2]]
    lengths = [len(part) for part in parts]
    found = []
    for name, gains in {RIGHT: right - alone, WRONG: wrong - alone, CONTENT: right - wrong}.items():
        statistics = summed_by_document(np.stack([gains, tokens], axis=1), lengths)
        found.append(measure(name, statistics, ratio(1.0), samples=samples, digits=4))
    return found


def _scores(translator: Translator, documents: Sequence, progress) -> list:
    return [score for scores in score_in_blocks(translator, documents, "all", progress) for score in scores]
