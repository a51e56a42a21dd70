"""The order in which rows are exported and translated."""

from collections.abc import Sequence

from sqlglot import exp

from data.errors import UserError
from data.warehouse.base import Warehouse
from data.warehouse.sql import is_name, statement, user_query


def in_order(warehouse: Warehouse, what: str, names: Sequence[str] = ("*",)) -> exp.Expression:
    """A query for rows in an order without ties, so that every run returns them in the same order.

    It is the order of a SELECT's own ORDER BY, or else of `corpus`, `split` and `position` if the rows have the first
    and the last of these and the SELECT has no LIMIT; otherwise it is the order of insertion, if the database keeps it.
    Sorting by only some of the columns would lose the order of insertion, as no database promises to keep equal rows
    in place.

    Args:
        warehouse: where the rows are.
        what: a table, a view or a SELECT.
        names: the columns to read; a SELECT with an order of its own may return more.

    Raises:
        UserError: there is no such table, the query is not a single SELECT, or the rows have no order.
    """
    query = None if is_name(what) else user_query(what)
    if query is not None and isinstance(query.args.get("order"), exp.Order):
        return query
    there = warehouse.columns(what) if query is None else warehouse.schema(query)
    rows = f"SELECT {', '.join(names)} FROM source"
    if {"corpus", "position"} <= there.keys() and not (query and query.args.get("limit")):
        rows += f" ORDER BY {', '.join(name for name in ('corpus', 'split', 'position') if name in there)}"
    elif not warehouse.keeps_order:
        raise UserError(
            f"{warehouse.address}, {what}: the rows have no order; use a SELECT with ORDER BY, or rows with the "
            "columns corpus and position"
        )
    if query is None:
        return statement(rows, source=what)
    around = statement(rows)
    around.find(exp.Table).replace(query.subquery("source"))
    return around
