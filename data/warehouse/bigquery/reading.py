"""Rows of a finished query by the Storage Read API: several Arrow streams at a time, none lost, none twice.

A query's result is first written to a scratch table, which is read in one of two ways:

- A query with ORDER BY gives its result a column with each row's number (`numbered`). It is read in windows of
  consecutive rows, several at a time, each in a session of its own; a window is put in order, its numbers are checked,
  and windows are handed out one after the other. So order holds although streams keep none, memory holds a few
  windows, and no session grows older than one window needs, however slowly the rows are used.
- Without, one session has several streams that are read side by side, and rows come as they arrive.

A stream that breaks is taken up at the row after the last one received. The number of rows is compared with that of the
table in the end, so that a row lost or sent twice by the service would be an error, never a wrong corpus.
"""

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from sqlglot import exp

from data.errors import UserError
from data.warehouse.bigquery.connection import Connection, clear_errors, google, is_lost, unreachable
from data.warehouse.schema import standard_batch

if TYPE_CHECKING:
    import pyarrow

ROW = "scratch_row"
WINDOW_BYTES = 8 << 20
WINDOW_ROWS = (1024, 65536)  # the smallest and the largest window
UNKNOWN_ROW_BYTES = 512
WINDOW_ATTEMPTS = 3


class Result(NamedTuple):
    """The scratch table with the rows of a query."""

    project: str
    dataset: str
    table: str
    rows: int
    bytes: int
    ordered: bool

    @property
    def path(self) -> str:
        """Its name for the storage service."""
        return f"projects/{self.project}/datasets/{self.dataset}/tables/{self.table}"

    @property
    def address(self) -> str:
        """The data set, for messages."""
        return f"bigquery:{self.project}.{self.dataset}"

    @property
    def what(self) -> str:
        """What is being done, for messages."""
        return f"{self.address}: reading a query's result"


def numbered(query: exp.Query) -> exp.Query:
    """A query whose rows have a last column `ROW`, counted from 1 in the order that the query says.

    Args:
        query: a SELECT with ORDER BY.

    Returns:
        The same rows and columns and the number; the order itself is gone where no LIMIT needs it.
    """
    inner = query.copy()
    order = inner.args["order"]
    names = {name for name in inner.named_selects if name != "*"}
    keys, hidden = [], []
    for place, ordered in enumerate(order.expressions):
        key = ordered.this
        columns = list(key.find_all(exp.Column))
        if isinstance(key, exp.Literal) and key.is_int:
            new = exp.column(inner.named_selects[int(key.this) - 1], quoted=True)
        elif (
            isinstance(inner, exp.Select)
            and not inner.args.get("distinct")
            and not (columns and all(column.name in names and not column.table for column in columns))
        ):
            hidden.append(f"scratch_key_{place}")
            inner.select(exp.alias_(key.copy(), hidden[-1]), copy=False)
            new = exp.column(hidden[-1])
        else:
            new = key.copy()
            for column in new.find_all(exp.Column):
                column.set("table", None)
        keys.append(exp.Ordered(this=new, desc=ordered.args.get("desc"), nulls_first=ordered.args.get("nulls_first")))
    if not inner.args.get("limit") and not inner.args.get("offset"):
        inner.set("order", None)
    number = exp.Window(this=exp.RowNumber(), order=exp.Order(expressions=keys))
    star = exp.Star(except_=[exp.to_identifier(name) for name in hidden]) if hidden else exp.Star()
    return exp.select(star, exp.alias_(number, ROW)).from_(inner.subquery("scratch_query"))


def read(connection: Connection, result: Result, streams: int) -> Iterator["pyarrow.RecordBatch"]:
    """Streams the rows of a result.

    Args:
        connection: to read by.
        result: where they are.
        streams: how many are read at the same time.

    Yields:
        Record batches; one without rows where there are none.

    Raises:
        UserError: the service does not answer any more, refuses, or gave other rows than the table has.
    """
    import pyarrow

    if not result.rows:
        _, schema = _session(connection, result, 1)
        yield _finished(pyarrow.RecordBatch.from_pylist([], schema))
        return
    batches = _in_order(connection, result, streams) if result.ordered else _as_they_come(connection, result, streams)
    with contextlib.closing(batches):
        for batch in batches:
            yield _finished(batch)


def _finished(batch: "pyarrow.RecordBatch") -> "pyarrow.RecordBatch":
    return standard_batch(batch.select([name for name in batch.schema.names if name != ROW]))


