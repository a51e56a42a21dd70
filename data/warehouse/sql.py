"""Statements of standard SQL, written once and translated into the dialect of each database.

All SQL here, including the user's own queries, is GoogleSQL, the dialect of BigQuery; sqlglot translates it for DuckDB.
Values are passed only as parameters `@name`, and table names only through `statement`, as quoted identifiers.
"""

import datetime
import functools
import re
from collections.abc import Mapping

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from data.errors import UserError

STANDARD = "bigquery"
Value = str | int | float | bool | datetime.datetime

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A user's query may contain nothing that writes and no parameters. In FROM, functions could read files; only those of
# `_TABLE_FUNCTIONS` are allowed there.
_FORBIDDEN = (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock, exp.Parameter, exp.Placeholder)
_WRITERS = (exp.Create, exp.Insert, exp.Delete, exp.Update, exp.Merge, exp.TruncateTable)
_TABLE_FUNCTIONS = (exp.Unnest, exp.GenerateSeries)


def statement(text: str, **tables: str) -> exp.Expression:
    """A statement written in this program.

    Args:
        text: one statement in standard SQL.
        tables: the real name for each placeholder of a table in `text`.

    Returns:
        A new tree, ready to be run or put into another.

    Raises:
        UserError: no table can have one of the names.

    Example:
        >>> count = statement("SELECT COUNT(*) AS n FROM source WHERE split = @split", source="pairs")
        >>> next(warehouse.rows(count, {"split": "train"}))
    """
    tree = _parsed(text).copy()
    common = {cte.alias for cte in tree.find_all(exp.CTE)}
    for table in list(tree.find_all(exp.Table)):
        if table.name in tables and table.name not in common and not table.args.get("db"):
            name, alias = table.name, table.args.get("alias")
            new = table_name(tables[name])
            # Columns may be qualified with the placeholder, as in "source.corpus".
            new.set("alias", alias or (None if _is_target(table) else exp.TableAlias(this=exp.to_identifier(name))))
            table.replace(new)
    return tree


def table_name(name: str) -> exp.Table:
    """A table of the warehouse, as a quoted identifier.

    Raises:
        UserError: the name has characters other than letters, digits and "_", or begins with a digit.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be the name of a table or view: use English letters, digits and _, and no digit first"
        )
    return exp.Table(this=exp.to_identifier(name, quoted=True))


def create_table(name: str, columns: Mapping[str, str]) -> exp.Create:
    """The statement that makes an empty table.

    Args:
        name: of the table.
        columns: the names of the columns and their standard types.
    """
    kinds = [
        exp.ColumnDef(this=exp.to_identifier(column, quoted=True), kind=exp.DataType.build(kind, dialect=STANDARD))
        for column, kind in columns.items()
    ]
    return exp.Create(kind="TABLE", this=exp.Schema(this=table_name(name), expressions=kinds))


def is_name(text: str) -> bool:
    """Whether a text is a name that a table can have."""
    return bool(_NAME.fullmatch(text))


def tables_in(query: exp.Expression) -> set[str]:
    """The names of the tables and views that a query reads."""
    common = {cte.alias for cte in query.find_all(exp.CTE)}
    return {table.name for table in query.find_all(exp.Table) if table.name not in common or table.args.get("db")}


def user_query(text: str) -> exp.Query:
    """Reads a query that a person wrote.

    Args:
        text: standard SQL.

    Returns:
        The query.

    Raises:
        UserError: it is not a single SELECT, or contains anything that does more than read tables.
    """
    try:
        trees = [tree for tree in sqlglot.parse(text, read=STANDARD) if tree is not None]
    except SqlglotError as error:
        raise UserError(f"the query {_short(text)} is not SQL: {_first_error(error)}") from None
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        found = f"{len(trees)} statements" if len(trees) != 1 else trees[0].key.upper()
        raise UserError(f"the query {_short(text)} must be a single SELECT, but this is {found}")
    query = trees[0].unnest() if isinstance(trees[0], exp.Subquery) else trees[0]
    for node in query.walk():
        if isinstance(node, _FORBIDDEN):
            raise UserError(f"the query {_short(text)} may only read tables; it has {node.sql(STANDARD)[:60]!r}")
        made = node.this if isinstance(node, exp.Table) else None
        if isinstance(made, exp.Func) and not isinstance(made, _TABLE_FUNCTIONS):
            raise UserError(f"the query {_short(text)} may only read tables; it reads {made.sql(STANDARD)[:60]!r}")
    return query


def in_dialect(query: exp.Expression | str, dialect: str) -> str:
    """The text of a statement for one database.

    Args:
        query: what `statement` or `user_query` returned, or standard SQL as text.
        dialect: sqlglot's name of the database's dialect.
    """
    tree = _parsed(query) if isinstance(query, str) else query
    if dialect != STANDARD:
        tree = _with_escapes(tree.copy())
    return tree.sql(dialect)


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> exp.Expression:
    return sqlglot.parse_one(text, read=STANDARD)


def _with_escapes(tree: exp.Expression) -> exp.Expression:
    """In the standard a backslash escapes % and _ in a pattern of LIKE; other dialects need an ESCAPE clause."""
    for like in list(tree.find_all(exp.Like)):
        if not isinstance(like.parent, exp.Escape):
            escape = exp.Escape(expression=exp.Literal.string("\\"))
            like.replace(escape)
            escape.set("this", like)
    return tree


def _is_target(table: exp.Table) -> bool:
    """Whether a table is the one that a statement makes, fills, empties or drops, where no alias is allowed."""
    above = table.parent
    if isinstance(above, exp.Schema):
        above = above.parent
    return isinstance(above, exp.Drop) or (isinstance(above, _WRITERS) and above.this in (table, table.parent))


def _first_error(error: SqlglotError) -> str:
    text = re.sub(r"\x1b\[\d*m", "", str(error)).strip()
    return " ".join(text.split())[:160]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else text[:77] + "...")
