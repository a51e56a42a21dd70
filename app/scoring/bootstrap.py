"""Scores with bootstrap intervals: whole documents (or test items) are resampled, a thousand times by default."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

SEED = 12345  # sacreBLEU's
SAMPLES = 1000
# With fewer units, samples are nearly all alike and an interval would be meaningless.
FEWEST = 5
Figure = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Comparison:
    """A score compared with a baseline's on the same text.

    Args:
        baseline: the baseline's score.
        difference: the system's score minus the baseline's.
        low, high: 95% interval of the difference; None for sacreBLEU's own test, without samples, or with too few
            documents.
        p_value: how often chance alone gives a difference this large; None without samples, or with too few documents.
        wins: the share of samples in which the system scores above the baseline; None as for the interval.
    """

    baseline: float
    difference: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    wins: float | None = None


@dataclass(frozen=True)
class Measure:
    """One score.

    Args:
        name: what was measured.
        value: the score. Higher is better, except for TER and for misplaced words.
        low, high: 95% interval; None without samples or with too few documents.
        units: what was drawn for the interval: "segments", "documents" or "items".
        count: the number of units.
        reference: the human reference's own score, where it has one.
        comparison: the comparison with a baseline, if any.
        signature: for sacreBLEU's scores, its signature: all that is needed to reproduce the score.
        digits: digits shown after the decimal point.
        details: for BLEU, its n-gram precisions, brevity penalty (BP) and lengths.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    units: str
    count: int
    reference: float | None = None
    comparison: Comparison | None = None
    signature: str = ""
    digits: int = 1
    details: str = ""

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None else (self.high - self.low) / 2

    def as_dict(self) -> dict:
        """The fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "Measure":
        """The inverse of `as_dict`."""
        comparison = fields.get("comparison")
        return cls(**{**fields, "comparison": comparison and Comparison(**comparison)})

    def __str__(self) -> str:
        spread = "" if self.low is None else f" \u00b1 {self.half_width:.{self.digits}f}"
        return f"{self.name} {self.value:.{self.digits}f}{spread}"


def measure(
    name: str,
    statistics: np.ndarray,
    figure: Figure,
    baseline: np.ndarray | None = None,
    samples: int = SAMPLES,
    units: str = "documents",
    **fields,
) -> Measure:
    """Scores a whole text, with a 95% interval and the significance of its difference from a baseline.

    The text's score comes from the sum of its documents' statistics. A bootstrap sample draws as many documents, with
    replacement. Draws are those of sacreBLEU: with one line per document, the samples are the same as sacreBLEU's. For
    the p-value, the samples' differences are shifted to a mean of zero, as under the null hypothesis; p is the share of
    samples at least as far from zero, on either side, as the observed difference.

    Args:
        name: what is measured.
        statistics: one row for each document; rows are additive.
        figure: maps summed statistics to the score; NaN drops a sample that has nothing to measure.
        baseline: the statistics of another system.
        samples: number of bootstrap samples; 0 for none.
        units: what each row represents.
        **fields: more fields of `Measure`.

    Returns:
        A `Measure`.

    References:
        - Koehn 2004, Statistical Significance Tests for Machine Translation Evaluation,
          https://aclanthology.org/W04-3250
        - Riezler and Maxwell 2005, On Some Pitfalls in Automatic Evaluation and Significance Testing for MT,
          https://aclanthology.org/W05-0908 (the shift)
    """
    statistics = np.asarray(statistics, "float64")
    count = len(statistics)
    value = figure(statistics.sum(axis=0))
    other = None if baseline is None else figure(np.asarray(baseline, "float64").sum(axis=0))
    low = high = None
    comparison = None if other is None else Comparison(other, value - other)
    if samples and count >= FEWEST:
        draws = _draws(count, samples)
        figures = _figures(draws, statistics, figure)
        low, high = _interval(figures)
        if baseline is not None:
            differences = figures - _figures(draws, np.asarray(baseline, "float64"), figure)
            comparison = _compare(other, value - other, differences)
    return Measure(name, float(value), low, high, units, count, comparison=comparison, **fields)


def _draws(count: int, samples: int) -> np.ndarray:
    """(samples, count): how often each document was drawn."""
    rows = np.random.default_rng(SEED).choice(count, size=(samples, count), replace=True)
    return np.stack([np.bincount(row, minlength=count) for row in rows])


def _figures(draws: np.ndarray, statistics: np.ndarray, figure: Figure) -> np.ndarray:
    return np.array([figure(sums) for sums in draws @ statistics])


def _compare(other: float, difference: float, differences: np.ndarray) -> Comparison:
    differences = differences[np.isfinite(differences)]
    if not len(differences) or not np.isfinite(difference):
        return Comparison(other, difference)
    chance = np.abs(differences - differences.mean())
    # A tolerance, so that rounding cannot make a zero difference significant.
    as_far = int((chance >= abs(difference) - 1e-9).sum())
    p_value = (as_far + 1) / (len(differences) + 1)
    return Comparison(other, difference, *_interval(differences), p_value, float((differences > 0).mean()))


def _interval(figures: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """The middle 95%, cut off as in sacreBLEU."""
    figures = np.sort(figures[np.isfinite(figures)])
    if not len(figures):
        return None, None
    cut = len(figures) // 40
    return float(figures[cut]), float(figures[len(figures) - cut - 1])


def ratio(scale: float = 100.0) -> Figure:
    """The score of statistics (amount, total): their quotient, times `scale`."""
    return lambda sums: scale * float(sums[0] / sums[1]) if sums[1] else float("nan")


def summed_by_document(statistics: Sequence, lengths: Sequence[int]) -> np.ndarray:
    """Sums segment statistics within each document.

    Args:
        statistics: one row for each segment.
        lengths: number of segments in each document.

    Returns:
        One row for each document.
    """
    rows = np.asarray(statistics, "float64")
    ends = np.cumsum(lengths)
    return np.stack([rows[end - length : end].sum(axis=0) for end, length in zip(ends, lengths, strict=True)])
