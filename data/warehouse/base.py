"""What a database must do to hold corpora: the interface behind DuckDB and BigQuery."""

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from sqlglot import exp

from data.errors import UserError
from data.warehouse.schema import LOADS, PAIRS, standard_schema
from data.warehouse.sql import Value, table_name, tables_in

if TYPE_CHECKING:
    import pyarrow

Parameters = Mapping[str, Value]
# Tables with this prefix hold what a running command needs; they are dropped afterwards and never shown.
SCRATCH = "scratch_"


class Warehouse(abc.ABC):
    """A database with tables of text.

    Statements are standard SQL (see `data.warehouse.sql`): text written in this program, or a tree from `statement` or
    `user_query`. Parameters appear in them as `@name`.

    For anything the user can fix, every method raises a `UserError` that names the address and the table, column or
    file: a missing table, column or right, a wrong type, another process that holds the file, a lost connection or a
    limit that is reached. Unfinished changes are undone.

    Args:
        address: as the user wrote it, for messages.

    Attributes:
        on_cost: if queries cost something, called before each one with the bytes that it would be billed for.
    """

    dialect: str  # sqlglot's name of it
    keeps_order = False  # whether rows without ORDER BY come in the order of insertion
    namespace: tuple[str, ...] = ()  # catalog and schema that a view must put before the names of its tables, if any

    def __init__(self, address: str):
        self.address = address
        self.on_cost: Callable[[int], None] | None = None

    @abc.abstractmethod
    def run(self, statement: exp.Expression | str, parameters: Parameters | None = None) -> int:
        """Runs one statement that returns no rows, whole or not at all.

        Args:
            statement: CREATE, DROP, INSERT, DELETE, UPDATE or MERGE.
            parameters: values for `@name`.

        Returns:
            The number of rows changed; 0 for a statement without such a number (CREATE TABLE without AS, DROP).
        """

    @abc.abstractmethod
    def rows(
        self, query: exp.Expression | str, parameters: Parameters | None = None
    ) -> Iterator["pyarrow.RecordBatch"]:
        """Streams the rows of a query in the query's order; few are in memory at a time.

        Args:
            query: a SELECT.
            parameters: values for `@name`.

        Yields:
            Record batches of one schema, at least one even without rows. STRING is `pyarrow.string()`, INT64
            `int64()`, FLOAT64 `float64()`, BOOL `bool_()`, TIMESTAMP `timestamp("us", "UTC")`.
        """

    def records(self, query: exp.Expression | str, parameters: Parameters | None = None) -> list[dict]:
        """All rows of a small result, each as a dictionary; see `rows`."""
        return [row for batch in self.rows(query, parameters) for row in batch.to_pylist()]

    def schema(self, query: exp.Query) -> dict[str, str]:
        """The columns that a query would return, with the standard names of their types, as far as they have one."""
        inner = query.copy()
        inner.set("order", None)
        nothing = exp.select("*").from_(inner.subquery("query")).where(exp.false())
        return standard_schema(next(self.rows(nothing)).schema)

    def make_view(self, name: str, query: exp.Query) -> None:
        """Stores a query as a view, replacing any view of that name.

        Raises:
            UserError: the query cannot be run or reads the view itself, or a table has that name.
        """
        self.check_new(name, tables_in(query))
        made, common = query.copy(), {cte.alias for cte in query.find_all(exp.CTE)}
        for table in made.find_all(exp.Table):
            if self.namespace and not table.args.get("db") and table.name not in common:
                for key, part in zip(("catalog", "db"), self.namespace, strict=True):
                    table.set(key, exp.to_identifier(part, quoted=True))
        self.run(exp.Create(kind="VIEW", this=table_name(name), expression=made, replace=True))

    def check_new(self, name: str, read: Iterable[str] = ()) -> None:
        """Checks the name of a table or view to be made, which replaces an existing one of that name.

        Some databases ignore the case of names, so no two names may differ in case alone.

        Args:
            name: what the user chose.
            read: the tables and views that it is made of.

        Raises:
            UserError: no table can have that name, it differs from an existing one in case alone, or it would replace
                something that is needed: what it is made of, also through views, or the program's own tables.
        """
        table_name(name)
        folded = name.casefold()
        if folded in {behind.casefold() for behind in self._behind(read)}:
            raise UserError(f"the new table cannot be {name!r}, from which its rows come; choose another name")
        if folded in (PAIRS, LOADS) or folded.startswith(SCRATCH):
            raise UserError(
                f"the new table cannot be {name!r}: {PAIRS}, {LOADS} and names that begin with {SCRATCH} are reserved "
                "for this program; choose another name"
            )
        for there in self.tables():
            if there.casefold() == folded and there != name:
                raise UserError(
                    f"{self.address} has a table {there!r}, from which {name!r} differs only in case; use that "
                    "spelling, or choose another name"
                )

    def _behind(self, names: Iterable[str]) -> set[str]:
        """The given tables and views, and everything that the views read."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                query = self.view_query(name)
                waiting += tables_in(query) if query is not None else []
        return found

    @abc.abstractmethod
    def view_query(self, name: str) -> exp.Expression | None:
        """The query of a view, in any dialect; None if the name is not that of a view."""

    @abc.abstractmethod
    def append(self, table: str, batches: "pyarrow.RecordBatchReader", replacing: Parameters | None = None) -> int:
        """Adds rows to a table, all or none, and makes the table if it is missing.

        Args:
            table: its name.
            batches: the rows; read once, as a stream. An exception in the reader is passed on unchanged. Columns are
                matched by name, and one that the table has but the reader lacks is filled with NULL.
            replacing: columns and values; the rows that match all of them are removed in the same step, so nobody
                ever sees the old and the new rows together, or neither.

        Returns:
            The number of rows added.

        Raises:
            UserError: the table lacks a column of the rows, or has it with another type.
        """

    @abc.abstractmethod
    def columns(self, table: str) -> dict[str, str]:
        """The columns of a table or view in order, with the standard names of their types, such as "STRING".

        Raises:
            UserError: there is no such table; the message names those that exist.
        """

    @abc.abstractmethod
    def tables(self) -> list[str]:
        """The names of all tables and views, in alphabetical order, without those that begin with `SCRATCH`."""

    def scratch(self, purpose: str) -> str:
        """The name of a table that one command needs while it runs and drops at the end.

        By default only one process writes at a time, so the next one replaces what a killed one left behind.
        """
        return SCRATCH + purpose

    @abc.abstractmethod
    def cost(self, query: exp.Expression | str, parameters: Parameters | None = None) -> int | None:
        """The bytes that a query would be billed for, without running it; None if queries cost nothing."""

    def add_function(self, name: str, function: Callable[[list[str]], list[str]]) -> None:
        """Lets later queries call a function of one text, until the warehouse is closed.

        Args:
            name: its name in SQL.
            function: turns texts into as many texts; where a text is NULL, so is the result.

        Raises:
            UserError: the database cannot run functions of this process.
        """
        raise UserError(f"{self.address}: this database cannot run functions of this program; use `corpora translate`")

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the database; may be called twice."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
