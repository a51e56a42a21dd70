"""Translation scores from sacreBLEU, with its signatures, intervals and significance test."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from app.scoring.bootstrap import FEWEST, SAMPLES, SEED, Comparison, Measure, measure, summed_by_document
from app.scoring.testsets import TestSet
from data.errors import UserError
from data.installing import package_command

Documents = Sequence[Sequence[str]]

TOKENIZERS = ("13a", "intl", "char", "none", "moses")
LENGTHS = (10, 20, 30, 40, 60)
POSITIONS = (0, 3, 7, 15, 31)
# sacreBLEU holds samples * lines * statistics (24 for chrF2++) of 4 bytes in memory: this keeps it below a gigabyte.
_SAMPLED_LINES = 10_000_000


@dataclass(frozen=True)
class ScoreOptions:
    """How to score.

    Args:
        lowercase: whether BLEU and chrF2++ ignore case (TER always does, by its default).
        tokenize: how BLEU tokenises: sacreBLEU's "13a", "intl", "char" or "none", or "moses": Moses'
            punctuation normalisation and tokenizer on both sides, then "none".
        language: target language, for "moses".
        samples: bootstrap samples for the intervals and the significance test; 0 leaves the intervals out.
        test, pair: for a test set of sacreBLEU, its name there and "en-de", for the signature.
    """

    lowercase: bool = False
    tokenize: str = "13a"
    language: str = "de"
    samples: int = SAMPLES
    test: str = ""
    pair: str = ""

    def __post_init__(self):
        if self.tokenize not in TOKENIZERS:
            raise UserError(f'unknown tokenisation "{self.tokenize}" for BLEU; choose one of {", ".join(TOKENIZERS)}')


@dataclass(frozen=True)
class LengthScore:
    """BLEU of the segments with a length or position from `low` to `high` (None: no upper limit).

    `lines` is the number of these segments, `baseline` the BLEU of another system.
    """

    low: int
    high: int | None
    lines: int
    bleu: float
    baseline: float | None = None

    def as_dict(self) -> dict:
        """The fields, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        if self.high is None:
            return f"{self.low}+"
        return f"{self.low}-{self.high}" if self.high > self.low else f"{self.low}"


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    options: ScoreOptions | None = None,
    baseline: Sequence[str] | None = None,
) -> list[Measure]:
    """BLEU, chrF2++ and TER of translations.

    Intervals, and the p-values against a baseline, are those of sacreBLEU's paired bootstrap resampling.

    Args:
        hypotheses: detokenised translations, one for each segment.
        references: reference translations, in the same order.
        options: how to score.
        baseline: the translations of another system, to compare with.

    Returns:
        The three scores, in this order.

    Raises:
        UserError: the numbers of lines differ or are zero, or "moses" is used without the package `sacremoses`.

    Example:
        >>> print(score(["Das ist ein Haus."], ["Das ist ein Haus."])[0])
        BLEU 100.0 ± 0.0

    References:
        - Post 2018, A Call for Clarity in Reporting BLEU Scores, https://aclanthology.org/W18-6319
        - Popović 2017, chrF++: words helping character n-grams, https://aclanthology.org/W17-4770
        - Snover et al. 2006, A Study of Translation Edit Rate, https://aclanthology.org/2006.amta-papers.25
        - Koehn 2004, Statistical Significance Tests for Machine Translation Evaluation,
          https://aclanthology.org/W04-3250
    """
    options = options or ScoreOptions()
    lines = list(hypotheses), list(references)
    first = bleu(*lines, options, baseline)
    others = {"chrF2++": _chrf(options.lowercase), "TER": _ter()}
    return [first, *(_measure(name, metric, *lines, options, baseline) for name, metric in others.items())]


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    options: ScoreOptions | None = None,
    baseline: Sequence[str] | None = None,
) -> Measure:
    """BLEU alone; arguments and errors as for `score`."""
    options = options or ScoreOptions()
    check_lengths(hypotheses, references)
    if baseline is not None:
        check_lengths(baseline, references, "the baseline")
        baseline = _tokenised(baseline, options)
    hypotheses, references = (_tokenised(lines, options) for lines in (hypotheses, references))
    parts = _bleu(options).corpus_score(hypotheses, [references])
    precisions = "/".join(f"{precision:.1f}" for precision in parts.precisions)
    details = f"{precisions} (BP {parts.bp:.3f}, {parts.sys_len:,} words, reference {parts.ref_len:,})"
    return replace(_measure("BLEU", _bleu(options), hypotheses, references, options, baseline), details=details)


