"""What a run came to as tables of a warehouse, for dashboards: runs, scores and translations."""

import json
from collections.abc import Iterator

import pyarrow

from app.runs.run import Run
from app.translation.lines import read_text
from data.errors import UserError
from data.warehouse.base import Warehouse
from data.warehouse.schema import arrow_schema

RUNS = {
    "run": "STRING",
    "preset": "STRING",
    "created": "STRING",
    "updates": "INT64",
    "seconds": "FLOAT64",
    "ended": "STRING",
    "monitor": "STRING",
    "best_update": "INT64",
    "best_score": "FLOAT64",
    "versions": "STRING",
    "settings": "STRING",
}
SCORES = {
    "run": "STRING",
    "test_set": "STRING",
    "fingerprint": "STRING",
    "segments": "INT64",
    "score": "STRING",
    "value": "FLOAT64",
    "interval": "FLOAT64",
    "signature": "STRING",
    "weights": "STRING",
    "search": "STRING",
    "segments_per_second": "FLOAT64",
    "date": "STRING",
}
TRANSLATIONS = {"run": "STRING", "test_set": "STRING", "position": "INT64", "translation": "STRING"}
_LINES = 20_000


def export_run(warehouse: Warehouse, run: Run, name: str = "") -> dict[str, int]:
    """Writes a run into the tables `runs`, `scores` and `translations`; its rows of before are replaced.

    Args:
        warehouse: where the tables are, or are made.
        run: the run.
        name: the value of the column `run`; the folder's name by default.

    Returns:
        The number of rows written into each table.

    Raises:
        UserError: a table of that name has other columns, or the run has a damaged file.
    """
    name = name or run.path.resolve().name
    tables = {
        "runs": (RUNS, iter([[_run_row(run, name)]])),
        "scores": (SCORES, iter([list(_score_rows(run, name))])),
        "translations": (TRANSLATIONS, _translation_rows(run, name)),
    }
    return {table: _write(warehouse, table, columns, rows, name) for table, (columns, rows) in tables.items()}


def _write(warehouse: Warehouse, table: str, columns: dict[str, str], rows: Iterator[list[dict]], name: str) -> int:
    schema = arrow_schema(columns)
    batches = (pyarrow.RecordBatch.from_pylist(part, schema=schema) for part in rows)
    return warehouse.append(table, pyarrow.RecordBatchReader.from_batches(schema, batches), {"run": name})


def _run_row(run: Run, name: str) -> dict:
    summary = run.summary()
    finished = summary.get("finished") or {}
    best = finished.get("best") or {}
    return {
        "run": name,
        "preset": run.preset.name,
        "created": summary.get("created"),
        "updates": finished.get("update"),
        "seconds": finished.get("seconds"),
        "ended": finished.get("why"),
        "monitor": run.preset.training.monitor,
        "best_update": best.get("update"),
        "best_score": best.get("score"),
        "versions": json.dumps(summary.get("versions", {}), sort_keys=True),
        "settings": run.preset.to_toml(),
    }


def _results(run: Run) -> Iterator[tuple[str, dict]]:
    """The name of each test set and what its file of results says."""
    for path in sorted(run.results_folder.glob("*.json")):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path}: the file is damaged ({error}); evaluate the run again") from error
        if isinstance(found, dict) and isinstance(found.get("test_set"), dict) and "scores" in found:
            yield path.stem, found


def _score_rows(run: Run, name: str) -> Iterator[dict]:
    for test_set, found in _results(run):
        for score in found["scores"]:
            yield {
                "run": name,
                "test_set": test_set,
                "fingerprint": found["test_set"].get("fingerprint"),
                "segments": found["test_set"].get("segments"),
                "score": score["name"],
                "value": score["value"],
                "interval": score.get("interval"),
                "signature": score["signature"],
                "weights": found.get("weights", {}).get("used"),
                "search": json.dumps(found.get("search", {}), sort_keys=True),
                "segments_per_second": found.get("decoding", {}).get("segments_per_second"),
                "date": found.get("date"),
            }


def _translation_rows(run: Run, name: str) -> Iterator[list[dict]]:
    for test_set, _ in _results(run):
        path = run.results_folder / f"{test_set}.{run.preset.data.target}"
        lines = read_text(path) if path.is_file() else []
        for start in range(0, len(lines), _LINES):
            yield [
                {"run": name, "test_set": test_set, "position": start + number, "translation": line}
                for number, line in enumerate(lines[start : start + _LINES])
            ]
