"""BLEU by the length of the source, and by the position in the document."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.figure import FAINT, beside, curve
from app.scoring.evaluation import DOCUMENTS
from app.scoring.metrics import LengthScore

LENGTH, POSITION = "length", "position"
_SECTIONS = {LENGTH: "bleu_by_source_words", POSITION: "bleu_by_position"}
_LABELS = {
    LENGTH: ("source words of a segment", "words"),
    POSITION: ("segments before in the document", "segments before"),
}
# With fewer segments than this, BLEU says little.
_FEW = 50


def buckets(record: Mapping[str, Any], what: str) -> list[LengthScore]:
    """The scores in a record of a run's results; [] if it has none.

    Args:
        record: see `app.scoring.results.Results`.
        what: `LENGTH` or `POSITION`.
    """
    key = _SECTIONS[what]
    return [LengthScore(**row) for row in record.get(key) or record.get(DOCUMENTS, {}).get(key, ())]


def draw_scores(figure: Any, what: str, test: str, runs: Mapping[str, Sequence[LengthScore]]) -> None:
    """Draws a curve for each run, with hollow markers where there are few segments.

    Args:
        figure: an empty Matplotlib figure.
        what: `LENGTH` or `POSITION`.
        test: name of the test set.
        runs: the scores of each run, by its name.
    """
    axis = figure.subplots()
    every = sorted({(score.low, str(score), score.lines) for scores in runs.values() for score in scores})
    labels = list(dict.fromkeys(label for _, label, _ in every))
    for number, (name, scores) in enumerate(runs.items()):
        look = curve(number)
        places = [labels.index(str(score)) for score in scores]
        axis.plot(places, [score.bleu for score in scores], **look, label=name)
        for place, score in zip(places, scores, strict=True):
            if score.lines < _FEW:
                axis.plot(place, score.bleu, **{**look, "linestyle": "", "markerfacecolor": "white"})
        if len(runs) == 1:
            _write_numbers(axis, places, scores)
    counts = {label: sorted({lines for _, other, lines in every if other == label}) for label in labels}
    axis.set_xticks(range(len(labels)), [f"{label}\n{_count(counts[label])}" for label in labels])
    axis.set_xlabel(f"{_LABELS[what][0]}\n(below each: number of segments; hollow: fewer than {_FEW})")
    axis.set_ylabel("BLEU")
    axis.set_ylim(0, 1.1 * axis.dataLim.ymax or 1)
    axis.set_title(_title(what, test, runs))
    axis.grid(True, axis="y")
    if len(runs) > 1:
        beside(axis)


def _write_numbers(axis: Any, places: Sequence[int], scores: Sequence[LengthScore]) -> None:
    for place, score in zip(places, scores, strict=True):
        label = {"textcoords": "offset points", "ha": "left", "fontsize": 9, "color": FAINT}
        axis.annotate(f"{score.bleu:.1f}", (place, score.bleu), (5, 5), **label)


def _count(found: Sequence[int]) -> str:
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


def _title(what: str, test: str, runs: Mapping[str, Sequence[LengthScore]]) -> str:
    """The best and the worst bucket of one run, of those with enough segments."""
    title = f"{test}: BLEU by {'length of the source' if what == LENGTH else 'position in the document'}"
    sure = [score for score in next(iter(runs.values())) if score.lines >= _FEW]
    if len(runs) > 1 or len(sure) < 2:
        return title
    best, worst = (choose(sure, key=lambda score: score.bleu) for choose in (max, min))
    unit = _LABELS[what][1]
    return f"{test}: BLEU is {best.bleu:.1f} at {best} {unit}, {worst.bleu:.1f} at {worst}"
