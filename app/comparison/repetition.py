"""Makes a row of the scoreboard once more and compares it."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from app.comparison.processes import run_process
from app.comparison.rows import Row, rows_of
from app.presets.preset import load_preset
from data.errors import UserError

LOG = "repetition.log"


def find_row(rows: list[Row], name: str, test: str = "") -> Row:
    """The row of a run, on one of its test sets.

    Raises:
        UserError: there is none, or there are several.
    """
    found = [row for row in rows if row.run == name and test in ("", row.test)]
    if not found:
        known = ", ".join(sorted({row.run for row in rows})) or "none"
        raise UserError(f"{name}: no such row; there are {known}")
    if len(found) > 1:
        tests = ", ".join(repr(row.test) for row in found)
        raise UserError(f"{name}: was scored on several test sets; choose one with --test: {tests}")
    return found[0]


def repeat(row: Row, folder: Path, corpora: list[str], updates: int, tell: Callable[[str], None]) -> Row:
    """Trains and scores a run as a row says.

    Args:
        row: a row of the scoreboard.
        folder: the new run folder; an interrupted repetition resumes there.
        corpora: where corpora are looked for.
        updates: fewer updates, to see that everything runs; 0 for those of the row.
        tell: called with a line before each step.

    Returns:
        The new row, of the same test set.

    Raises:
        UserError: the row cannot be made again, a corpus is missing, a step failed, or the text of the test set is not
            that of the row.
    """
    if row.obstacle:
        raise UserError(f"{row.run}: cannot be repeated by a command: {row.obstacle}")
    more = [f"training.updates={updates}", "training.warmup=1"] if updates else []
    preset = load_preset(row.preset, [*row.settings, *more])
    for name in row.corpora:
        preset.corpora(corpora).open(name)
    options = ["--corpora", *corpora] if corpora else []
    command = "evaluate-documents" if row.main.units == "documents" else "evaluate"
    steps = {
        "training": ["train", row.preset, "--run", str(folder), "--set", *row.settings, *more, *options],
        "scoring": [command, str(folder), *row.scoring, *options],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, arguments in steps.items():
        tell(f"{name}: weitblick {shlex.join(arguments)}")
        with open(folder / LOG, "ab") as log:
            code = run_process([sys.executable, "-m", "app", *arguments], log)
        if code:
            raise UserError(f"{name}: ended with code {code}; {folder / LOG} says why")
    found = [one for one in rows_of(folder) if one.test == row.test]
    if not found or found[0].fingerprint != row.fingerprint:
        raise UserError(
            f"{row.test}: the text is not the one that the row was scored on, so the scores cannot be compared"
        )
    return found[0]


def agrees(row: Row, other: Row) -> bool:
    """Whether the main score of a repetition lies within the 95% interval of the row's."""
    low, high = row.main.low, row.main.high
    return low is None or high is None or low <= other.main.value <= high
