"""Corpora in a database: one table of pairs and one set of SQL for DuckDB and BigQuery."""

from importlib.util import find_spec

from data.errors import UserError
from data.installing import extra_command


def check_installed() -> None:
    """Explains what to install where the packages that every warehouse needs are missing.

    Raises:
        UserError: they are.
    """
    missing = [package for package in ("pyarrow", "sqlglot") if find_spec(package) is None]
    if missing:
        raise UserError(f"a warehouse needs {' and '.join(missing)}: {extra_command('warehouse')}")
