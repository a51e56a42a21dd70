"""Exports a run to warehouse tables, for dashboards: runs, scores and translations."""

import json
from collections.abc import Iterator

import pyarrow

from app.runs.run import Run
from app.scoring.bootstrap import Measure
from app.scoring.evaluation import DOCUMENTS
from app.scoring.results import Results
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
    """Writes a run into the tables `runs`, `scores` and `translations`; its earlier rows are replaced.

    Args:
        warehouse: the warehouse; missing tables are created.
        run: the run.
        name: the value of the column `run`; by default the folder's name.

    Returns:
        The number of rows written into each table.

    Raises:
        UserError: an existing table has other columns, or results of the run were edited or damaged.
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


def _records(run: Run) -> Iterator[tuple[str, dict]]:
    """The name of each test set and its record."""
    results = Results(run.path)
    for name in results.names():
        if record := results.read(name):
            yield name, record


def _score_rows(run: Run, name: str) -> Iterator[dict]:
    for test_set, record in _records(run):
        sections = {test_set: record, f"{test_set}-documents": record.get(DOCUMENTS, {})}
        for called, section in sections.items():
            for score in map(Measure.from_dict, section.get("scores", ())):
                yield {
                    "run": name,
                    "test_set": called,
                    "fingerprint": record["test_set"]["fingerprint"],
                    "segments": record["test_set"].get("segments"),
                    "score": score.name,
                    "value": score.value,
                    "interval": score.half_width,
                    "signature": score.signature,
                    "weights": record["weights"]["used"],
                    "search": json.dumps(record["search"], sort_keys=True),
                    "segments_per_second": record.get("decoding", {}).get("segments_per_second"),
                    "date": record["date"],
                }


def _translation_rows(run: Run, name: str) -> Iterator[list[dict]]:
    for test_set, record in _records(run):
        lines = Results(run.path).lines(record, f"{test_set}.{run.preset.data.target}") or []
        for start in range(0, len(lines), _LINES):
            yield [
                {"run": name, "test_set": test_set, "position": start + number, "translation": line}
                for number, line in enumerate(lines[start : start + _LINES])
            ]
