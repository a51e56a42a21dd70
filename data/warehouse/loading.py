"""Fills the table of pairs; each corpus is loaded whole or not at all."""

import contextlib
import datetime
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow

from data.corpora.folder import SPLITS
from data.errors import UserError
from data.files import checksum_of
from data.parallel import Job, Workers, opened
from data.warehouse.base import Warehouse
from data.warehouse.quality import VERSION, Inspector
from data.warehouse.schema import LOAD_COLUMNS, LOADS, PAIR_COLUMNS, PAIRS, arrow_schema

CHUNK = 20_000  # pairs that a process works on at a time
_SCHEMA = arrow_schema(PAIR_COLUMNS)


@dataclass(frozen=True)
class Loaded:
    """The result of loading a corpus: its name, the pairs of each split, and whether it was already there unchanged."""

    corpus: str
    pairs: dict[str, int]
    unchanged: bool = False


def load(
    warehouse: Warehouse,
    source: Any,
    name: str = "",
    inspector: Inspector | None = None,
    workers: Workers | int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Loaded:
    """Loads all splits of a corpus; rows already stored under its name are replaced in the same step.

    A corpus that was already loaded from the same text with the same options is left as it is, so an interrupted load
    of many corpora resumes with the first one that is missing.

    Args:
        warehouse: where to load it.
        source: a `data.corpora.corpora.Corpus`, or a file of `data.warehouse.files`.
        name: the value of the column `corpus`; the source's own name by default.
        inspector: computes the quality columns.
        workers: the processes that compute them, or their number; see `data.cleaning.clean`.
        progress: called with the number of pairs done.

    Returns:
        What was loaded.

    Raises:
        UserError: the source cannot be read to its end, or the warehouse cannot be written; nothing is changed then.
    """
    name, inspector, counts = name or source.name, inspector or Inspector(), {}
    fingerprint = _fingerprint(source, inspector)
    if there := _unchanged(warehouse, name, fingerprint):
        return Loaded(name, there, unchanged=True)
    _check_table(warehouse)
    with opened(workers) as pool:
        batches = _batches(source, name, inspector, pool, counts, progress)
        with contextlib.closing(batches):
            warehouse.append(PAIRS, pyarrow.RecordBatchReader.from_batches(_SCHEMA, batches), {"corpus": name})
    _note(warehouse, name, fingerprint, sum(counts.values()), inspector)
    return Loaded(name, counts)


def loads(warehouse: Warehouse) -> list[dict]:
    """The corpora that were loaded: one dictionary of `LOAD_COLUMNS` for each, sorted by name."""
    if LOADS not in warehouse.tables():
        return []
    query = f"SELECT {', '.join(LOAD_COLUMNS)} FROM {LOADS} ORDER BY corpus"
    return warehouse.records(query)


def _batches(source, name: str, inspector, pool: Workers, counts: dict, progress) -> Iterator[pyarrow.RecordBatch]:
    """The rows of all splits, with their columns; counts them by split."""
    done = 0
    for (split, docs), batch in pool.map(inspector, _jobs(source)):
        size, start = len(docs), counts.get(split, 0)
        columns = {column: batch.column(column) for column in batch.schema.names} | {
            "corpus": pyarrow.repeat(name, size),
            "split": pyarrow.repeat(split, size),
            "doc": pyarrow.array([doc or None for doc in docs], pyarrow.string()),
            "position": pyarrow.array(range(start, start + size), pyarrow.int64()),
        }
        yield pyarrow.RecordBatch.from_pydict(columns, schema=_SCHEMA)
        counts[split], done = start + size, done + size
        if progress:
            progress(done)


def _jobs(source) -> Iterator[Job]:
    for split in source.splits():
        drawn = iter(source.pairs(split))
        while chunk := list(itertools.islice(drawn, CHUNK)):
            en, de, docs = (list(column) for column in zip(*chunk, strict=True))
            yield Job((en, de), len(chunk), (split, docs))


def _fingerprint(source, inspector: Inspector) -> str:
    parts = [VERSION, sorted(asdict(inspector).items()), [(s, source.fingerprint(s)) for s in source.splits()]]
    return checksum_of(repr(parts))


def _unchanged(warehouse: Warehouse, name: str, fingerprint: str) -> dict[str, int] | None:
    """The pairs of each split, if the same text was loaded with the same options and all of it is still there."""
    known = {row["corpus"]: row for row in loads(warehouse)}.get(name)
    if not known or known["fingerprint"] != fingerprint or PAIRS not in warehouse.tables():
        return None
    query = f"SELECT split, COUNT(*) AS n FROM {PAIRS} WHERE corpus = @corpus GROUP BY split ORDER BY split"
    counts = {row["split"]: row["n"] for row in warehouse.records(query, {"corpus": name})}
    counts = {split: counts[split] for split in SPLITS if split in counts}
    return counts if sum(counts.values()) == known["pairs"] else None


def _check_table(warehouse: Warehouse) -> None:
    """Refuses a table of that name with other columns, before hours of work."""
    if PAIRS not in warehouse.tables():
        return
    there = warehouse.columns(PAIRS)
    for column, kind in PAIR_COLUMNS.items():
        if there.get(column) != kind:
            found = f"is {there[column]}" if column in there else "is missing"
            raise UserError(
                f"{warehouse.address}: table {PAIRS!r} is not one of Weitblick's pairs: column {column!r} {found} but "
                f"should be {kind}; rename the table, or choose another warehouse"
            )


def _note(warehouse: Warehouse, name: str, fingerprint: str, pairs: int, inspector: Inspector) -> None:
    row = {
        "corpus": name,
        "fingerprint": fingerprint,
        "pairs": pairs,
        "lowercase": inspector.lowercase,
        "loaded": datetime.datetime.now(datetime.UTC),
    }
    batch = pyarrow.RecordBatch.from_pylist([row], schema=arrow_schema(LOAD_COLUMNS))
    reader = pyarrow.RecordBatchReader.from_batches(batch.schema, [batch])
    warehouse.append(LOADS, reader, {"corpus": name})
