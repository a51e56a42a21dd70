"""A warehouse in one DuckDB file: nothing to set up."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow
import sqlglot
from sqlglot import exp

from data.errors import UserError
from data.installing import extra_command
from data.parallel import cores
from data.warehouse.base import SCRATCH, Parameters, Warehouse
from data.warehouse.schema import arrow_schema, check_fits, standard_batch, standard_schema
from data.warehouse.sql import create_table, in_dialect, table_name

MEMORY = "800MB"  # what does not fit goes into a folder next to the file; this process needs some memory as well
ROWS = 20_000  # in a batch

_TYPES = {
    "VARCHAR": "STRING",
    "BIGINT": "INT64",
    "DOUBLE": "FLOAT64",
    "BOOLEAN": "BOOL",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
}
_HELD = re.compile(r"Conflicting lock is held in (?P<program>.*?) ?\(PID (?P<pid>\d+)\)")


class DuckWarehouse(Warehouse):
    """A DuckDB file.

    One process may write to it at a time; any number may read while none writes. It uses at most `MEMORY` and as many
    threads as there are cores, and its SQL reaches no other file and no network.

    Args:
        path: the file.
        read_only: open it for reading.
        create: make it if it is missing.

    Raises:
        UserError: DuckDB is not installed, or the file is missing, not a database, or held by another process.
    """

    dialect = "duckdb"
    keeps_order = True

    def __init__(self, path: str, read_only: bool = False, create: bool = False):
        super().__init__(path)
        self.path = Path(path).expanduser()
        duckdb = _duckdb()
        self._errors = duckdb.Error
        self._failures: list[BaseException] = []
        if not self.path.exists():
            self._check_place(create and not read_only)
        with self._explained():
            self._connection = self._connect(duckdb, read_only)
            self._connection.execute("SET TimeZone = 'UTC'; SET enable_external_access = false")

    def run(self, statement: exp.Expression | str, parameters: Parameters | None = None) -> int:
        """See `Warehouse.run`."""
        with self._explained(), self._cursor() as cursor:
            changed = cursor.execute(in_dialect(statement, self.dialect), dict(parameters or {})).fetchall()
        return changed[0][0] if changed and isinstance(changed[0][0], int) else 0

    def rows(self, query: exp.Expression | str, parameters: Parameters | None = None) -> Iterator[pyarrow.RecordBatch]:
        """See `Warehouse.rows`; rows written after the first batch are not seen."""
        with self._explained(), self._cursor() as cursor:
            relation = cursor.sql(in_dialect(query, self.dialect), params=dict(parameters or {}))
            reader = relation.to_arrow_reader(ROWS)
            empty = True
            for batch in reader:
                empty = False
                yield standard_batch(batch)
            if empty:
                yield standard_batch(pyarrow.RecordBatch.from_pylist([], schema=reader.schema))

    def append(self, table: str, batches: pyarrow.RecordBatchReader, replacing: Parameters | None = None) -> int:
        """See `Warehouse.append`; one transaction."""
        new, failures = standard_schema(batches.schema), []
        with self._explained(), self._cursor() as cursor:
            cursor.execute("BEGIN TRANSACTION")
            try:
                self._make_room(cursor, table, new, dict(replacing or {}))
                # One statement for all rows: with several, all rows would stay in memory until the transaction ends.
                rows = pyarrow.RecordBatchReader.from_batches(arrow_schema(new), _noting(batches, failures))
                cursor.register("incoming_rows", rows)
                insert = f"INSERT INTO {table_name(table).sql(self.dialect)} BY NAME SELECT * FROM incoming_rows"
                (count,) = cursor.execute(insert).fetchone()
                cursor.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(self._errors):
                    cursor.execute("ROLLBACK")
                # DuckDB replaces the message of an error in the reader.
                raise failures[0] if failures else error from None
        return count

    def columns(self, table: str) -> dict[str, str]:
        """See `Warehouse.columns`."""
        with self._explained(), self._cursor() as cursor:
            found = self._columns(cursor, table)
        if not found:
            raise UserError(f"{self.address} has no table or view {table!r}; {self._those_there()}")
        return found

    def tables(self) -> list[str]:
        """See `Warehouse.tables`."""
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY table_name"
        with self._explained(), self._cursor() as cursor:
            names = [name for (name,) in cursor.execute(query).fetchall()]
        return [name for name in names if not name.startswith(SCRATCH)]

    def view_query(self, name: str) -> exp.Expression | None:
        """See `Warehouse.view_query`."""
        query = "SELECT sql FROM duckdb_views() WHERE schema_name = 'main' AND lower(view_name) = lower($name)"
        with self._explained(), self._cursor() as cursor:
            found = cursor.execute(query, {"name": name}).fetchone()
        return sqlglot.parse_one(found[0], read=self.dialect).expression if found else None

    def add_function(self, name: str, function: Callable[[list[str]], list[str]]) -> None:
        """See `Warehouse.add_function`."""

        def of_column(column):
            try:
                return pyarrow.array(function(column.to_pylist()), pyarrow.string())
            except BaseException as error:
                # DuckDB would wrap it in a message of its own.
                self._failures.append(error)
                raise

        with self._explained():
            self._connection.create_function(name, of_column, ["VARCHAR"], "VARCHAR", type="arrow")

    def cost(self, query: exp.Expression | str, parameters: Parameters | None = None) -> None:
        """None: reading a file costs nothing."""

    def close(self) -> None:
        """See `Warehouse.close`."""
        self._connection.close()

    def _connect(self, duckdb, read_only: bool):
        config = {
            "memory_limit": MEMORY,
            "threads": cores(),
            "temp_directory": f"{self.path}.tmp",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        try:
            return duckdb.connect(str(self.path), read_only=read_only, config=config)
        except duckdb.ConnectionException:
            # This process already has the file open in the other mode, and can only share that one.
            return duckdb.connect(str(self.path), read_only=not read_only, config=config)

    @contextlib.contextmanager
    def _cursor(self):
        """A separate connection to the same database: a stream of rows continues while other statements run."""
        cursor = self._connection.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def _columns(self, cursor, table: str) -> dict[str, str]:
        query = (
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'main' "
            "AND table_name = $table ORDER BY ordinal_position"
        )
        found = cursor.execute(query, {"table": table}).fetchall()
        return {name: _TYPES.get(kind, kind) for name, kind in found}

    def _make_room(self, cursor, table: str, new: dict[str, str], replacing: dict) -> None:
        """Makes the table if it is missing, else removes the rows to be replaced."""
        name, there = table_name(table).sql(self.dialect), self._columns(cursor, table)
        if not there:
            cursor.execute(in_dialect(create_table(table, new), self.dialect))
            return
        check_fits(f"{self.address}, table {table!r}", there, new)
        for column in replacing:
            if column not in there:
                raise UserError(f"{self.address}: table {table!r} has no column {column!r}; it has {', '.join(there)}")
        if replacing:
            same = " AND ".join(
                f"{exp.to_identifier(column, quoted=True).sql(self.dialect)} = $value_{number}"
                for number, column in enumerate(replacing)
            )
            values = {f"value_{number}": value for number, value in enumerate(replacing.values())}
            cursor.execute(f"DELETE FROM {name} WHERE {same}", values)

    def _check_place(self, create: bool) -> None:
        if not create:
            raise UserError(f"{self.path}: there is no such warehouse; `weitblick corpora load` makes one")
        if not self.path.parent.is_dir():
            raise UserError(f"{self.path}: there is no folder {self.path.parent}; create it, or choose another place")

    def _those_there(self) -> str:
        return f"there is {', '.join(self.tables()) or 'nothing in it; `weitblick corpora load` fills it'}"

    @contextlib.contextmanager
    def _explained(self):
        """Turns DuckDB's errors into errors for the user."""
        try:
            yield
        except self._errors as error:
            failures, self._failures = self._failures, []
            raise (failures[0] if failures else self._explain(error)) from error

    def _explain(self, error: Exception) -> Exception:
        text = str(error)
        first = " ".join(text.split("\n\nLINE ")[0].split("\n")[0].split()).rstrip(".!")
        held = _HELD.search(text)
        if held:
            return UserError(
                f"{self.path}: process {held['pid']} ({held['program']}) has this warehouse open, and only one may "
                "write to it at a time; wait for it to end, then run the same command again"
            )
        if type(error).__name__ == "InterruptException":
            return KeyboardInterrupt()
        if "No space left on device" in text or "max_temp_directory_size" in text:
            return UserError(f"{self.path}: the disk is full; free some space and run again, nothing has been changed")
        if type(error).__name__ == "OutOfMemoryException":
            return UserError(f"{self.path}: the query needs more memory than the {MEMORY} it may take: {first}")
        missing = re.search(r"Table with name (\S+) does not exist", text)
        if missing:
            return UserError(f"{self.address} has no table or view {missing[1]!r}; {self._those_there()}")
        return UserError(f"{self.address}: {first}")


def _noting(batches: Iterable[pyarrow.RecordBatch], failures: list) -> Iterator[pyarrow.RecordBatch]:
    """The same batches with standard types; an exception is also added to `failures`."""
    try:
        for batch in batches:
            yield standard_batch(batch)
    except BaseException as error:
        failures.append(error)
        raise


def _duckdb():
    try:
        import duckdb
    except ImportError as error:
        raise UserError(f"a warehouse in a file needs DuckDB: {extra_command('warehouse')}") from error
    return duckdb
