"""Rows into a table by the Storage Write API: all of them or none.

Rows go into a pending stream, which no query sees until it is committed. Each request says at which row of the stream
it begins, so one that is sent again after a lost connection is known to the service and not written twice.
"""

import queue
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from data.errors import UserError
from data.warehouse.bigquery.connection import Connection, clear_errors, google, is_lost, unreachable

if TYPE_CHECKING:
    import pyarrow

REQUEST_BYTES = 4 << 20  # the service takes less than 10 MB; what follows from rows of very unequal length is cut again
LARGEST_REQUEST = 9 << 20
_ALREADY_EXISTS = 6  # google.rpc.Code


def write(connection: Connection, path: str, what: str, batches: Iterable["pyarrow.RecordBatch"], schema) -> int:
    """Adds rows to a table that exists.

    Args:
        connection: to write by.
        path: of the table, "projects/PROJECT/datasets/DATASET/tables/TABLE".
        what: what is being done, for messages.
        batches: the rows.
        schema: of the table's columns that the rows have.

    Returns:
        The number of rows.

    Raises:
        UserError: the service refuses, or does not answer any more; then no row was added.
    """
    types = google()[1].types
    address = f"bigquery:{'.'.join(path.split('/')[1:4:2])}"
    limits = connection.storage_limits()
    with clear_errors(connection, address, what):
        stream = connection.writer.create_write_stream(
            parent=path, write_stream=types.WriteStream(type_=types.WriteStream.Type.PENDING), **limits
        )
    sender = _Sender(connection, stream.name, what, schema)
    try:
        for batch in _requests(batches, schema, what):
            with clear_errors(connection, address, what):
                sender.send(batch)
    finally:
        sender.hang_up()
    with clear_errors(connection, address, what):
        connection.writer.finalize_write_stream(name=stream.name, **limits)
        commit = types.BatchCommitWriteStreamsRequest(parent=path, write_streams=[stream.name])
        answer = connection.writer.batch_commit_write_streams(commit, **limits)
    # The answer to a first commit may have been lost on its way.
    done = types.StorageError.StorageErrorCode.STREAM_ALREADY_COMMITTED
    errors = [error.error_message for error in answer.stream_errors if error.code != done]
    if errors:
        raise UserError(f"{what}: {connection.place} does not accept the rows: {errors[0]}; none were added")
    return sender.rows


class _Sender:
    """One pending stream, over as many connections as it takes."""

    def __init__(self, connection: Connection, stream: str, what: str, schema):
        self.rows = 0
        self._connection, self._stream, self._what = connection, stream, what
        self._schema = schema.serialize().to_pybytes()
        self._outgoing: queue.SimpleQueue | None = None
        self._answers = None

    def send(self, batch: "pyarrow.RecordBatch") -> None:
        """Sends rows and waits until the service has them."""
        from google.api_core import exceptions

        began, pause = time.monotonic(), 0.1
        payload = batch.serialize().to_pybytes()
        while True:
            try:
                self._exchange(payload)
                self.rows += batch.num_rows
                return
            except exceptions.GoogleAPICallError as error:
                self.hang_up()
                if not is_lost(error):
                    raise
                if time.monotonic() - began > self._connection.patience:
                    raise UserError(unreachable(self._connection, self._what, error)) from error
            time.sleep(pause)
            pause = min(2 * pause, 5.0)

    def hang_up(self) -> None:
        """Ends the connection; the stream stays."""
        if self._outgoing is not None:
            self._outgoing.put(None)
            if self._answers is not None:
                self._answers.cancel()
            self._outgoing = self._answers = None

    def _exchange(self, payload: bytes) -> None:
        from google.api_core import exceptions

        types = google()[1].types
        request = types.AppendRowsRequest(write_stream=self._stream, offset=self.rows)
        request.arrow_rows.rows.serialized_record_batch = payload
        if self._outgoing is None:
            request.arrow_rows.writer_schema.serialized_schema = self._schema
            self._outgoing = queue.SimpleQueue()
            self._outgoing.put(request)
            self._answers = self._connection.writer.append_rows(
                iter(self._outgoing.get, None), retry=None, timeout=self._connection.patience
            )
        else:
            self._outgoing.put(request)
        answer = next(self._answers, None)
        if answer is None:
            raise exceptions.ServiceUnavailable("the service ended the connection")
        if answer.error.code and answer.error.code != _ALREADY_EXISTS:
            raise exceptions.from_grpc_status(_status(answer.error.code), answer.error.message)


def _status(code: int):
    import grpc

    return next((status for status in grpc.StatusCode if status.value[0] == code), grpc.StatusCode.UNKNOWN)


def _requests(batches, schema, what: str) -> Iterator["pyarrow.RecordBatch"]:
    """Rows in portions that make requests of a good size."""
    import pyarrow

    held, size = [], 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= REQUEST_BYTES:
            yield from _cut(pyarrow.Table.from_batches(held), schema, what)
            held, size = [], 0
    if held:
        yield from _cut(pyarrow.Table.from_batches(held), schema, what)


def _cut(table, schema, what: str) -> Iterator["pyarrow.RecordBatch"]:
    import pyarrow

    columns = [table[field.name].cast(field.type).combine_chunks() for field in schema]
    waiting = [pyarrow.RecordBatch.from_arrays(columns, schema=schema)]
    while waiting:
        batch = waiting.pop()
        if batch.nbytes <= LARGEST_REQUEST:
            if batch.num_rows:
                yield batch
        elif batch.num_rows == 1:
            raise UserError(
                f"{what}: one row has {batch.nbytes} bytes, and BigQuery takes rows of less than 10 MB; split its text"
            )
        else:
            half = batch.num_rows // 2
            waiting += [batch.slice(half), batch.slice(0, half)]
