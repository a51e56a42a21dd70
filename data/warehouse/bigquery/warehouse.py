"""A warehouse in Google BigQuery, for corpora that outgrow one machine.

Queries and loads are jobs of the REST service; rows are read through the Storage Read API. Credentials are those that
Google's own programs use (`google.auth.default`); no address and nothing that is saved contains any.
"""

import contextlib
import datetime
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

from data.errors import UserError
from data.warehouse.base import SCRATCH, Parameters, Warehouse
from data.warehouse.bigquery import reading, writing
from data.warehouse.bigquery.connection import Connection, clear_errors, google, reason_of
from data.warehouse.bigquery.types import query_parameters, schema_fields, standard_columns
from data.warehouse.schema import check_fits, standard_schema
from data.warehouse.sql import STANDARD, in_dialect, statement, table_name

if TYPE_CHECKING:
    import pyarrow

SCRATCH_DAYS = 1  # scratch tables of a process that died are gone after this
_ADDRESS = re.compile(r"bigquery:((?:[a-z0-9.-]+:)?[a-z0-9-]+)\.([A-Za-z0-9_]+)")
_MISSING_TABLE = re.compile(r"Not found: Table [^ ]*?[.:]([A-Za-z0-9_]+) was not found")
# No row of either table matches one of the other: all rows of `target` (under a condition) go, all of `source` are new.
_REPLACEMENT = (
    "MERGE INTO target USING source ON FALSE "
    "WHEN NOT MATCHED BY SOURCE AND TRUE THEN DELETE WHEN NOT MATCHED BY TARGET THEN INSERT ROW"
)
_EXPIRING = (
    "CREATE TABLE scratch OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL {} DAY)) "
    "AS SELECT 1"
)