def bleu_by_length(
    sources: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[str],
    options: ScoreOptions | None = None,
    ends: Sequence[int] = LENGTHS,
) -> list[LengthScore]:
    """BLEU by the length of the source.

    Args:
        sources: source segments.
        hypotheses, references, options: as for `score`.
        ends: the maximum length of each bucket, in words; one more bucket holds everything longer.

    Returns:
        One `LengthScore` for each non-empty bucket.
    """
    return _bleu_by([len(source.split()) for source in sources], ends, hypotheses, references, options)


def bleu_by_position(
    hypotheses: Documents,
    references: Documents,
    baseline: Documents | None = None,
    options: ScoreOptions | None = None,
    ends: Sequence[int] = POSITIONS,
) -> list[LengthScore]:
    """BLEU by the number of preceding segments in the document; in post-editing, all of them are corrected.

    Args:
        hypotheses, references: the segments of each document.
        baseline: the translations of another system.
        options: how to score.
        ends: the largest number of each bucket; one more bucket holds everything above.

    Returns:
        One `LengthScore` for each non-empty bucket.
    """
    before = [number for document in references for number in range(len(document))]
    flat = [[line for document in side for line in document] for side in (hypotheses, references, baseline or ())]
    found = _bleu_by(before, ends, flat[0], flat[1], options)
    if baseline is None:
        return found
    others = _bleu_by(before, ends, flat[2], flat[1], options)
    return [replace(score, baseline=other.bleu) for score, other in zip(found, others, strict=True)]


def _bleu_by(numbers, ends, hypotheses, references, options) -> list[LengthScore]:
    """BLEU of the lines whose number is in each bucket."""
    options = replace(options or ScoreOptions(), samples=0)
    check_lengths(hypotheses, references)
    scores = []
    for low, high in zip([0, *(end + 1 for end in ends)], [*ends, None], strict=True):
        rows = [i for i, count in enumerate(numbers) if count >= low and (high is None or count <= high)]
        if rows:
            figure = bleu([hypotheses[i] for i in rows], [references[i] for i in rows], options)
            scores.append(LengthScore(low, high, len(rows), figure.value))
    return scores


def score_documents(
    test: TestSet,
    hypotheses: Documents,
    baseline: Documents | None = None,
    lowercase: bool = False,
    samples: int = SAMPLES,
) -> list[Measure]:
    """s-BLEU, d-BLEU, chrF2++ and TER, with intervals and significance by resampling whole documents.

    s-BLEU is the usual BLEU: n-grams are matched within segments. d-BLEU joins the segments of a document with
    spaces and matches n-grams anywhere in the document. Both are sacreBLEU's corpus scores; only the significance test
    is our own, since sacreBLEU can only resample lines.

    Args:
        test: the text.
        hypotheses: the translated segments of each document.
        baseline: the segments of another system, to compare with.
        lowercase: whether to ignore case.
        samples: bootstrap samples; 0 for none.

    Returns:
        The four measures, in this order.

    References:
        - Post 2018, A Call for Clarity in Reporting BLEU Scores, https://aclanthology.org/W18-6319
        - Liu et al. 2020, Multilingual Denoising Pre-training for Neural Machine Translation,
          https://aclanthology.org/2020.tacl-1.47 (s-BLEU and d-BLEU)
        - Popović 2017, chrF++: words helping character n-grams, https://aclanthology.org/W17-4770
    """
    options = ScoreOptions(lowercase)
    kinds = {
        "s-BLEU": (_bleu(options), False),
        "d-BLEU": (_bleu(options), True),
        "chrF2++": (_chrf(lowercase), False),
        "TER": (_ter(), False),
    }
    references, found = test.cut(test.references), []
    drawn = samples if len(references) >= FEWEST else 0
    for name, (metric, joined) in kinds.items():
        statistics = _statistics(metric, hypotheses, references, joined)
        other = None if baseline is None else _statistics(metric, baseline, references, joined)
        signature = _sign_documents(metric, drawn, joined)
        found.append(measure(name, statistics, _figure(metric), other, samples, signature=signature))
    return found


def check_lengths(hypotheses: Sequence[str], references: Sequence[str], what: str = "the translation") -> None:
    """Raises a `UserError` unless there is one translation for each reference, and at least one."""
    if len(hypotheses) != len(references):
        raise UserError(
            f"{what} has {len(hypotheses):,} lines and the reference has {len(references):,}; "
            "line n of one must belong to line n of the other"
        )
    if not references:
        raise UserError(f"{what} and the reference are empty; there is nothing to score")