def _in_order(connection: Connection, result: Result, streams: int) -> Iterator["pyarrow.RecordBatch"]:
    row_bytes = result.bytes / result.rows or UNKNOWN_ROW_BYTES
    size = int(min(max(WINDOW_BYTES / row_bytes, WINDOW_ROWS[0]), WINDOW_ROWS[1]))
    stop = threading.Event()
    waiting: deque = deque()
    pool = ThreadPoolExecutor(streams, thread_name_prefix="bigquery")
    try:
        for first in range(0, result.rows, size):
            waiting.append(pool.submit(_window, connection, result, first, min(first + size, result.rows), stop))
            if len(waiting) > streams:
                yield from waiting.popleft().result()
        for window in waiting:
            yield from window.result()
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _window(connection, result: Result, first: int, last: int, stop: threading.Event) -> list["pyarrow.RecordBatch"]:
    """The rows first + 1 to last, in order."""
    import pyarrow
    from pyarrow import compute

    expected = pyarrow.array(range(first + 1, last + 1), pyarrow.int64())
    for _ in range(WINDOW_ATTEMPTS):
        names, schema = _session(connection, result, 1, f"{ROW} > {first} AND {ROW} <= {last}")
        batches = [batch for name in names for batch in _stream(connection, result, name, schema, stop)]
        if stop.is_set():
            return []
        table = pyarrow.Table.from_batches(batches, schema)
        # Where rows were sent twice, this takes each once.
        order = compute.index_in(expected, table[ROW].combine_chunks())
        if not order.null_count:
            return table.take(order).combine_chunks().to_batches()
    raise UserError(_wrong_rows(connection, result, last - first, table.num_rows))


def _as_they_come(connection: Connection, result: Result, streams: int) -> Iterator["pyarrow.RecordBatch"]:
    names, schema = _session(connection, result, streams)
    stop = threading.Event()
    arrived: queue.Queue = queue.Queue(maxsize=2 * streams)

    def put(item) -> None:
        while not stop.is_set():
            try:
                return arrived.put(item, timeout=0.5)
            except queue.Full:
                continue

    def work(name: str) -> None:
        try:
            for batch in _stream(connection, result, name, schema, stop):
                put(batch)
            put(None)
        except BaseException as error:
            put(error)

    for name in names:
        threading.Thread(target=work, args=(name,), name="bigquery", daemon=True).start()
    rows, running = 0, len(names)
    try:
        while running:
            item = arrived.get()
            if item is None:
                running -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                rows += item.num_rows
                if rows > result.rows:
                    break
                yield item
        if rows != result.rows:
            raise UserError(_wrong_rows(connection, result, result.rows, rows))
    finally:
        stop.set()


def _session(connection: Connection, result: Result, streams: int, restriction: str = ""):
    """The names of a new session's streams, and the schema of their rows."""
    import pyarrow

    types = google()[1].types
    options = types.ReadSession.TableReadOptions(row_restriction=restriction)
    wanted = types.ReadSession(table=result.path, data_format=types.DataFormat.ARROW, read_options=options)
    with clear_errors(connection, result.address, result.what):
        session = connection.reader.create_read_session(
            parent=f"projects/{connection.project}",
            read_session=wanted,
            max_stream_count=streams,
            **connection.storage_limits(),
        )
    schema = pyarrow.ipc.read_schema(pyarrow.py_buffer(session.arrow_schema.serialized_schema))
    return [stream.name for stream in session.streams], schema


def _stream(connection, result: Result, name: str, schema, stop: threading.Event) -> Iterator["pyarrow.RecordBatch"]:
    """The rows of one stream, taken up after the last row received whenever the connection breaks."""
    import pyarrow
    from google.api_core import exceptions

    types = google()[1].types
    offset, alive, pause = 0, time.monotonic(), 0.1
    while not stop.is_set():
        try:
            request = types.ReadRowsRequest(read_stream=name, offset=offset)
            # A service that is silent would be waited for without end; a stream that takes longer is taken up again.
            for response in connection.reader.read_rows(request, retry=None, timeout=connection.patience / 3):
                if stop.is_set():
                    return
                message = pyarrow.py_buffer(response.arrow_record_batch.serialized_record_batch)
                batch = pyarrow.ipc.read_record_batch(message, schema)
                offset, pause = offset + batch.num_rows, 0.1
                yield batch
                # After it, because the one who takes the rows may be slow.
                alive = time.monotonic()
            return
        except exceptions.GoogleAPICallError as error:
            if not is_lost(error):
                with clear_errors(connection, result.address, result.what):
                    raise
            if time.monotonic() - alive > connection.patience:
                raise UserError(unreachable(connection, result.what, error)) from error
        stop.wait(pause)
        pause = min(2 * pause, 5.0)


def _wrong_rows(connection: Connection, result: Result, expected: int, found: int) -> str:
    return (
        f"{result.what}: {connection.place} sent {found} rows where there are {expected}, after a connection was lost; "
        "nothing of this can be trusted: run the command again"
    )
