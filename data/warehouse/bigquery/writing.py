"""Writes rows into a table with one load job: all of them or none."""

import contextlib
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import IO, TYPE_CHECKING

from data.warehouse.bigquery.connection import Connection, clear_errors, google
from data.warehouse.bigquery.types import schema_fields
from data.warehouse.schema import arrow_schema

if TYPE_CHECKING:
    import pyarrow


def write(
    connection: Connection, table: str, what: str, batches: Iterable["pyarrow.RecordBatch"], columns: Mapping[str, str]
) -> int:
    """Adds rows to a table, which the same job makes if it is missing.

    The rows are first collected in a temporary Parquet file, so that nothing reaches BigQuery if `batches` fails.

    Args:
        connection: to write through.
        table: "PROJECT.DATASET.TABLE".
        what: what is being done, for messages.
        batches: the rows; columns of the table that they lack are filled with NULL.
        columns: the names and standard types of all columns that the table has or is to have, in its order.

    Returns:
        The number of rows.

    Raises:
        UserError: the service refuses, and no row was added; or it stops answering, and either all rows or none were
            added.
    """
    with tempfile.TemporaryFile() as file:
        rows = _write_parquet(file, batches, arrow_schema(columns))
        if rows:
            with clear_errors(connection, f"bigquery:{table.rpartition('.')[0]}", what):
                _load(connection, table, file, columns)
    return rows


def _write_parquet(file: IO[bytes], batches: Iterable["pyarrow.RecordBatch"], schema: "pyarrow.Schema") -> int:
    """Writes the rows with exactly the columns of `schema`, and returns how many there are."""
    import pyarrow
    from pyarrow import parquet

    rows = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for batch in batches:
            there = set(batch.schema.names)
            arrays = [
                batch[field.name].cast(field.type) if field.name in there else pyarrow.nulls(batch.num_rows, field.type)
                for field in schema
            ]
            writer.write_batch(pyarrow.RecordBatch.from_arrays(arrays, schema=schema))
            rows += batch.num_rows
    return rows


def _load(connection: Connection, table: str, file: IO[bytes], columns: Mapping[str, str]) -> None:
    """Runs a load job to its end, however often the connection breaks.

    Every attempt has the same job id, which BigQuery accepts only once: if an upload succeeded but its answer was lost,
    its rows are not added again. Only a job that has failed, and so has added nothing, is followed by another one.
    """
    import requests
    from google.api_core import exceptions
    from google.auth.exceptions import TransportError

    lost = (
        requests.RequestException,
        ConnectionError,
        TransportError,
        exceptions.RetryError,
        exceptions.ServerError,
        exceptions.Conflict,  # the job arrived after it was looked for
    )
    location = connection.rest.get_dataset(table.rpartition(".")[0], **connection.rest_limits()).location
    job_id, alive, pause = _new_id(), time.monotonic(), 0.2
    while True:
        job = None
        try:
            job = _job(connection, table, file, columns, job_id, location)
            while not job.done(retry=None, timeout=connection.patience):
                # BigQuery itself ends a job that takes too long; here only the time without an answer counts.
                alive, pause = time.monotonic(), 0.2
                time.sleep(0.5)
            job.result(retry=None)
            return
        except lost:
            if time.monotonic() - alive > connection.patience:
                raise
            if job is not None and job.error_result:
                # It failed as a whole, and its id is used up.
                job_id = _new_id()
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def _new_id() -> str:
    return f"weitblick_{uuid.uuid4().hex}"


def _job(
    connection: Connection, table: str, file: IO[bytes], columns: Mapping[str, str], job_id: str, location: str | None
):
    """The load job with this id, started now unless BigQuery has it already."""
    from google.api_core import exceptions

    bigquery, _ = google()
    with contextlib.suppress(exceptions.NotFound):
        return connection.rest.get_job(job_id, location=location, retry=None, timeout=connection.patience)
    options = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
        create_disposition=bigquery.CreateDisposition.CREATE_IF_NEEDED,
        schema=schema_fields(columns),
    )
    return connection.rest.load_table_from_file(
        file,
        table,
        rewind=True,
        num_retries=0,  # the caller tries again, and asks first whether the job is there
        job_id=job_id,
        location=location,
        job_config=options,
        timeout=connection.patience,
    )
