"""The columns of the tables of pairs and loads, and the names of types in standard SQL and in Arrow."""

from collections.abc import Mapping

import pyarrow

from data.errors import UserError

TYPES = {
    "STRING": pyarrow.string(),
    "INT64": pyarrow.int64(),
    "FLOAT64": pyarrow.float64(),
    "BOOL": pyarrow.bool_(),
    "TIMESTAMP": pyarrow.timestamp("us", "UTC"),
}

PAIRS = "pairs"
LOADS = "loads"
BANDS = 8  # of MinHash, see data.warehouse.minhash

# First the pair itself, then what the filters look at; docs/warehouse.md explains each column.
TEXT_COLUMNS = {
    "corpus": "STRING",
    "split": "STRING",
    "doc": "STRING",
    "position": "INT64",
    "en": "STRING",
    "de": "STRING",
}
QUALITY_COLUMNS = {
    "en_words": "INT64",
    "de_words": "INT64",
    "en_length": "INT64",
    "de_length": "INT64",
    "copied_words": "INT64",
    "digest": "INT64",
    "en_foreign": "BOOL",
    "de_foreign": "BOOL",
} | {f"band_{number}": "INT64" for number in range(1, BANDS + 1)}
PAIR_COLUMNS = TEXT_COLUMNS | QUALITY_COLUMNS
LOAD_COLUMNS = {
    "corpus": "STRING",
    "fingerprint": "STRING",
    "pairs": "INT64",
    "lowercase": "BOOL",
    "loaded": "TIMESTAMP",
}


def arrow_schema(columns: Mapping[str, str]) -> pyarrow.Schema:
    """The Arrow schema of columns with standard types."""
    return pyarrow.schema([(name, TYPES[kind]) for name, kind in columns.items()])


def standard_schema(schema: pyarrow.Schema) -> dict[str, str]:
    """The standard types of Arrow columns.

    Raises:
        UserError: a column has a type that no table here holds, such as a list.
    """
    return {field.name: standard_type(field.type, field.name) for field in schema}


def standard_type(kind: pyarrow.DataType, column: str) -> str:
    """The standard type that holds an Arrow type: all integers are INT64, all floats FLOAT64."""
    checks = {
        "STRING": (pyarrow.types.is_string, pyarrow.types.is_large_string, pyarrow.types.is_string_view),
        "INT64": (pyarrow.types.is_integer, lambda kind: pyarrow.types.is_decimal(kind) and kind.scale == 0),
        "FLOAT64": (pyarrow.types.is_floating, pyarrow.types.is_decimal),
        "BOOL": (pyarrow.types.is_boolean,),
        "TIMESTAMP": (pyarrow.types.is_timestamp,),
    }
    for name, ways in checks.items():
        if any(way(kind) for way in ways):
            return name
    raise UserError(f"column {column!r} is of type {kind}, but only {', '.join(TYPES)} are supported; cast or drop it")


def standard_batch(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """A batch with the Arrow types that `TYPES` names."""
    wanted = arrow_schema(standard_schema(batch.schema))
    return batch if batch.schema.equals(wanted) else batch.cast(wanted)


def check_fits(where: str, there: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Checks that rows can be added to a table.

    Args:
        where: the table, for messages.
        there: the columns of the table and their standard types.
        new: the same of the rows.

    Raises:
        UserError: the table lacks a column of the rows, or has it with another type.
    """
    for name, kind in new.items():
        if name not in there:
            raise UserError(f"{where} has no column {name!r}; it has {', '.join(there)}")
        if there[name] != kind:
            raise UserError(f"{where}: column {name!r} is {there[name]} but should be {kind}; rename or drop the table")
