"""Scores of translations: sacreBLEU's own, with its signatures, intervals and significance test."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from data.errors import UserError

TOKENIZERS = ("13a", "intl", "char", "none", "moses")
LENGTHS = (10, 20, 30, 40, 60)
# sacreBLEU holds samples * lines * statistics (24 for chrF2++) of 4 bytes at once: this keeps it below a gigabyte.
_SAMPLED_LINES = 10_000_000


@dataclass(frozen=True)
class ScoreOptions:
    """How to score.

    Args:
        lowercase: whether case counts nothing in BLEU and chrF2++ (in TER it never counts, as is its default).
        tokenize: how BLEU cuts words: sacreBLEU's "13a", "intl", "char" or "none", or "moses", which is Moses'
            punctuation normalisation and tokenizer on both sides and then "none".
        language: target language, for "moses".
        samples: bootstrap samples for the intervals and the significance test; 0 leaves the intervals out.
        test, pair: sacreBLEU's name of the test set and "en-de", for the signature, where it is sacreBLEU's own.
    """

    lowercase: bool = False
    tokenize: str = "13a"
    language: str = "de"
    samples: int = 1000
    test: str = ""
    pair: str = ""

    def __post_init__(self):
        if self.tokenize not in TOKENIZERS:
            raise UserError(f'unknown tokenisation "{self.tokenize}" for BLEU; choose one of {", ".join(TOKENIZERS)}')


@dataclass(frozen=True)
class Score:
    """One figure.

    Args:
        name: "BLEU", "chrF2++" or "TER"; TER is the only one of which less is better.
        value: the score, 0 to 100 (TER may be above).
        mean, interval: the bootstrap's mean, and half the width of its 95% interval; None without bootstrap.
        signature: sacreBLEU's, which says all that is needed to get the same figure.
        details: for BLEU its n-gram precisions, brevity penalty (BP) and lengths.
    """

    name: str
    value: float
    mean: float | None
    interval: float | None
    signature: str
    details: str = ""

    def as_dict(self) -> dict:
        """The fields, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        spread = f" \u00b1 {self.interval:.1f}" if self.interval is not None else ""
        return f"{self.name} {self.value:.1f}{spread}"


@dataclass(frozen=True)
class LengthScore:
    """BLEU of the segments whose source has `low` to `high` words (None: no upper end); `lines` says how many."""

    low: int
    high: int | None
    lines: int
    bleu: float

    def as_dict(self) -> dict:
        """The fields, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.low}-{self.high}" if self.high else f"{self.low}+"


@dataclass(frozen=True)
class Comparison:
    """A score beside a baseline's.

    Args:
        name: of the score.
        baseline, value: the two scores.
        p_value: how often chance alone makes such a difference, by sacreBLEU's paired bootstrap resampling.
        signature: sacreBLEU's, with seed and number of samples.
    """

    name: str
    baseline: float
    value: float
    p_value: float
    signature: str

    @property
    def better(self) -> bool:
        """Whether the value is better than the baseline's, by however little."""
        return self.value < self.baseline if self.name == "TER" else self.value > self.baseline

    def as_dict(self) -> dict:
        """The fields, for JSON."""
        return {**asdict(self), "better": self.better}


def score(hypotheses: Sequence[str], references: Sequence[str], options: ScoreOptions | None = None) -> list[Score]:
    """BLEU, chrF2++ and TER of translations.

    Args:
        hypotheses: detokenised translations, one for each segment.
        references: the right ones, in the same order.
        options: how to score.

    Returns:
        The three scores, in this order.

    Raises:
        UserError: for different numbers of lines, none at all, or "moses" without the package `sacremoses`.

    Example:
        >>> print(score(["Das ist ein Haus."], ["Das ist ein Haus."])[0])
        BLEU 100.0 ± 0.0

    References:
        - Post 2018, A Call for Clarity in Reporting BLEU Scores, https://aclanthology.org/W18-6319
        - Popović 2017, chrF++: words helping character n-grams, https://aclanthology.org/W17-4770
        - Snover et al. 2006, A Study of Translation Edit Rate, https://aclanthology.org/2006.amta-papers.25
    """
    options = options or ScoreOptions()
    check_lengths(hypotheses, references)
    others = {"chrF2++": _chrf(options), "TER": _ter()}
    lines = list(hypotheses), list(references)
    return [bleu(*lines, options), *(_scored(name, metric, *lines, options) for name, metric in others.items())]


