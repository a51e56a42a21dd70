"""Chooses the figures of runs or of a comparison, draws them and writes them as SVG and PNG."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from app.comparison.systems import costs_size, draw_costs, draw_systems, scored_texts, scores_size
from app.figure import SIZE, render
from app.plots.document import draw_gates, draw_slots, slots_size
from app.plots.learning import HOURS, draw_learning
from app.plots.material import Material, NoData, is_comparison, read_comparison
from app.plots.scores import LENGTH, POSITION, draw_scores
from app.plots.sentence import alignment_size, attention_size, draw_alignment, draw_attention
from data.errors import UserError
from data.files import atomic_write
from data.installing import extra_command

FOLDER = "plots"
_LEARNING = (7.6, 5.0)  # inches


class Drawing(NamedTuple):
    """A figure: its name, what draws it, and its size in inches."""

    name: str
    fill: Callable[[Any], None]
    size: tuple[float, float] = SIZE


class Plotted(NamedTuple):
    """The names of the figures that were written, and why others were not: reason to names."""

    written: list[str]
    left_out: dict[str, list[str]]


Known = Mapping[str, Callable[[Any], list[Drawing]]]


def draw_runs(material: Material, figures: Sequence[str], folder: Path) -> Plotted:
    """Writes figures of runs.

    Args:
        material: the runs.
        figures: names from `app.plots.OF_RUNS`; empty for all that there is data for.
        folder: where to write them.

    Raises:
        UserError: there is no data for a figure that was named, or a file is damaged.
    """
    return _write(_RUNS, material, figures, folder)


def draw_comparison(path: Path, figures: Sequence[str], folder: Path) -> Plotted:
    """Does the same for the folder of a comparison, with names from `app.plots.OF_COMPARISON`."""
    if not is_comparison(path):
        raise UserError(f"{path}: not the folder of a comparison")
    return _write(_COMPARISON, read_comparison(path), figures, folder)


def _write(known: Known, source: Any, figures: Sequence[str], folder: Path) -> Plotted:
    done = Plotted([], {})
    for name in figures or known:
        try:
            drawings = known[name](source)
        except NoData as error:
            if figures:
                raise UserError(f"{name}: {error}") from None
            done.left_out.setdefault(str(error), []).append(name)
            continue
        for drawing in drawings:
            _save(drawing, folder)
            done.written.append(drawing.name)
    return done


def _save(drawing: Drawing, folder: Path) -> None:
    files = render(drawing.name, drawing.fill, drawing.size)
    if files is None:
        raise UserError(f"figures need Matplotlib: {extra_command('plots')}")
    for kind, content in files.items():
        with atomic_write(folder / f"{drawing.name}.{kind}") as file:
            file.write(content)


def _learning(material: Material) -> list[Drawing]:
    return [Drawing("learning", partial(draw_learning, logs=material.logs), _LEARNING)]


def _learning_by_hours(material: Material) -> list[Drawing]:
    return [Drawing("learning-hours", partial(draw_learning, logs=material.timed_logs, by=HOURS), _LEARNING)]


def _attention(material: Material) -> list[Drawing]:
    found = material.attention
    return [Drawing("attention", partial(draw_attention, found=found), attention_size(found))]


def _alignment(material: Material) -> list[Drawing]:
    found = material.attention
    return [Drawing("alignment", partial(draw_alignment, found=found), alignment_size(found))]


def _gates(material: Material) -> list[Drawing]:
    return [Drawing("gates", partial(draw_gates, records=material.records))]


def _slots(material: Material) -> list[Drawing]:
    records = material.records
    return [Drawing("slots", partial(draw_slots, records=records), slots_size(records))]


def _bleu(material: Material, what: str) -> list[Drawing]:
    return [
        Drawing(f"{what}-{test}", partial(draw_scores, what=what, test=test, runs=runs))
        for test, runs in material.scores(what).items()
    ]


def _scores(found: Any) -> list[Drawing]:
    runs, baseline = found["runs"], found["baseline"]
    tests = scored_texts(runs)
    if not tests:
        raise NoData("no run is scored yet")
    return [
        Drawing(
            f"scores-{test}",
            partial(draw_systems, runs=runs, test=test, baseline=baseline),
            scores_size(runs, test),
        )
        for test in tests
    ]


def _costs(found: Any) -> list[Drawing]:
    runs = {name: run for name, run in found["runs"].items() if run["updates"]}
    if not runs:
        raise NoData("no training has begun yet")
    return [Drawing("costs", partial(draw_costs, runs=runs), costs_size(runs))]


_RUNS: Known = {
    "learning": _learning,
    "learning-hours": _learning_by_hours,
    "attention": _attention,
    "alignment": _alignment,
    "gates": _gates,
    "slots": _slots,
    LENGTH: lambda material: _bleu(material, LENGTH),
    POSITION: lambda material: _bleu(material, POSITION),
}
_COMPARISON: Known = {"scores": _scores, "costs": _costs}
