"""The scoreboard: a page with a row for each test set that a run was scored on, and how to make each row again."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from app.comparison.report import markdown_table
from app.comparison.rows import CORPORA, Row
from app.scoring.bootstrap import Measure
from data.errors import UserError
from data.files import read_json, write_between, write_json

BEGIN, END = "<!-- begin: written by weitblick scoreboard -->", "<!-- end: written by weitblick scoreboard -->"
COLUMNS = ("test", "score", "on Moses tokens", "run", "updates", "tokens", "minutes", "weights", "made on")
UNKNOWN = "-"


def read_rows(path: Path | str) -> list[Row]:
    """The rows of a scoreboard's JSON file; none if there is no file.

    Raises:
        UserError: the file is damaged.
    """
    if not Path(path).exists():
        return []
    try:
        return [Row.from_dict(one) for one in read_json(path)["rows"]]
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is not a scoreboard; expected the file that `weitblick scoreboard` wrote") from error


def write_board(page: Path | str, rows: Sequence[Row]) -> list[Row]:
    """Puts rows into a page between its two markers, and into a JSON file of the same name.

    Rows of other runs stay. Rows of the same run and test set are replaced.

    Args:
        page: a Markdown page.
        rows: the new rows.

    Returns:
        All rows, by test set, the best first.

    Raises:
        UserError: there is no such page, or it has no markers.
    """
    record = Path(page).with_suffix(".json")
    every = ordered({(row.run, row.test): row for row in (*read_rows(record), *rows)}.values())
    write_between(page, BEGIN, END, "\n".join(_markdown(every)))
    write_json(record, {"rows": [asdict(row) for row in every]})
    return every


def ordered(rows: Iterable[Row]) -> list[Row]:
    """Rows by test set, the best first; those that differ only in the seed stand together, placed by their mean."""
    rows = list(rows)
    means = {
        _alike(row): statistics.mean(each.main.value for each in rows if _alike(each) == _alike(row)) for row in rows
    }
    return sorted(rows, key=lambda row: (row.test, -means[_alike(row)], _alike(row), -row.main.value, row.run))


def table(rows: Sequence[Row]) -> list[list[str]]:
    """The rows for people, under `COLUMNS`, with a line for the mean of those that differ only in the seed.

    Args:
        rows: as `ordered` returns them.
    """
    found: list[list[str]] = []
    for _, group in groupby(rows, _alike):
        same = list(group)
        found += map(_cells, same)
        found += _mean(same)
    return found


def _alike(row: Row) -> tuple:
    """What only rows that differ in nothing but the seed have in common."""
    own = (row.run,) if row.obstacle else ()
    return (row.test, row.fingerprint, row.preset, row.changes, row.start, row.main.name, row.main.signature, own)


def _cells(row: Row) -> list[str]:
    trained = [f"{row.updates:,}", _millions(row.tokens), f"{row.minutes:.1f}"]
    made = f"{row.machine}; {row.commit}, {row.date[:10]}"
    sizes = [*(3 * [UNKNOWN] if row.imported else trained), f"{row.weights:,}"]
    moses = _figure(Measure.from_dict(row.moses)) if row.moses else UNKNOWN
    return [row.test, f"{row.main.name} {_figure(row.main)}", moses, row.run, *sizes, made]


def _mean(same: Sequence[Row]) -> Iterator[list[str]]:
    """The line for the mean over seeds, if there are several; if a seed was trained twice, the last one counts."""
    newest = {row.seed: row for row in sorted(same, key=lambda row: row.date)}
    if len(newest) < 2:
        return
    rows = [newest[seed] for seed in sorted(newest)]
    moses = [row.moses["value"] for row in rows if row.moses]
    yield [
        rows[0].test,
        f"{rows[0].main.name} {_spread([row.main.value for row in rows])}",
        _spread(moses) if len(moses) == len(rows) else UNKNOWN,
        f"mean of {len(rows)} seeds",
        *(3 * [""]),
        f"{rows[0].weights:,}",
        f"seeds {', '.join(str(row.seed) for row in rows)}; lowest and highest in brackets",
    ]


def _figure(measure: Measure) -> str:
    """A score with its 95% interval."""
    interval = "" if measure.low is None else f" ({measure.low:.1f} - {measure.high:.1f})"
    return f"{measure.value:.1f}{interval}"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.1f} ({min(values):.1f} - {max(values):.1f})"


def _millions(tokens: int | None) -> str:
    return UNKNOWN if tokens is None else f"{tokens / 1e6:.1f}"


def _markdown(rows: Sequence[Row]) -> Iterator[str]:
    yield from markdown_table(COLUMNS, table(rows))
    yield ""
    scores = [score for row in rows for score in (row.scores[0], row.moses) if score and score["signature"]]
    signatures = dict.fromkeys(score["signature"] for score in scores)
    if signatures:
        yield f"Signatures: {', '.join(f'`{one}`' for one in signatures)}."
        yield ""
    yield "```text"
    for row in {row.run: row for row in rows}.values():
        yield f"{row.run}: {row.command}"
    yield "```"
    names = dict.fromkeys(name for row in rows for name in row.corpora)
    if names:
        yield ""
        yield f"`{CORPORA}` is the folder that holds {', '.join(f'`{name}`' for name in names)}."
    obstacles = {row.run: row.obstacle for row in rows if row.obstacle}
    for run, why in obstacles.items():
        yield ""
        yield f"`{run}` cannot be repeated by a command: {why}."
