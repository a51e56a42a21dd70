"""Tables, .csv and .tsv: the named columns are translated; all other cells, quotes and separators stay."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from app.formats.base import Options, Slot, TextDocument, decoded, has_words, plain_slot
from data.errors import UserError

_SEPARATORS = ",;\t|"
_SHOWN = 20


class _Cell(NamedTuple):
    """A cell as it is written, and what follows it: a separator, a line break, or nothing."""

    raw: str
    after: str

    @property
    def text(self) -> str:
        return self.raw[1:-1].replace('""', '"') if self.raw.startswith('"') else self.raw


def read(content: bytes, options: Options) -> TextDocument:
    """Reads a table.

    Raises:
        UserError: no columns are named, one is not there, or a row is damaged.
    """
    text, encoding = decoded(content, options.name)
    separator = "\t" if options.name.lower().endswith(".tsv") else _separator(text)
    rows = list(_rows(text, separator, options.name))
    columns, first = _columns(rows, options)
    layout: list[str | Slot] = []
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            chosen = number >= first and column in columns and has_words(cell.text)
            layout += [_slot(cell, separator) if chosen else cell.raw, cell.after]
    return TextDocument(layout, encoding, lines=True)


def _slot(cell: _Cell, separator: str) -> Slot:
    def write(text: str) -> str:
        # A cell that has quotes inside it, and none around it, may stay like that.
        signs = (separator, "\n", "\r") if '"' in cell.raw else (separator, "\n", "\r", '"')
        if cell.raw.startswith('"') or text.startswith('"') or any(sign in text for sign in signs):
            return '"' + text.replace('"', '""') + '"'
        return text

    return plain_slot(cell.text, write)


def _columns(rows: list[list[_Cell]], options: Options) -> tuple[set[int], int]:
    """The numbers of the columns from 0, and the number of the first row to translate."""
    heads = [cell.text.strip().removeprefix("\ufeff") for cell in rows[0]] if rows else []
    listed = ", ".join(heads[:_SHOWN]) + (" ..." if len(heads) > _SHOWN else "")
    if not options.columns:
        raise UserError(
            f"{options.name}: which columns should be translated? Name some of its first row ({listed}), or their "
            "numbers from 1: --columns NAME ..."
        )
    if all(name.isdecimal() and name not in heads for name in options.columns):
        found = {int(name) - 1 for name in options.columns}
        if min(found) < 0 or max(found) >= max(map(len, rows), default=0):
            raise UserError(
                f"{options.name}: --columns {' '.join(options.columns)}: expected numbers from 1 to {len(heads)}"
            )
        return found, 0
    for name in options.columns:
        if heads.count(name) != 1:
            raise UserError(f"{options.name}: no single column is called {name!r}; the first row has {listed}")
    return {heads.index(name) for name in options.columns}, 1


def _separator(text: str) -> str:
    """The separator that is most frequent in the first line."""
    counts = Counter(re.sub(r'"[^"]*"', "", text.split("\n", 1)[0]))
    return max(_SEPARATORS, key=lambda sign: counts[sign])


def _rows(text: str, separator: str, name: str) -> Iterator[list[_Cell]]:
    cell = re.compile(
        rf'("(?:[^"]|"")*"|[^"\r\n{re.escape(separator)}][^\r\n{re.escape(separator)}]*|)({re.escape(separator)}|\r\n|\n|\r|\Z)'
    )
    row: list[_Cell] = []
    place = 0
    while place < len(text) or (row and row[-1].after == separator):
        match = cell.match(text, place)
        if not match:
            line = text.count("\n", 0, place) + 1
            raise UserError(f"{name}, line {line:,}: a quote that does not end, or ends within a cell; fix the row")
        row.append(_Cell(match[1], match[2]))
        place = match.end()
        if match[2] != separator:
            yield row
            row = []