class BigQueryWarehouse(Warehouse):
    """A data set of BigQuery.

    Args:
        address: "bigquery:PROJECT.DATASET".
        byte_limit: queries that would read more bytes are refused before they run, and BigQuery itself refuses those
            that would be billed for more; None for no limit.
        create: make the data set if it does not exist, in BigQuery's default location.
        patience: seconds to keep retrying a lost connection.

    Attributes:
        on_cost: called before each statement with the bytes that it would read; None to ask only if there is a limit.

    Raises:
        UserError: a package is missing, the address has another form, credentials are missing or wrong, there is no
            such project or data set, no permission or no connection.
    """

    dialect = "bigquery"

    def __init__(
        self,
        address: str,
        byte_limit: int | None = None,
        create: bool = False,
        patience: float = 60.0,
    ):
        super().__init__(address)
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise UserError(f"{address!r} is not the address of a data set; expected bigquery:PROJECT.DATASET")
        self.project, self.dataset = self.namespace = match.groups()
        self.byte_limit = byte_limit
        self.on_cost: Callable[[int], None] | None = None
        self._connection = Connection(self.project, patience)
        self._open(create)

    def run(self, statement: exp.Expression | str, parameters: Parameters | None = None) -> int:
        tree = _with_an_end(_tree(statement))
        self._check_cost(tree, parameters)
        job = self._job(tree, parameters)
        if isinstance(tree, exp.Create) and tree.kind == "TABLE" and tree.expression is not None:
            with self._errors("counting rows"):
                return self._connection.rest.get_table(job.destination, **self._limits).num_rows
        return job.num_dml_affected_rows or 0

    def rows(
        self, query: exp.Expression | str, parameters: Parameters | None = None
    ) -> Iterator["pyarrow.RecordBatch"]:
        tree = _named_columns(_tree(query))
        self._check_cost(tree, parameters)
        job = self._job(tree, parameters)
        with self._errors("reading a query's result"):
            rows = job.result(retry=self._limits["retry"])
        yield from reading.read(self._connection, self.address, rows)

    def scratch(self, purpose: str) -> str:
        """See `Warehouse.scratch`; no two programs that run at the same time get the same name."""
        return f"{SCRATCH}{purpose}_{uuid.uuid4().hex}"

    def append(self, table: str, batches: "pyarrow.RecordBatchReader", replacing: Parameters | None = None) -> int:
        table_name(table)
        new = standard_schema(batches.schema)
        made = table not in self.tables()
        there = new if made else self.columns(table)
        needed = new | {name: there.get(name) for name in replacing or ()}
        check_fits(f"{self.address}, table {table!r}", there, needed)
        if replacing and not made and self._holds(table, replacing):
            return self._replace(table, batches, new, replacing)
        try:
            rows = self._write(table, batches, there)
            if made and not rows:
                self._create(table, new)
            return rows
        except BaseException:
            if made:
                self._drop(table)
            raise

    def columns(self, table: str) -> dict[str, str]:
        table_name(table)

        def explain(error, message):
            return self._no_table(table) if error.code == 404 else None

        with self._errors(f"looking at the table {table}", explain):
            found = self._connection.rest.get_table(self._reference(table), **self._limits)
        return standard_columns(found.schema)

    def tables(self) -> list[str]:
        with self._errors("listing tables"):
            found = self._connection.rest.list_tables(f"{self.project}.{self.dataset}", **self._limits)
            return sorted(table.table_id for table in found if not table.table_id.startswith(SCRATCH))

    def view_query(self, name: str) -> exp.Expression | None:
        if name not in self.tables():
            return None  # of another data set
        with self._errors(f"looking at the view {name}"):
            query = self._connection.rest.get_table(self._reference(name), **self._limits).view_query
        return sqlglot.parse_one(query, read=STANDARD) if query else None

    def schema(self, query: exp.Query) -> dict[str, str]:
        """See `Warehouse.schema`; a dry run finds it out at no cost."""
        return standard_columns(self._job(_named_columns(_tree(query)), None, dry_run=True).schema)

    def cost(self, query: exp.Expression | str, parameters: Parameters | None = None) -> int | None:
        return self._job(_tree(query), parameters, dry_run=True).total_bytes_processed

    def close(self) -> None:
        self._connection.close()

    @property
    def _limits(self):
        return self._connection.rest_limits()

    def _reference(self, table: str) -> str:
        return f"{self.project}.{self.dataset}.{table}"

    def _errors(self, what: str, explain=None):
        return clear_errors(self._connection, self.address, f"{self.address}: {what}", explain)

    def _open(self, create: bool) -> None:
        name = f"{self.project}.{self.dataset}"

        def explain(error, message):
            if error.code != 404:
                return None
            return (
                f"{self.address}: there is no such data set, or no such project; check the name, or make it with "
                f"`weitblick corpora load` or `bq mk --dataset {self.project}:{self.dataset}`"
            )

        with self._errors("opening", explain):
            if create:
                self._connection.rest.create_dataset(name, exists_ok=True, **self._limits)
            else:
                self._connection.rest.get_dataset(name, **self._limits)

    def _job(self, tree: exp.Expression, parameters: Parameters | None, dry_run: bool = False):
        """Runs a statement to its end, or only has it checked."""
        bigquery, _ = google()
        options = bigquery.QueryJobConfig(
            default_dataset=f"{self.project}.{self.dataset}",
            query_parameters=query_parameters(parameters),
            dry_run=dry_run,
            use_query_cache=not dry_run,
        )
        if self.byte_limit is not None and not dry_run:
            options.maximum_bytes_billed = self.byte_limit
        what = "asking what a query costs" if dry_run else "running a query"

        def explain(error, message):
            return self._refusal(error, message, tree)

        with self._errors(what, explain):
            text = in_dialect(tree, self.dialect)
            job = self._connection.rest.query(text, job_config=options, **self._limits)
            if not dry_run:
                job.result(retry=self._limits["retry"])
        return job

    def _check_cost(self, tree: exp.Expression, parameters: Parameters | None) -> None:
        if self.byte_limit is None and self.on_cost is None:
            return
        cost = self.cost(tree, parameters)
        if self.byte_limit is not None and cost > self.byte_limit:
            raise UserError(self._too_costly(f"would read {plain_bytes(cost)}"))
        if self.on_cost is not None:
            self.on_cost(cost)

    def _too_costly(self, problem: str) -> str:
        return (
            f"{self.address}: the query {problem}, more than the limit of {plain_bytes(self.byte_limit)}; name fewer "
            "columns, or raise the limit (--byte-limit)"
        )

    def _refusal(self, error, message: str, tree: exp.Expression) -> str | None:
        """The message for a statement that BigQuery refuses."""
        if reason_of(error) == "bytesBilledLimitExceeded" or "bytes billed" in message:
            needed = re.search(r"(\d+) or higher", message)
            return self._too_costly(f"would be billed for {plain_bytes(int(needed[1]))}" if needed else "costs more")
        missing = _MISSING_TABLE.search(message)
        if missing:
            return self._no_table(missing[1])
        if error.code != 400:
            return None
        with contextlib.suppress(UserError):
            known = [
                f"{name} ({', '.join(f'{column} {kind}' for column, kind in self.columns(name).items())})"
                for name in sorted({table.name for table in tree.find_all(exp.Table)} & set(self.tables()))
            ]
            if known:
                return f"{self.address}: BigQuery refuses the query: {message}; what it reads from: {'; '.join(known)}"
        return f"{self.address}: BigQuery refuses the query: {message}"

    def _no_table(self, table: str) -> str:
        there = ", ".join(self.tables()) or "nothing in it; `weitblick corpora load` fills it"
        return f"{self.address} has no table or view {table!r}; there is {there}"

    def _create(self, table: str, columns: Mapping[str, str]) -> None:
        bigquery, _ = google()
        with self._errors(f"making the table {table}"):
            new = bigquery.Table(self._reference(table), schema_fields(columns))
            if table.startswith(SCRATCH):
                new.expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=SCRATCH_DAYS)
            self._connection.rest.create_table(new, **self._limits)

    def _write(self, table: str, batches, columns: Mapping[str, str]) -> int:
        what = f"{self.address}: adding rows to the table {table}"
        return writing.write(self._connection, self._reference(table), what, batches, columns)

    def _holds(self, table: str, replaced: Parameters) -> bool:
        """Whether a table has rows to replace; this reads only these columns, but a MERGE reads all."""
        condition, values = _equals(replaced)
        query = statement("SELECT COUNT(*) AS n FROM source", source=table).where(condition)
        return self.records(query, values)[0]["n"] > 0

    def _replace(self, table: str, batches, columns: Mapping[str, str], replacing: Parameters) -> int:
        """Writes the rows to a scratch table, then replaces others with them in one MERGE, which is atomic."""
        name = _scratch()
        self._create(name, columns)
        try:
            condition, values = _equals(replacing)
            merge = statement(_REPLACEMENT, target=table, source=name)
            gone, added = merge.args["whens"].expressions
            gone.set("condition", condition)
            names = exp.Tuple(expressions=[exp.column(column, quoted=True) for column in columns])
            added.set("then", exp.Insert(this=names, expression=names.copy()))
            # Checked before the rows are made, which may take hours; they add little to the bytes that are read.
            self._check_cost(merge, values)
            rows = self._write(name, batches, columns)
            self._job(merge, values)
            return rows
        finally:
            self._drop(name)

    def _drop(self, table: str) -> None:
        # A table that cannot be dropped now is gone in a day; the error that led here matters more.
        with contextlib.suppress(Exception):
            self._connection.rest.delete_table(self._reference(table), not_found_ok=True, retry=None, timeout=10)


