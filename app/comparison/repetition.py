"""A row of the scoreboard, made once more and compared."""

import sys
from collections.abc import Callable
from pathlib import Path

from app.comparison.processes import run_process
from app.comparison.scoreboard import Row, rows_of
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
        raise UserError(f"{name}: was scored on several test sets; choose by --test: {tests}")
    return found[0]


def repeat(row: Row, folder: Path, corpora: list[str], updates: int, tell: Callable[[str], None]) -> Row:
    """Trains and scores a run as a row says.

    Args:
        row: of the scoreboard.
        folder: the new run folder; an interrupted repetition goes on there.
        corpora: where corpora are looked for.
        updates: fewer, to see that everything runs; 0 for those of the row.
        tell: called with a line before each step.

    Returns:
        The new row, of the same test set.

    Raises:
        UserError: a step failed, or the test set has another text than that of the row.
    """
    more = [f"training.updates={updates}", "training.warmup=1"] if updates else []
    start = [f"training.start={row.start}"] if row.start else []
    changes = [*row.changes, f"training.seed={row.seed}", *start, *more]
    options = ["--corpora", *corpora] if corpora else []
    steps = {
        "training": ["train", row.preset, "--run", str(folder), "--set", *changes, *options],
        "scoring": [*_scoring(row, folder), *options],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, arguments in steps.items():
        tell(f"{name}: weitblick {' '.join(arguments)}")
        with open(folder / LOG, "ab") as log:
            code = run_process([sys.executable, "-m", "app", *arguments], log)
        if code:
            raise UserError(f"{name}: ended with code {code}; {folder / LOG} says why")
    found = [one for one in rows_of(folder) if one.test == row.test]
    if not found or found[0].fingerprint != row.fingerprint:
        raise UserError(
            f"{row.test}: the text is not the one that the row was scored on, so that scores do not compare"
        )
    return found[0]


def _scoring(row: Row, folder: Path) -> list[str]:
    """The command that scores a run as the row was scored."""
    corpus, separate, split = row.test.partition(", ")
    if not separate:
        raise UserError(f"{row.test}: was scored from files; only what is in a corpus can be scored again")
    command = "evaluate-documents" if row.main.units == "documents" else "evaluate"
    return [command, str(folder), "--corpus", corpus, *(["--split", split] if split != "test" else [])]


def agrees(row: Row, other: Row) -> bool:
    """Whether the main score of a repetition lies within the 95% interval of the row's."""
    low, high = row.main.low, row.main.high
    return low is None or high is None or low <= other.main.value <= high
