"""The results of the measurements by length of a document: a file, tables and a figure."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.figure import COLOURS, svg
from data.errors import UserError
from data.files import atomic_write, read_json, write_json

if TYPE_CHECKING:
    from rich.console import Console

RESULTS, FIGURE = "length.json", "length.svg"
TRANSLATION, TRAINING = "translation", "training"


def add(folder: str | Path, run: str, memory: str, what: str, found: dict[str, Any]) -> dict[str, Any]:
    """Adds a measurement to the results file in a folder, and returns all measurements in it.

    Args:
        folder: the folder of the results file; created if missing.
        run: the run that was measured.
        memory: a description of its memory, for people.
        what: `TRANSLATION` or `TRAINING`.
        found: the measurement; replaces an earlier one of the same run.

    Raises:
        UserError: the file is not a results file.
    """
    path = Path(folder) / RESULTS
    runs = read_json(path).get("runs") if path.exists() else {}
    if not isinstance(runs, dict):
        raise UserError(f"{path}: is not a results file by length: move it away, or choose --output")
    runs[run] = {**runs.get(run, {}), "memory": memory, what: found}
    write_json(path, {"runs": runs})
    return runs


def show(runs: dict[str, Any], console: "Console") -> None:
    """Prints time and memory by length: a row for each run's translation and training."""
    from rich.table import Table

    rows = [
        (Path(run).name, found["memory"], what, found[what])
        for what in (TRANSLATION, TRAINING)
        for run, found in runs.items()
        if what in found
    ]
    lengths = sorted({row["tokens"] for *_, found in rows for row in found["lengths"]})
    titles = {
        "seconds for 1,000 source tokens, by length of the document in tokens": lambda row: (
            f"{row['seconds_per_1000']:.2f}"
        ),
        "most MB resident, and MB above the beginning for 1,000 tokens": lambda row: (
            f"{row['peak_megabytes']:,.0f} {row['megabytes_per_1000']:+.1f}"
        ),
    }
    for title, cell in titles.items():
        table = Table(title=title, title_justify="left")
        for name in ("run", "memory", ""):
            table.add_column(name)
        for name in ("state, bytes", *(f"{length:,}" for length in lengths)):
            table.add_column(name, justify="right")
        for run, memory, what, found in rows:
            cells = {row["tokens"]: cell(row) for row in found["lengths"]}
            known = [cells.get(length, "") for length in lengths]
            table.add_row(run, memory, what, f"{found['state_bytes']:,}", *known)
        console.print(table)


def draw(rows: list[dict[str, float]], folder: str | Path) -> bool:
    """Writes the figure of speed and memory by position, if Matplotlib is installed; returns whether it is."""
    content = svg("long", lambda figure: _fill(figure, rows))
    if content is None:
        return False
    with atomic_write(Path(folder) / FIGURE) as file:
        file.write(content)
    return True


def _fill(figure: Any, rows: list[dict[str, float]]) -> None:
    upper, lower = figure.subplots(2, sharex=True)
    places = [row["position"] for row in rows]
    for axis, name, colour in ((upper, "output", COLOURS[0]), (lower, "megabytes", COLOURS[3])):
        axis.plot(places, [row[name] for row in rows], color=colour, marker="o", markersize=3)
        axis.set_ylim(0, 1.1 * axis.dataLim.ymax)
    upper.set_title("Speed and memory while a long document is translated")
    upper.set_ylabel("output tokens/s")
    lower.set_ylabel("MB resident")
    lower.set_xlabel("position in the document, source tokens")
    lower.xaxis.set_major_formatter("{x:,.0f}")
