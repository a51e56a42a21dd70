"""Opens a warehouse by its address."""

import os

from data.errors import UserError
from data.warehouse.base import Warehouse

VARIABLE = "WEITBLICK_WAREHOUSE"
FORMS = "a file such as corpora.duckdb, or bigquery:PROJECT.DATASET"


def open_warehouse(
    address: str = "", byte_limit: int | None = None, read_only: bool = False, create: bool = False
) -> Warehouse:
    """Opens a warehouse.

    Args:
        address: "PATH.duckdb" or "duckdb:PATH" for a file, "bigquery:PROJECT.DATASET" for BigQuery; "" for the one in
            $WEITBLICK_WAREHOUSE. It never contains credentials.
        byte_limit: BigQuery refuses queries that would be billed for more bytes; None for no limit.
        read_only: nothing will be written. Any number of processes may then read one DuckDB file at the same time.
        create: make the file or data set if it does not exist.

    Returns:
        The warehouse, to be used in a `with` block.

    Raises:
        UserError: the address is missing or has an unknown form, there is nothing at it or no right to use it, a
            package is missing, or another process holds the DuckDB file.
    """
    address = address or os.environ.get(VARIABLE, "")
    if not address:
        raise UserError(f"no warehouse is named; add --warehouse ADDRESS or set {VARIABLE} to {FORMS}")
    kind, colon, place = address.partition(":")
    if colon and kind == "bigquery":
        from data.warehouse.bigquery.warehouse import BigQueryWarehouse

        return BigQueryWarehouse(address, byte_limit, create)
    if colon and kind == "duckdb":
        address = place
    elif not address.endswith((".duckdb", ".db")):
        raise UserError(f"{address!r} is not the address of a warehouse; expected {FORMS}")
    from data.warehouse.duck import DuckWarehouse

    return DuckWarehouse(address, read_only, create)
