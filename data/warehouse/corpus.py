"""A corpus that is a query: `warehouse:...` in a preset."""

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow
from sqlglot import exp

from data.corpora.folder import SPLITS
from data.errors import UserError
from data.files import checksum_of, refuse_long
from data.pairs import Pair, consecutive
from data.warehouse.base import Warehouse
from data.warehouse.opening import open_warehouse
from data.warehouse.sql import STANDARD, is_name, statement, user_query


class WarehouseCorpus:
    """The pairs of a table, a view or a SELECT, streamed in the order of documents.

    The rows must have columns named after the two languages. The columns `doc`, `split` and `corpus` are used if they
    are there: without `split` all rows are "train", and with `corpus` documents of the same name in two corpora are
    kept apart. Rows are read in the order of a SELECT's own ORDER BY; without one they need `corpus` and `position`,
    and the SELECT must have no LIMIT.

    Args:
        query: the name of a table or view, or a SELECT in standard SQL.
        source, target: languages.
        address: of the warehouse; "" for $WEITBLICK_WAREHOUSE.

    Raises:
        UserError: the query is not a single SELECT.

    Example:
        >>> corpus = WarehouseCorpus("SELECT * FROM cleaned WHERE corpus = 'europarl'", address="corpora.duckdb")
        >>> next(corpus.pairs("train"))
    """

    licence = "as the corpora's owners say"
    obtain = "`weitblick corpora load` fills a warehouse"

    def __init__(self, query: str, source: str = "en", target: str = "de", address: str = ""):
        self.source, self.target, self.address = source, target, address
        query = query.strip()
        self._tree = statement("SELECT * FROM source", source=query) if is_name(query) else user_query(query)
        self.name = (
            f"warehouse-{query}" if is_name(query) else f"warehouse-query-{checksum_of(self._tree.sql(STANDARD))}"
        )
        self.description = f"{query} in a warehouse"
        self._kinds: dict[str, str] = {}
        self._fingerprints: dict[str, str] = {}

    @property
    def has_documents(self) -> bool:
        """Whether any pair names its document."""
        with self._opened() as warehouse:
            if "doc" not in self._kinds:
                return False
            return self._number(warehouse, "SELECT COUNT(*) AS n FROM query WHERE doc IS NOT NULL") > 0

    def prepare(self, report: Callable[[str], None] | None = None) -> None:
        """Nothing to fetch."""

    def splits(self) -> tuple[str, ...]:
        """Those of "train", "validation" and "test" that exist."""
        with self._opened() as warehouse:
            if "split" not in self._kinds:
                return ("train",)
            found = {row["split"] for row in warehouse.records(self._around("SELECT DISTINCT split FROM query"))}
        if found - set(SPLITS):
            wrong = ", ".join(sorted(repr(split) for split in found - set(SPLITS)))
            raise UserError(f"{self.description}: column 'split' has {wrong}; expected only {', '.join(SPLITS)}")
        return tuple(split for split in SPLITS if split in found)

    def pairs(self, split: str) -> Iterator[Pair]:
        """Streams the pairs of a split in order.

        Args:
            split: "train", "validation" or "test".

        Yields:
            `Pair`s; NULL becomes "".

        Raises:
            UserError: there is no such split or column, the rows have no order, or those of a document are not
                consecutive.
        """
        return consecutive(self._pairs(split), lambda number: f"{self.description}, row {number:,} of {split}")

    def _pairs(self, split: str) -> Iterator[Pair]:
        for batch in self._batches(split):
            docs = batch.column("doc").to_pylist()
            if "corpus" in self._kinds:
                corpora = batch.column("corpus").to_pylist()
                docs = [f"{corpus}/{doc}" if doc else "" for corpus, doc in zip(corpora, docs, strict=True)]
            columns = (batch.column(side).to_pylist() for side in (self.source, self.target))
            for en, de, doc in zip(*columns, docs, strict=True):
                source, target = (refuse_long(text or "", self.description) for text in (en, de))
                yield Pair(source, target, doc or "")

    def size(self, split: str) -> int | None:
        """The number of pairs."""
        with self._opened() as warehouse:
            if "split" not in self._kinds:
                return self._number(warehouse, "SELECT COUNT(*) AS n FROM query") if split == "train" else None
            return self._number(warehouse, "SELECT COUNT(*) AS n FROM query WHERE split = @split", {"split": split})

    def fingerprint(self, split: str) -> str:
        """A hash of all rows in order, for which all of them are read; see `FolderCorpus.fingerprint`."""
        if split not in self._fingerprints:
            columns: dict[str, tuple] = {}
            for batch in self._batches(split):
                for name in batch.schema.names:
                    if name not in columns:
                        columns[name] = (hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16))
                    lengths, content = columns[name]
                    _update(lengths, content, batch.column(name))
            parts = [f"{self.source}-{self.target}", *(h.hexdigest() for pair in columns.values() for h in pair)]
            self._fingerprints[split] = checksum_of("\n".join(parts))
        return self._fingerprints[split]

    def _batches(self, split: str) -> Iterator[pyarrow.RecordBatch]:
        """The columns that are needed, of one split, in order."""
        splits = self.splits()
        if split not in splits:
            raise UserError(f"{self.description}: no split {split!r}; it has {', '.join(splits) or 'no pair'}")
        with self._opened() as warehouse:
            wanted = [self.source, self.target, *(name for name in ("doc", "corpus") if name in self._kinds)]
            ordered = isinstance(self._tree.args.get("order"), exp.Order)
            if ordered:
                found = self._of_split(warehouse.rows(self._tree), split)
            else:
                query, parameters = self._in_order(wanted, split)
                found = warehouse.rows(query, parameters)
            for batch in found:
                columns = {name: batch.column(name) for name in wanted}
                if "doc" not in columns:
                    columns["doc"] = pyarrow.nulls(batch.num_rows, pyarrow.string())
                yield pyarrow.RecordBatch.from_pydict(columns | {"doc": columns["doc"].cast(pyarrow.string())})

    def _of_split(self, batches, split: str) -> Iterator[pyarrow.RecordBatch]:
        """Selects a split here: as a subquery, an ordered query would lose its order."""
        import pyarrow.compute as pc

        for batch in batches:
            yield batch.filter(pc.equal(batch.column("split"), split)) if "split" in self._kinds else batch

    def _in_order(self, wanted: list[str], split: str) -> tuple[exp.Expression, dict]:
        """The query with its rows in the order of `corpus` and `position`."""
        if self._tree.args.get("limit") or "corpus" not in self._kinds or "position" not in self._kinds:
            raise UserError(
                f"{self.description}: the rows have no order; add ORDER BY to the SELECT, or have it return the "
                "columns corpus and position"
            )
        where, parameters = "", {}
        if "split" in self._kinds:
            where, parameters = "WHERE split = @split", {"split": split}
        around = self._around(f"SELECT * FROM query {where} ORDER BY corpus, position")
        around.set("expressions", [exp.column(exp.to_identifier(name, quoted=True)) for name in wanted])
        return around, parameters

    def _around(self, text: str) -> exp.Expression:
        """A statement about the rows of the query."""
        tree = statement(text)
        for table in list(tree.find_all(exp.Table)):
            table.replace(self._tree.copy().subquery("query"))
        return tree

    def _number(self, warehouse: Warehouse, text: str, parameters=None) -> int:
        return warehouse.records(self._around(text), parameters)[0]["n"]

    def _opened(self) -> Warehouse:
        """The warehouse, with the query's columns known and checked."""
        warehouse = open_warehouse(self.address, read_only=True)
        try:
            if not self._kinds:
                self._kinds = self._check(warehouse)
        except BaseException:
            warehouse.close()
            raise
        return warehouse

    def _check(self, warehouse: Warehouse) -> dict[str, str]:
        kinds = warehouse.schema(self._tree)
        for language in (self.source, self.target):
            if language not in kinds:
                raise UserError(
                    f"{self.description}: there is no column {language!r}, only {', '.join(kinds)}; name the columns "
                    f"by the languages, as in SELECT text AS {language}"
                )
        text = (self.source, self.target, *(name for name in ("corpus", "split") if name in kinds))
        for name in text:
            if kinds[name] != "STRING":
                raise UserError(f"{self.description}: column {name!r} is {kinds[name]}, expected STRING")
        if kinds.get("position", "INT64") != "INT64":
            raise UserError(f"{self.description}: column 'position' is {kinds['position']}, expected INT64")
        return kinds


def _update(lengths, content, column: pyarrow.Array) -> None:
    """Hashes a column of strings: the length of each (-1 for NULL) and all bytes, however it is cut into batches."""
    import pyarrow.compute as pc

    found = pc.fill_null(pc.binary_length(column), -1).cast(pyarrow.int64())
    lengths.update(np.ascontiguousarray(found.to_numpy(zero_copy_only=False)).tobytes())
    content.update("".join(text for text in column.to_pylist() if text).encode())
