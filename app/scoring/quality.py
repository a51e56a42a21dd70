"""BLEU and chrF2++ of documents: sacreBLEU's, with whole documents drawn for intervals and significance."""

from collections.abc import Sequence

import numpy as np

from app.scoring.bootstrap import FEWEST, SAMPLES, SEED, Measure, by_document, measure
from app.scoring.documents import DocumentSet

Documents = Sequence[Sequence[str]]


def score_documents(
    documents: DocumentSet,
    hypotheses: Documents,
    baseline: Documents | None = None,
    lowercase: bool = False,
    samples: int = SAMPLES,
) -> list[Measure]:
    """s-BLEU, d-BLEU and chrF2++.

    s-BLEU is BLEU as ever: n-grams are matched within segments. d-BLEU joins the segments of a document by a space and
    matches within the document, whatever segment an n-gram stands in. Both are sacreBLEU's corpus scores; only the
    significance test is ours, as sacreBLEU can draw nothing but lines.

    Args:
        documents: the text.
        hypotheses: for each document its translated segments.
        baseline: those of another system, to compare with.
        lowercase: whether case counts nothing.
        samples: bootstrap samples; 0 for none.

    Returns:
        The three measures, in this order.

    References:
        - Post 2018, A Call for Clarity in Reporting BLEU Scores, https://aclanthology.org/W18-6319
        - Liu et al. 2020, Multilingual Denoising Pre-training for Neural Machine Translation,
          https://aclanthology.org/2020.tacl-1.47 (s-BLEU and d-BLEU)
        - Popović 2017, chrF++: words helping character n-grams, https://aclanthology.org/W17-4770
    """
    from sacrebleu.metrics import BLEU, CHRF

    kinds = {
        "s-BLEU": (BLEU(lowercase=lowercase), _of_segments),
        "d-BLEU": (BLEU(lowercase=lowercase), _of_documents),
        "chrF2++": (CHRF(word_order=2, lowercase=lowercase), _of_segments),
    }
    found = []
    for name, (metric, count) in kinds.items():
        statistics = count(metric, hypotheses, documents.references)
        other = None if baseline is None else count(metric, baseline, documents.references)
        signature = _sign(metric, samples if len(documents.names) >= FEWEST else 0, count is _of_documents)
        found.append(measure(name, statistics, _figure(metric), other, samples, signature=signature))
    return found


# sacreBLEU's own significance test is made of these methods of its metrics, too.
def _of_segments(metric, hypotheses: Documents, references: Documents) -> np.ndarray:
    lines = [[line for document in side for line in document] for side in (hypotheses, references)]
    return by_document(metric._extract_corpus_statistics(lines[0], [lines[1]]), [len(each) for each in references])


def _of_documents(metric, hypotheses: Documents, references: Documents) -> np.ndarray:
    joined = [[" ".join(document) for document in side] for side in (hypotheses, references)]
    return np.asarray(metric._extract_corpus_statistics(joined[0], [joined[1]]), "float64")


def _figure(metric):
    return lambda sums: float(metric._compute_score_from_stats(list(sums)).score)


def _sign(metric, samples: int, joined: bool) -> str:
    signature = metric.get_signature()
    if samples:
        signature.update("seed", SEED)
        signature.update("bs", samples)
        signature.update("drawn", "documents")
    if joined:
        signature.update("lines", "joined")
    return str(signature)