def plain_bytes(count: int) -> str:
    """A number of bytes in readable form, such as "1.5 GB"."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def _tree(query: exp.Expression | str) -> exp.Expression:
    return sqlglot.parse_one(query, read=STANDARD) if isinstance(query, str) else query


def _equals(values: Parameters) -> tuple[exp.Expression, Parameters]:
    """The condition that columns have these values, and its parameters."""
    named = {f"value_{place}": value for place, value in enumerate(values.values())}
    conditions = [
        exp.EQ(this=exp.column(column, quoted=True), expression=exp.Parameter(this=exp.var(name)))
        for column, name in zip(values, named, strict=True)
    ]
    return exp.and_(*conditions), named


def _scratch() -> str:
    return f"{SCRATCH}{uuid.uuid4().hex}"


def _named_columns(query: exp.Expression) -> exp.Expression:
    """Gives columns without a name the one that BigQuery gives them in results."""
    query = query.copy()
    for place, column in enumerate(query.selects):
        if not column.output_name and not column.is_star:
            column.replace(exp.alias_(column.copy(), f"f{place}_"))
    return query


def _with_an_end(tree: exp.Expression) -> exp.Expression:
    """A statement that makes a scratch table, with the time at which BigQuery drops it if nothing else does."""
    table = tree.find(exp.Table) if isinstance(tree, exp.Create) else None
    if table is None or not table.name.startswith(SCRATCH):
        return tree
    made = tree.copy()
    made.set("properties", statement(_EXPIRING.format(SCRATCH_DAYS), scratch=table.name).args["properties"])
    return made
