"""Corpora in a database: one table of pairs and one set of SQL for DuckDB and BigQuery."""

from importlib.util import find_spec

from data.errors import UserError
from data.installing import extra_command


def check_installed() -> None:
    """Checks that the packages which every warehouse needs are installed.

    Raises:
        UserError: one is missing; the message says how to install it.
    """
    missing = [package for package in ("pyarrow", "sqlglot") if find_spec(package) is None]
    if missing:
        raise UserError(f"a warehouse needs {' and '.join(missing)}: {extra_command('warehouse')}")
