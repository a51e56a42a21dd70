"""Translates a column of a warehouse's table into another table, part by part, so that it can be resumed."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow

from app.translation.lines import DocumentLine
from app.translation.translator import Translator
from data.errors import UserError
from data.files import checksum_of
from data.pairs import by_document
from data.warehouse.base import Warehouse
from data.warehouse.order import in_order
from data.warehouse.schema import arrow_schema
from data.warehouse.sql import is_name, statement, tables_in, user_query

# Columns that are copied if they exist.
KEPT = {"corpus": "STRING", "split": "STRING", "doc": "STRING", "position": "INT64"}
# A part's number, and a hash of what it was made from.
PART, DIGEST = "part", "digest"


@dataclass(frozen=True)
class Translated:
    """The rows that were translated, and those that were there already."""

    rows: int
    kept: int


class TableTranslator:
    """Makes a table of translations, with the columns of a corpus, so that a training can read it.

    The table has the source and target languages as columns, `score` (the search's), and of `KEPT` what the query has.
    It grows by whole parts. A part that was made from the same rows by the same model is left as it is.

    Args:
        warehouse: where both tables are.
        translator: translates rows of a document in its context if it reads documents.
        source, target: the languages, which are the names of the columns.
        made_by: describes model and search; parts made by another are translated again.
        size: rows of a part; documents are not cut if the translator reads documents.

    Example:
        >>> TableTranslator(warehouse, Translator.of_run(run), "en", "de", "starter").translate("pairs", "translated")
    """

    def __init__(
        self, warehouse: Warehouse, translator: Translator, source: str, target: str, made_by: str, size: int = 2000
    ):
        self.warehouse, self.translator = warehouse, translator
        self.source, self.target, self.made_by, self.size = source, target, made_by, size

    def translate(self, what: str, into: str, progress: Callable[[int], None] | None = None) -> Translated:
        """Translates all rows.

        Args:
            what: a table, a view or a SELECT, with the source language's column.
            into: the table to make, or to continue.
            progress: called with the number of rows done.

        Returns:
            How many rows were translated and kept.

        Raises:
            UserError: the column is missing or is not text, or `into` holds something else or is read itself.
        """
        query, columns = self._query(what)
        known = self._parts_of(what, into, columns)
        rows = kept = number = 0
        for part in self._parts(query, [*columns, self.source]):
            digest = checksum_of([self.made_by, part])
            if known.get(number) == digest:
                kept += len(part)
            else:
                rows += self._write(part, into, columns, {PART: number, DIGEST: digest}, number in known)
            number += 1
            if progress:
                progress(rows + kept)
        if any(later >= number for later in known):
            self.warehouse.run(statement(f"DELETE FROM made WHERE {PART} >= @part", made=into), {"part": number})
        return Translated(rows, kept)

    def _query(self, what: str) -> tuple[Any, dict[str, str]]:
        """The query for the rows, and those columns of the new table that they have, with their types."""
        there = self.warehouse.columns(what) if is_name(what) else self.warehouse.schema(user_query(what))
        if there.get(self.source) != "STRING":
            found = f"is {there[self.source]}" if self.source in there else f"is missing; there is {', '.join(there)}"
            raise UserError(f"{self.warehouse.address}, {what}: column {self.source!r} must be text, but {found}")
        columns = {name: kind for name, kind in KEPT.items() if there.get(name) == kind}
        return in_order(self.warehouse, what, [*columns, self.source]), columns

    def _parts_of(self, what: str, into: str, columns: dict[str, str]) -> dict[int, str]:
        """The parts that exist, with their hashes; "" for a part whose rows have several."""
        self.warehouse.check_new(into, [what] if is_name(what) else tables_in(user_query(what)))
        if into not in self.warehouse.tables():
            return {}
        there, wanted = self.warehouse.columns(into), self._columns(columns)
        if there != wanted:
            raise UserError(
                f"{self.warehouse.address}: table {into!r} was not made by this command from rows like these: it has "
                f"the columns {', '.join(there)}, not {', '.join(wanted)}; choose another name"
            )
        text = f"SELECT {PART}, MIN({DIGEST}) AS low, MAX({DIGEST}) AS high FROM made GROUP BY {PART}"
        found = self.warehouse.records(statement(text, made=into))
        return {row[PART]: row["low"] if row["low"] == row["high"] else "" for row in found}

    def _columns(self, columns: dict[str, str]) -> dict[str, str]:
        text = {self.source: "STRING", self.target: "STRING"}
        return {**columns, **text, "score": "FLOAT64", PART: "INT64", DIGEST: "STRING"}

    def _parts(self, query, names: Sequence[str]) -> Iterator[list[dict]]:
        batches = (batch.select(list(names)) for batch in self.warehouse.rows(query))
        rows = (row for batch in batches for row in batch.to_pylist())
        # Windows may have several segments, even if no window depends on another.
        alone = self.translator.independent and self.translator.decoder.first_memory is None
        if alone or "doc" not in names:
            while some := list(itertools.islice(rows, self.size)):
                yield some
            return
        part: list[dict] = []
        for document in by_document(rows, _document):
            part += document
            if len(part) >= self.size:
                yield part
                part = []
        if part:
            yield part

    def _write(self, part: list[dict], into: str, columns: dict[str, str], marks: dict, there: bool) -> int:
        texts = [row[self.source] or "" for row in part]
        found = list(self.translator.translate_lines(self._lines(part, texts)))
        rows = [
            {**{name: row[name] for name in columns}, self.source: row[self.source], self.target: each.text}
            | {"score": each.score, **marks}
            for row, each in zip(part, found, strict=True)
        ]
        schema = arrow_schema(self._columns(columns))
        batch = pyarrow.RecordBatch.from_pylist(rows, schema=schema)
        replaced = {PART: marks[PART]} if there else None  # looking for rows that do not exist costs a query
        return self.warehouse.append(into, pyarrow.RecordBatchReader.from_batches(schema, [batch]), replaced)

    def _lines(self, part: Sequence[dict], texts: Sequence[str]) -> Iterator[DocumentLine]:
        """The rows as lines."""
        numbers = (number for number, document in enumerate(by_document(part, _document)) for _ in document)
        return (DocumentLine(number, text) for number, text in zip(numbers, texts, strict=True))


def _document(row: dict) -> tuple | None:
    """What the rows of one document of one corpus and split have in common."""
    return (row.get("corpus"), row.get("split"), row["doc"]) if row.get("doc") else None


def sql_function(translator: Translator) -> Callable[[Sequence[str]], list[str]]:
    """A function that translates texts, each alone, for a warehouse's SQL; it may be called by several threads."""
    lock = threading.Lock()

    def translate(texts: Sequence[str]) -> list[str]:
        with lock:
            return translator.translate_all(list(texts))

    return translate
