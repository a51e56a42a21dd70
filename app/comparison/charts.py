"""The charts of a comparison: scores, recall by distance, seconds and memory by length."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from app.comparison.measures import TRAINING, TRANSLATION, Measurements
from app.comparison.plan import Plan
from app.comparison.systems import Runs, draw_systems, scored_texts, scores_size
from app.figure import SIZE, beside, curve, svg
from data.files import atomic_write

# Room for the names of all systems next to the diagram.
WIDE = (8.5, SIZE[1])
_UNITS = {"seconds": "seconds_per_1000", "megabytes": "peak_megabytes"}
_TITLES = {TRANSLATION: "Translation of one document", TRAINING: "Training on one document"}
_LABELS = {"seconds": "seconds for 1,000 source tokens", "megabytes": "most MB resident"}
Points = Mapping[str, Mapping[int, float]]


def scores_chart(test: str) -> str:
    """The name of the chart of a test set's scores."""
    return f"scores-{test}"


def draw(plan: Plan, found: Measurements, runs: Runs, folder: Path, stem: str) -> set[str]:
    """Writes charts of everything known so far, as STEM-NAME.svg, if Matplotlib is installed.

    Args:
        plan: the plan.
        found: what was measured.
        runs: the scores, "runs" of `app.comparison.report.figures`.
        folder: where they go; made if missing.
        stem: what their names begin with.

    Returns:
        The names of the charts: that of `scores_chart` for each test set, "recall", and one for each way and unit, such
        as "translation-seconds".
    """
    recalled = {system: one for system in plan.systems if (one := found.recall(system))}
    shares = {
        system: {distance: 100 * share for distance, (share, *_) in one.shares.items()}
        for system, one in recalled.items()
    }
    charts: dict[str, tuple[str, Points, str, str]] = {
        "recall": ("Recall of a fact", shares, "windows between the fact and the question", "right answers, %")
    }
    for what in (TRANSLATION, TRAINING):
        rows = {system: found.costs(system, what) for system in plan.systems}
        for unit, key in _UNITS.items():
            figures = {system: {length: row[key] for length, row in own.items()} for system, own in rows.items()}
            charts[f"{what}-{unit}"] = (_TITLES[what], figures, "source tokens of the document", _LABELS[unit])
    drawn = set()
    for test in scored_texts(runs):
        fill = partial(draw_systems, runs=runs, test=test, baseline=plan.score.baseline)
        if _write(folder / f"{stem}-{scores_chart(test)}.svg", fill, scores_size(runs, test)):
            drawn.add(scores_chart(test))
    for name, (title, points, along, up) in charts.items():
        known = {system: own for system, own in points.items() if own}
        if known and _write(folder / f"{stem}-{name}.svg", _lines(plan, title, known, along, up), WIDE):
            drawn.add(name)
    return drawn


def _write(path: Path, fill: Callable[[Any], None], size: tuple[float, float]) -> bool:
    content = svg(path.stem, fill, size)
    if content is None:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(content)
    return True


def _lines(plan: Plan, title: str, points: Points, along: str, up: str) -> Callable[[Any], None]:
    """Draws a line for each system, which looks the same in every chart of the plan."""

    def fill(figure: Any) -> None:
        axis = figure.subplots()
        for number, system in enumerate(plan.systems):
            if own := points.get(system):
                axis.plot(list(own), list(own.values()), label=system, **curve(number))
        places = sorted({place for own in points.values() for place in own})
        axis.set_xscale("log", base=2)
        axis.set_xticks(places, [f"{place:,}" for place in places], fontsize=8)
        axis.set_ylim(0)
        axis.set_title(f"{title}: {up}")
        axis.set_xlabel(along)
        axis.set_ylabel(up)
        beside(axis)

    return fill
