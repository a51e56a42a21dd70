"""Columns and values as BigQuery's REST service names them."""

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from data.warehouse.bigquery.connection import google

# The service still uses the older names.
STANDARD_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
PARAMETER_TYPES = {bool: "BOOL", int: "INT64", float: "FLOAT64", str: "STRING", datetime.datetime: "TIMESTAMP"}


def standard_columns(fields: Iterable[Any]) -> dict[str, str]:
    """Names and standard types of google.cloud.bigquery.SchemaField objects, in their order."""
    found = {}
    for field in fields:
        name = STANDARD_NAMES.get(field.field_type, field.field_type)
        found[field.name] = f"ARRAY<{name}>" if field.mode == "REPEATED" else name
    return found


def schema_fields(columns: Mapping[str, str]) -> list:
    """What BigQuery calls a table's schema.

    Args:
        columns: names and standard types.

    Returns:
        google.cloud.bigquery.SchemaField objects.
    """
    return [google()[0].SchemaField(name, kind) for name, kind in columns.items()]


def query_parameters(values: Mapping | None) -> list:
    """Named parameters of a query, each with the type of its value."""
    make = google()[0].ScalarQueryParameter
    return [make(name, PARAMETER_TYPES[type(value)], value) for name, value in (values or {}).items()]
