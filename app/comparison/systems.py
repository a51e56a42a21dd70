"""The systems of a comparison: their scores with intervals, and what they cost."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.comparison.report import MAIN, TITLES
from app.figure import COLOURS, FAINT

# Below this p, a difference from the baseline is marked as certain.
_P = 0.05
_MOST = 5  # panels side by side
_COSTS: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "training, minutes": lambda run: run["minutes"] or None,
    "training, tokens/s": lambda run: run["tokens_per_second"],
    "translation, tokens/s": lambda run: run["output_tokens_per_second"],
    "weights, millions": lambda run: run["weights"] / 1e6 if run["weights"] else None,
}

Runs = Mapping[str, Mapping[str, Any]]


def scored_texts(runs: Runs) -> list[str]:
    """The test sets that any run is scored on."""
    return list(dict.fromkeys(test for run in runs.values() for test, scores in run["scores"].items() if scores))


def scores_size(runs: Runs, test: str) -> tuple[float, float]:
    """Width and height of the figure of `draw_systems`, in inches."""
    panels = len(_measures(runs, test))
    return 1.6 + 2.2 * max(2, panels), 1.6 + 0.17 * len(runs) + 0.12 * len(_systems(runs))


def draw_systems(figure: Any, runs: Runs, test: str, baseline: str) -> None:
    """Draws each measure of a test set: a row for each system, a point with its 95% interval for each seed.

    Args:
        figure: an empty Matplotlib figure.
        runs: "runs" of a comparison's results.json.
        test: name of the test set.
        baseline: the system that the others are compared with; "" for none.
    """
    measures, systems = _measures(runs, test), _systems(runs)
    axes = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axis, measure in zip(axes, measures, strict=True):
        for row, system in enumerate(systems):
            found = _scores(runs, system, test, measure)
            for number, score in enumerate(found):
                place = row + 0.22 * (number - (len(found) - 1) / 2)
                _draw_score(axis, score, place, filled=not baseline or system == baseline or _is_certain(score))
        if reference := _scores(runs, baseline, test, measure):
            middle = statistics.mean(score["value"] for score in reference)
            axis.axvline(middle, color=FAINT, linestyle=":", linewidth=1)
        axis.set_title(TITLES.get(measure, measure), fontsize=9.5)
        axis.grid(True, axis="x")
        axis.tick_params(axis="y", length=0, labelcolor="black")
        axis.xaxis.get_major_locator().set_params(nbins=4)
    axes[0].set_yticks(range(len(systems)), systems)
    axes[0].set_ylim(len(systems) - 0.5, -0.5)
    figure.suptitle(_title(runs, test, measures[0]), fontsize=10.5, x=0.01, ha="left")
    about = f"\nfilled: differs from {baseline} with p < {_P}; dotted: mean of {baseline}" if baseline else ""
    figure.supxlabel(f"score of each seed, with its 95% interval{about}", fontsize=9)


def costs_size(runs: Runs) -> tuple[float, float]:
    """Width and height of the figure of `draw_costs`, in inches."""
    return 1.6 + 2.2 * len(_COSTS), 1.2 + 0.3 * len(_systems(runs))


def draw_costs(figure: Any, runs: Runs) -> None:
    """Draws what each system costs, as the mean over its seeds."""
    systems = _systems(runs)
    axes = figure.subplots(1, len(_COSTS), sharey=True)
    for axis, (name, cost) in zip(axes, _COSTS.items(), strict=True):
        values = [_mean(cost(runs[run]) for run in _of(runs, system)) for system in systems]
        drawn = axis.barh(range(len(systems)), [value or 0 for value in values], height=0.6, color=COLOURS[0])
        digits = 1 if "minutes" in name or "millions" in name else 0
        written = [f"{value:,.{digits}f}" if value else "unknown" for value in values]
        axis.bar_label(drawn, written, padding=3, fontsize=8.5)
        axis.set_title(name, fontsize=9.5)
        axis.margins(x=0.3)
        axis.set_xticks([])
        axis.tick_params(axis="y", length=0, labelcolor="black")
        axis.spines["bottom"].set_visible(False)
    axes[0].set_yticks(range(len(systems)), systems)
    axes[0].set_ylim(len(systems) - 0.5, -0.5)
    figure.suptitle("What each system costs: mean over its seeds", fontsize=10.5, x=0.01, ha="left")


def _draw_score(axis: Any, score: Mapping[str, Any], place: float, filled: bool) -> None:
    if score["low"] is not None and score["high"] is not None:
        axis.plot([score["low"], score["high"]], [place, place], color=COLOURS[0], linewidth=1.2)
    look = {"markerfacecolor": COLOURS[0] if filled else "white", "markeredgecolor": COLOURS[0]}
    axis.plot(score["value"], place, marker="o", markersize=5.5, **look)


def _is_certain(score: Mapping[str, Any]) -> bool:
    return score["p_value"] is not None and score["p_value"] < _P


def _systems(runs: Runs) -> list[str]:
    return list(dict.fromkeys(run["system"] for run in runs.values()))


def _of(runs: Runs, system: str) -> list[str]:
    return [name for name, run in runs.items() if run["system"] == system]


def _measures(runs: Runs, test: str) -> list[str]:
    """The main measures of a test set or, if it has none of them, the first ones."""
    found = list(dict.fromkeys(name for run in runs.values() for name in run["scores"].get(test, ())))
    known = [name for name in found if any(_scores(runs, system, test, name) for system in _systems(runs))]
    return [name for name in MAIN if name in known] or known[:_MOST]


def _scores(runs: Runs, system: str, test: str, measure: str) -> list[Mapping[str, Any]]:
    """The defined scores of a system's seeds."""
    found = [runs[name]["scores"].get(test, {}).get(measure) for name in _of(runs, system)]
    return [score for score in found if score and score["value"] is not None and not math.isnan(score["value"])]


def _mean(values: Any) -> float | None:
    found = [value for value in values if value is not None]
    return statistics.mean(found) if found else None


def _title(runs: Runs, test: str, measure: str) -> str:
    means = {
        system: statistics.mean(score["value"] for score in found)
        for system in _systems(runs)
        if (found := _scores(runs, system, test, measure))
    }
    best: Sequence[str] = sorted(means, key=means.__getitem__, reverse=True)[:2]
    after = f", then {best[1]}, {means[best[1]]:.2f}" if len(best) > 1 else ""
    return f"{test}: {measure} is highest with {best[0]}, {means[best[0]]:.2f}{after}"