def _samples(options: ScoreOptions, lines: int) -> int:
    return min(options.samples, max(100, _SAMPLED_LINES // lines))


def _bleu(options: ScoreOptions):
    from sacrebleu.metrics import BLEU

    moses = options.tokenize == "moses"
    return BLEU(lowercase=options.lowercase, tokenize="none" if moses else options.tokenize, force=moses)


def _chrf(lowercase: bool):
    from sacrebleu.metrics import CHRF

    return CHRF(word_order=2, lowercase=lowercase)


def _ter():
    from sacrebleu.metrics import TER

    return TER()


def _measure(
    name: str,
    metric,
    hypotheses: Sequence[str],
    references: Sequence[str],
    options: ScoreOptions,
    baseline: Sequence[str] | None = None,
) -> Measure:
    """The score of one metric; its interval comes from a significance test, if necessary of one system alone."""
    from sacrebleu.significance import PairedTest

    count, samples = len(references), _samples(options, len(references))
    if samples < 2:
        value = float(metric.corpus_score(hypotheses, [references]).score)
        other = None if baseline is None else float(metric.corpus_score(baseline, [references]).score)
        comparison = None if other is None else Comparison(other, value - other)
        signature = _sign(metric.get_signature(), name, options)
        return Measure(name, value, None, None, "segments", count, comparison=comparison, signature=signature)
    systems = [("baseline", list(baseline))] if baseline is not None else []
    test = PairedTest([*systems, ("system", hypotheses)], {name: metric}, [references], "bs", samples)
    signatures, results = test()
    result = results[name][-1]
    value, mean, half = float(result.score), float(result.mean), float(result.ci)
    comparison = None if baseline is None else _compare(float(results[name][0].score), value, result.p_value)
    signature = _sign(signatures[name], name, options)
    ends = mean - half, mean + half
    return Measure(name, value, *ends, "segments", count, comparison=comparison, signature=signature)


def _compare(baseline: float, value: float, p_value: float) -> Comparison:
    # Without any difference, sacreBLEU counts no sample as larger and gives its smallest p.
    return Comparison(baseline, value - baseline, p_value=float(p_value) if value != baseline else 1.0)


# Additive statistics are private to sacreBLEU's metrics. Its own significance test uses these two methods, but only
# resamples lines, not documents. They are used here and nowhere else.
def _statistics(metric, hypotheses: Documents, references: Documents, joined: bool) -> np.ndarray:
    """(documents, statistics): the statistics of each document, as one line (`joined`) or summed over its segments."""
    if joined:
        lines = [[" ".join(document) for document in side] for side in (hypotheses, references)]
        return np.asarray(metric._extract_corpus_statistics(lines[0], [lines[1]]), "float64")
    lines = [[line for document in side for line in document] for side in (hypotheses, references)]
    lengths = [len(each) for each in references]
    return summed_by_document(metric._extract_corpus_statistics(lines[0], [lines[1]]), lengths)


def _figure(metric) -> Callable[[np.ndarray], float]:
    return lambda sums: float(metric._compute_score_from_stats(list(sums)).score)


def _sign_documents(metric, samples: int, joined: bool) -> str:
    signature = metric.get_signature()
    if samples:
        signature.update("seed", SEED)
        signature.update("bs", samples)
        signature.update("drawn", "documents")
    if joined:
        signature.update("lines", "joined")
    return str(signature)


def _sign(signature, name: str, options: ScoreOptions) -> str:
    """The signature, with what sacreBLEU could not know: the test set's name, and how Moses prepared the text."""
    if options.test:
        signature.update("test", options.test)
        signature.update("lang", options.pair)
    if name == "BLEU" and options.tokenize == "moses":
        signature.update("text", f"sacremoses-norm-tok-{options.language}-{_sacremoses().__version__}")
    return str(signature)


def _tokenised(lines: Sequence[str], options: ScoreOptions) -> list[str]:
    """The lines as input for BLEU: for "moses", prepared as by Moses' scripts, in the order that Multi30k uses."""
    if options.tokenize != "moses":
        return list(lines)
    sacremoses = _sacremoses()
    normalizer = sacremoses.MosesPunctNormalizer(lang=options.language)
    tokenizer = sacremoses.MosesTokenizer(lang=options.language)
    cased = (line.lower() if options.lowercase else line for line in lines)
    return [tokenizer.tokenize(normalizer.normalize(line), return_str=True) for line in cased]


def _sacremoses():
    try:
        import sacremoses
    except ImportError:
        raise UserError(f'tokenisation "moses" needs sacremoses: {package_command("sacremoses")}') from None
    return sacremoses


def has_moses() -> bool:
    """Whether sacremoses is installed."""
    import importlib.util

    return importlib.util.find_spec("sacremoses") is not None
