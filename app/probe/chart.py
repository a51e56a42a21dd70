"""Plots recall against distance, on the terminal and as a figure."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.figure import FAINT, beside, curve, svg
from app.probe.candidates import Reach
from app.probe.experiment import Experiment, Results
from data.files import atomic_write
from models.memories import parts_of, settings_in, settings_of, trained_kinds

if TYPE_CHECKING:
    from rich.console import Console

_BLOCKS = " ▁▂▃▄▅▆▇█"


def show(results: Results, console: "Console") -> None:
    """Prints a table with a small bar chart in each row, and one of the reach and size of each memory."""
    from rich.table import Table

    experiment = results.experiment
    table = Table(title="right answers in %, by windows between fact and question", title_justify="left")
    table.add_column("memory")
    table.add_column("", no_wrap=True)
    for distance in experiment.distances:
        table.add_column(f"{distance}", justify="right")
    for name, found in results.memories.items():
        shares = [recall["recall"] for recall in found["recall"]]
        drawing = "".join(_BLOCKS[round(share * (len(_BLOCKS) - 1))] for share in shares)
        table.add_row(name, drawing, *(f"{100 * share:.1f}" for share in shares))
    console.print(table)
    console.print(f"chance: {100 / experiment.task.values:.1f}%; {experiment.documents:,} questions at each distance")
    table = Table(title="how far the design reaches, and the memory state of a document", title_justify="left")
    table.add_column("memory")
    table.add_column("windows, directly to through all layers", justify="right")
    table.add_column("bytes", justify="right")
    for name, found in results.memories.items():
        table.add_row(name, str(_promised(found) or "no limit"), f"{found['state_bytes']:,}")
    console.print(table)


def draw(results: Results, path: str | Path) -> bool:
    """Writes the figure with its 95% intervals as SVG.

    Returns:
        Whether Matplotlib is installed.
    """
    content = svg("recall", lambda figure: _fill(figure.subplots(), results), (8.5, 4.0))
    if content is None:
        return False
    with atomic_write(path) as file:
        file.write(content)
    return True


def _fill(axis: Any, results: Results) -> None:
    experiment = results.experiment
    for number, (name, found) in enumerate(results.memories.items()):
        recalls = found["recall"]
        distances = [recall["distance"] for recall in recalls]
        low, middle, high = ([100 * recall[name] for recall in recalls] for name in ("low", "recall", "high"))
        look = curve(number)
        colour = look["color"]
        axis.fill_between(distances, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.plot(distances, middle, **look, label=_label(name, found["kind"], found))
        if (promised := _promised(found)) and distances[0] <= promised.direct <= distances[-1]:
            axis.plot([promised.direct], [100], color=colour, marker=7, markersize=8, zorder=4)  # 7: a caret
    chance, last = 100 / experiment.task.values, max(experiment.distances)
    axis.axhline(chance, color=FAINT, linewidth=1, linestyle=":")
    axis.annotate("chance", (last, chance), (0, 9), textcoords="offset points", ha="right", color=FAINT)
    _mark_training(axis, experiment)
    axis.set_xscale("log", base=2)
    axis.set_xticks(experiment.distances, experiment.distances)
    axis.set_ylim(0, 103)
    axis.set_xlabel("windows between the fact and the question")
    axis.set_ylabel("right answers, %")
    axis.set_title("How often a memory still knows a fact, by how long ago it stood there")
    beside(axis)


def _mark_training(axis: Any, experiment: Experiment) -> None:
    """Marks the farthest distance in training documents."""
    farthest = experiment.longest - 1
    if farthest < max(experiment.distances):
        axis.axvline(farthest, color=FAINT, linewidth=1, linestyle=":")
        place = (farthest, 50)
        axis.annotate("none farther\nin training", place, (-4, 0), textcoords="offset points", ha="right", color=FAINT)


def _promised(found: dict[str, Any]) -> Reach | None:
    return Reach(**found["promised"]) if found["promised"] else None


def _label(name: str, kind: str, found: dict[str, Any]) -> str:
    """The name, capacity, reach and size of a memory, such as "gru: 64 slots" with "32,768 bytes" below it."""
    known = settings_in(kind) if set(parts_of(kind)) <= set(trained_kinds()) else {}
    types = {part: {key.name: key.type for key in fields(settings_of(part))} for part, _ in known.values()}
    whole = [key for key, (part, name) in known.items() if types[part][name] is int]
    counts = ["context"] if kind == "concat" else whole
    held = ", ".join(f"{found['settings'][key]} {key}" for key in counts if f"{key}=" not in name)
    promised = _promised(found)
    about = [f"{promised} windows"] if promised and promised.most else []
    about += [f"{found['state_bytes']:,} bytes"] if found["state_bytes"] else []
    return (f"{name}: {held}" if held else name) + ("\n" + ", ".join(about) if about else "")
