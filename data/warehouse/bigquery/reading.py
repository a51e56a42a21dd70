"""Rows of a finished query, by the client's own download: the Storage Read API, REST for results of one page."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from data.errors import UserError
from data.feeding import in_background
from data.warehouse.bigquery.connection import Connection, clear_errors, unreachable
from data.warehouse.schema import standard_batch

if TYPE_CHECKING:
    import pyarrow

STREAMS = 4  # read at the same time where no order is kept; the client reads an ORDER BY by a single one
AHEAD = 2  # batches that wait to be used


def read(connection: Connection, address: str, rows: Any) -> Iterator["pyarrow.RecordBatch"]:
    """Streams the rows of a result; however slowly they are used, only the service's own silence counts as such.

    Args:
        connection: to read by.
        address: the data set, for messages.
        rows: google.cloud.bigquery.table.RowIterator of the finished job.

    Yields:
        Record batches; one without rows where there are none.

    Raises:
        UserError: the service does not answer any more, refuses, or gave another number of rows than the result has.
    """
    import pyarrow

    what, found = f"{address}: reading a query's result", 0
    with clear_errors(connection, address, what):
        if not rows.total_rows:
            schema = rows.to_arrow(create_bqstorage_client=False).schema
            yield standard_batch(pyarrow.RecordBatch.from_pylist([], schema))
            return
        batches = rows.to_arrow_iterable(connection.reader, max_stream_count=STREAMS)
        try:
            with contextlib.closing(in_background(batches, AHEAD, connection.patience)) as arriving:
                for batch in arriving:
                    found += batch.num_rows
                    yield standard_batch(batch)
        except TimeoutError as error:
            # Ends the client's threads too, which would wait on, and keep the program from ending.
            connection.close_reader()
            raise UserError(unreachable(connection, what, error)) from error
    if found != rows.total_rows:
        raise UserError(
            f"{what}: {connection.place} sent {found} rows where there are {rows.total_rows}; nothing of this can be "
            "trusted: run the command again"
        )