def bleu(hypotheses: Sequence[str], references: Sequence[str], options: ScoreOptions | None = None) -> Score:
    """BLEU alone; arguments and errors as for `score`."""
    options = options or ScoreOptions()
    check_lengths(hypotheses, references)
    hypotheses, references = (_tokenised(lines, options) for lines in (hypotheses, references))
    parts = _bleu(options).corpus_score(hypotheses, [references])
    precisions = "/".join(f"{precision:.1f}" for precision in parts.precisions)
    details = f"{precisions} (BP {parts.bp:.3f}, {parts.sys_len:,} words, reference {parts.ref_len:,})"
    return replace(_scored("BLEU", _bleu(options), hypotheses, references, options), details=details)


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
        ends: the last length, in words, of each bucket; one more bucket has all that is longer.

    Returns:
        One `LengthScore` for each bucket that has segments.
    """
    options = replace(options or ScoreOptions(), samples=0)
    check_lengths(hypotheses, references)
    words = [len(source.split()) for source in sources]
    scores = []
    for low, high in zip([0, *(end + 1 for end in ends)], [*ends, None], strict=True):
        rows = [i for i, count in enumerate(words) if count >= low and (high is None or count <= high)]
        if rows:
            figure = bleu([hypotheses[i] for i in rows], [references[i] for i in rows], options)
            scores.append(LengthScore(low, high, len(rows), figure.value))
    return scores


def compare(
    baseline: Sequence[str], hypotheses: Sequence[str], references: Sequence[str], options: ScoreOptions | None = None
) -> list[Comparison]:
    """Whether translations differ from a baseline's by more than chance.

    Args:
        baseline: the translations to compare with.
        hypotheses, references, options: as for `score`; `samples` must not be 0.

    Returns:
        A `Comparison` for each of BLEU, chrF2++ and TER.

    References:
        Koehn 2004, Statistical Significance Tests for Machine Translation Evaluation,
        https://aclanthology.org/W04-3250
    """
    from sacrebleu.significance import PairedTest

    options = options or ScoreOptions()
    check_lengths(hypotheses, references)
    check_lengths(baseline, references, "the baseline")
    found = []
    for name, metric in {"BLEU": _bleu(options), "chrF2++": _chrf(options), "TER": _ter()}.items():
        prepared = [_tokenised(x, options) if name == "BLEU" else list(x) for x in (baseline, hypotheses, references)]
        systems = [("baseline", prepared[0]), ("system", prepared[1])]
        samples = _samples(options, len(references))
        signatures, results = PairedTest(systems, {name: metric}, [prepared[2]], "bs", samples)()
        before, after = results[name]
        # Where there is no difference at all, sacreBLEU counts no sample as larger and gives its smallest p.
        p_value = float(after.p_value) if after.score != before.score else 1.0
        values = float(before.score), float(after.score), p_value
        found.append(Comparison(name, *values, _sign(signatures[name], name, options)))
    return found


def check_lengths(hypotheses: Sequence[str], references: Sequence[str], what: str = "the translation") -> None:
    """Raises a `UserError` unless there is one translation for each reference, and one at least."""
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


def _chrf(options: ScoreOptions):
    from sacrebleu.metrics import CHRF

    return CHRF(word_order=2, lowercase=options.lowercase)


def _ter():
    from sacrebleu.metrics import TER

    return TER()


def _scored(name: str, metric, hypotheses: list[str], references: list[str], options: ScoreOptions) -> Score:
    """The score of one metric; its interval comes from a significance test that has no second system."""
    from sacrebleu.significance import PairedTest

    samples = _samples(options, len(hypotheses))
    if samples < 2:
        found = metric.corpus_score(hypotheses, [references])
        return Score(name, float(found.score), None, None, _sign(metric.get_signature(), name, options))
    signatures, results = PairedTest([("", hypotheses)], {name: metric}, [references], "bs", samples)()
    found = results[name][0]
    signature = _sign(signatures[name], name, options)
    return Score(name, float(found.score), float(found.mean), float(found.ci), signature)


def _sign(signature, name: str, options: ScoreOptions) -> str:
    """The signature, with what sacreBLEU could not know: the test set's name, and what Moses did to the text."""
    if options.test:
        signature.update("test", options.test)
        signature.update("lang", options.pair)
    if name == "BLEU" and options.tokenize == "moses":
        signature.update("text", f"sacremoses-norm-tok-{options.language}-{_sacremoses().__version__}")
    return str(signature)


def _tokenised(lines: Sequence[str], options: ScoreOptions) -> list[str]:
    """What BLEU shall see: for "moses" the text as Moses' scripts would prepare it, in the order of Multi30k's."""
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
        raise UserError('tokenisation "moses" needs the package sacremoses: pip install sacremoses') from None
    return sacremoses


def has_moses() -> bool:
    """Whether "moses" can be had here."""
    import importlib.util

    return importlib.util.find_spec("sacremoses") is not None
