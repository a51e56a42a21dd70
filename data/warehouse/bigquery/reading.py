"""Reads the rows of a finished query as the client downloads them: the Storage Read API, REST for one-page results."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from data.errors import UserError
from data.feeding import in_background
from data.warehouse.bigquery.connection import Connection, clear_errors, unreachable
from data.warehouse.schema import standard_batch

if TYPE_CHECKING:
    import pyarrow

STREAMS = 4  # read at the same time if no order is kept; for an ORDER BY the client uses a single one
AHEAD = 2  # batches that wait to be used


def read(connection: Connection, address: str, rows: Any) -> Iterator["pyarrow.RecordBatch"]:
    """Streams the rows of a result; the time limit covers only silence of the service, not slow use of the rows.

    Args:
        connection: to read through.
        address: the data set, for messages.
        rows: google.cloud.bigquery.table.RowIterator of the finished job.

    Yields:
        Record batches; one without rows if there are none.

    Raises:
        UserError: the service stops answering, refuses, or sent a different number of rows than the result has.
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
            # This also ends the client's threads, which would keep waiting and keep the program from ending.
            connection.close_reader()
            raise UserError(unreachable(connection, what, error)) from error
    if found != rows.total_rows:
        raise UserError(
            f"{what}: {connection.place} sent {found} rows instead of {rows.total_rows}; none of them can be "
            "trusted: run the command again"
        )
