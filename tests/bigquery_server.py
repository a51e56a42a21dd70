"""Serves the BigQuery emulator until it is told to stop or its parent is gone; run by the Python of .venv-bigquery.

bqemulator speaks BigQuery's REST and gRPC protocols, and here it is given what the service has and it lacks: ReadRows
begins at the row that the client asks for and sends short messages, results of queries can be read by the storage
service, a load job has the id that the client gave it, a query has a cost, a query over `maximumBytesBilled` is
refused, results of queries that run at the same time are kept apart, a table made by a query has sums of INT64 as
INT64, a view says its query, and streams may break as often as they like.

Usage: python tests/bigquery_server.py PARENT_PROCESS. It prints one line of JSON, {"rest": PORT, "storage": PORT}.
"""

import asyncio
import contextvars
import functools
import json
import os
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

# The emulator writes its log to the standard output, from its first import on.
answer, sys.stdout = sys.stdout, sys.stderr
# ruff: noqa: E402

import pyarrow
import sqlglot
from bqemulator.api.routes import jobs, tables, upload
from bqemulator.config import Settings
from bqemulator.domain.errors import AlreadyExistsError, InvalidQueryError
from bqemulator.grpc_api import read_servicer
from bqemulator.jobs.executor import JOB_RESULTS
from bqemulator.server import EmulatorServer
from bqemulator.storage.engine import DuckDBEngine
from google.cloud.bigquery_storage_v1 import types
from sqlglot import exp

MESSAGE_ROWS = 5000
asked = threading.local()


def honour_offsets():
    """ReadRows leaves out the rows before `offset`, and sends the others in several messages."""
    get_stream_data, handle = read_servicer.get_stream_data, read_servicer.BigQueryReadHandler._handle_read_rows

    def rest_of_stream(session, stream):
        table = get_stream_data(session, stream)
        if table is None:
            return None
        rest = table.slice(asked.offset).combine_chunks()
        return pyarrow.Table.from_batches(rest.to_batches(max_chunksize=MESSAGE_ROWS), table.schema)

    def handle_with_offset(self, request, context):
        asked.offset = types.ReadRowsRequest.deserialize(request).offset
        yield from handle(self, request, context)

    read_servicer.get_stream_data = rest_of_stream
    read_servicer.BigQueryReadHandler._handle_read_rows = handle_with_offset


def keep_job_ids():
    """A load job has the id that its client chose, and no two have the same."""
    read, run, wanted = upload._load_configuration_from_envelope, upload._run_load, contextvars.ContextVar("wanted")

    def read_with_id(envelope):
        return read(envelope) | {"jobId": envelope["jobReference"]["jobId"]}

    async def run_once(*, project_id, configuration, ctx, **call):
        job_id = configuration["jobId"]
        if ctx.catalog.get_job(project_id, job_id) is not None:
            raise AlreadyExistsError(f"Already Exists: Job {project_id}:{job_id}")
        wanted.set(job_id)
        kept = {key: value for key, value in configuration.items() if key != "jobId"}
        return await run(project_id=project_id, configuration=kept, ctx=ctx, **call)

    upload._load_configuration_from_envelope, upload._run_load = read_with_id, run_once
    upload._new_job_id = wanted.get


def correct_results():
    """One query at a time uses the one connection to DuckDB; no table has HUGEINT, a type that BigQuery has not."""
    fetch, lock = DuckDBEngine.fetch_arrow, threading.RLock()
    wide = "SELECT schema_name, table_name, column_name FROM duckdb_columns() WHERE data_type = 'HUGEINT'"

    @functools.wraps(fetch)
    def fetch_alone(self, sql, *arguments):
        with lock:
            result = fetch(self, sql, *arguments)
            if sql.startswith("CREATE"):
                for name in fetch(self, wide).to_pylist():
                    schema, table, column = (exp.to_identifier(part, quoted=True).sql() for part in name.values())
                    self.execute(f"ALTER TABLE {schema}.{table} ALTER {column} TYPE BIGINT")
            return result

    DuckDBEngine.fetch_arrow = fetch_alone


def share_results():
    """The storage service reads what a query gave: its anonymous table, which is the result kept for REST."""
    fetch, result = DuckDBEngine.fetch_arrow, re.compile(r'FROM "[^"]*_bqemu_anonymous"\."anon(\w+)"$')

    @functools.wraps(fetch)
    def fetch_result(self, sql, *arguments):
        if not (found := result.search(sql)):
            return fetch(self, sql, *arguments)
        return next(table for job, table in JOB_RESULTS.items() if job.replace("-", "") == found[1])

    DuckDBEngine.fetch_arrow = fetch_result


def charge():
    """A query costs the bytes of the tables that it names."""
    dry_run, run = jobs._build_dry_run_query_response, jobs._execute_query_or_failed_meta

    async def dry_run_with_cost(**call):
        response = await dry_run(**call)
        cost = str(cost_of(call))
        response["statistics"]["totalBytesProcessed"] = response["statistics"]["query"]["totalBytesProcessed"] = cost
        return response

    async def run_within_limit(**call):
        limit, cost = call["query_config"].get("maximumBytesBilled"), cost_of(call)
        if limit is None or cost <= int(limit):
            return await run(**call)
        error = InvalidQueryError(f"Query exceeded limit for bytes billed: {limit}. {cost} or higher required.")
        reason = jobs._domain_error_to_error_result(error) | {"reason": "bytesBilledLimitExceeded"}
        now = call["ctx"].clock.now()
        return jobs._failed_job_meta(call["project_id"], call["job_id"], "QUERY", call["config"], reason, now)

    jobs._build_dry_run_query_response, jobs._execute_query_or_failed_meta = dry_run_with_cost, run_within_limit


def cost_of(call) -> int:
    """The bytes of the tables in a statement; of those that are not there, none."""
    total = 0
    for table in sqlglot.parse_one(call["bq_sql"], read="bigquery").find_all(exp.Table):
        if call["ctx"].catalog.get_table(call["project_id"], table.db, table.name):
            name = f'"{call["project_id"]}__{table.db}"."{table.name}"'
            total += call["ctx"].engine.fetch_arrow(f"SELECT * FROM {name}").nbytes
    return total


def show_views():
    """The resource of a view has its query."""
    resource = tables._table_to_rest

    def with_query(table):
        view = {"view": {"query": table.view_query, "useLegacySql": False}} if table.view_query else {}
        return resource(table) | view

    tables._table_to_rest = with_query


def follow(parent: int) -> None:
    """Ends this process when its parent has ended, however that happened."""
    while os.getppid() == parent:
        threading.Event().wait(0.5)
    os._exit(1)


async def serve() -> None:
    # A stream whose client is gone keeps its thread for ever, and by default there are but four more than processors.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(256))
    server = EmulatorServer(Settings(rest_port=0, grpc_port=0, log_level="error", enable_format_extensions=False))
    await server.start()
    print(json.dumps({"rest": server.rest_port, "storage": server._grpc_port}), file=answer, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    threading.Thread(target=follow, args=(int(sys.argv[1]),), daemon=True).start()
    # The extension for geography is a large download, and slow to load.
    DuckDBEngine._load_spatial = lambda self: None
    honour_offsets()
    keep_job_ids()
    correct_results()
    share_results()
    charge()
    show_views()
    asyncio.run(serve())
