"""Columns and values in the words of Arrow, of standard SQL and of BigQuery's REST service."""

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING

from data.errors import UserError
from data.warehouse.bigquery_connection import google

if TYPE_CHECKING:
    import pyarrow

# The REST service still says the older names.
STANDARD_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}


def arrow_type(name: str) -> "pyarrow.DataType":
    """The Arrow type that holds the values of a standard type, such as "STRING" or "ARRAY<INT64>"."""
    import pyarrow

    if name.startswith("ARRAY<"):
        return pyarrow.list_(arrow_type(name[6:-1]))
    types = {
        "STRING": pyarrow.string(),
        "BYTES": pyarrow.binary(),
        "INT64": pyarrow.int64(),
        "FLOAT64": pyarrow.float64(),
        "BOOL": pyarrow.bool_(),
        "DATE": pyarrow.date32(),
        "DATETIME": pyarrow.timestamp("us"),
        "TIME": pyarrow.time64("us"),
        "TIMESTAMP": pyarrow.timestamp("us", tz="UTC"),
        "NUMERIC": pyarrow.decimal128(38, 9),
    }
    if name not in types:
        raise UserError(f"columns of the type {name} cannot be written; cast them to STRING in a query")
    return types[name]


def standard_type(kind: "pyarrow.DataType") -> str | None:
    """The standard type that holds the values of an Arrow type; None where there is none."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind):
        inner = standard_type(kind.value_type)
        return f"ARRAY<{inner}>" if inner and not inner.startswith("ARRAY") else None
    if types.is_dictionary(kind):
        return standard_type(kind.value_type)
    if types.is_timestamp(kind):
        return "TIMESTAMP" if kind.tz else "DATETIME"
    for test, name in (
        (types.is_string, "STRING"),
        (types.is_large_string, "STRING"),
        (types.is_string_view, "STRING"),
        (types.is_boolean, "BOOL"),
        (types.is_integer, "INT64"),
        (types.is_floating, "FLOAT64"),
        (types.is_binary, "BYTES"),
        (types.is_large_binary, "BYTES"),
        (types.is_date, "DATE"),
        (types.is_time, "TIME"),
        (types.is_decimal, "NUMERIC"),
    ):
        if test(kind):
            return name
    return None


def standard_columns(fields) -> dict[str, str]:
    """Names and standard types of google.cloud.bigquery.SchemaField objects, in their order."""
    found = {}
    for field in fields:
        name = STANDARD_NAMES.get(field.field_type, field.field_type)
        found[field.name] = f"ARRAY<{name}>" if field.mode == "REPEATED" else name
    return found


def schema_fields(schema: "pyarrow.Schema", table: str) -> list:
    """What BigQuery calls a schema, for a new table.

    Raises:
        UserError: a column has a type that BigQuery has not.
    """
    field = google()[0].SchemaField
    made = []
    for column in schema:
        name = standard_type(column.type)
        if name is None:
            raise UserError(
                f"the column {column.name} for the table {table} has the type {column.type}, which no "
                "column of BigQuery can hold; expected text, numbers, truth values, times or lists of them"
            )
        inner = name.removeprefix("ARRAY<").removesuffix(">")
        made.append(field(column.name, inner, mode="REPEATED" if inner != name else "NULLABLE"))
    return made


def query_parameters(values: Mapping | None) -> list:
    """Named parameters of a query, each with the type of its value."""
    bigquery, _ = google()
    names = (
        (bool, "BOOL"),
        (int, "INT64"),
        (float, "FLOAT64"),
        (datetime.datetime, "TIMESTAMP"),
        (str, "STRING"),
    )
    made = []
    for name, value in (values or {}).items():
        kind = next((word for type_, word in names if isinstance(value, type_)), "STRING")
        made.append(bigquery.ScalarQueryParameter(name, kind, value))
    return made
