"""Tab-separated text, .tsv: source TAB target on each line."""

from collections.abc import Iterator, Sequence

from data.bitexts.base import Bitext, Entry
from data.bitexts.languages import primary
from data.corpora.folder import read_lines
from data.errors import UserError


class TsvFile(Bitext):
    """Text in UTF-8 without quoting: a tab always ends a column.

    The first two columns are source and target, unless the first line names the columns: `source` and `target`, or the
    codes of the languages, in any place. All other columns and empty lines are skipped.
    """

    unit = "line"

    def _entries(self) -> Iterator[Entry]:
        columns = 0, 1
        for number, line in enumerate(read_lines(self.path), start=1):
            cells = line.split("\t")
            if number == 1 and (named := find_columns(cells, self.source, self.target)):
                columns = named
            elif line.strip():
                if len(cells) <= max(columns):
                    raise UserError(
                        f"{self.path}, line {number:,}: {len(cells)} column{'s'[: len(cells) > 1]}, expected at least "
                        f"{max(columns) + 1}: put source TAB target on each line"
                    )
                texts = {self.source: cells[columns[0]], self.target: cells[columns[1]]}
                yield Entry(f"{self.path}, line {number:,}", texts)


def find_columns(cells: Sequence[str], source: str, target: str) -> tuple[int, int] | None:
    """Finds the columns of source and target in a line of names: `source` and `target`, or language codes.

    Returns:
        The numbers of both columns; None if the cells are not such names.
    """
    names, codes = [cell.strip().lower() for cell in cells], [primary(cell) for cell in cells]
    for row, pair in ((names, ("source", "target")), (codes, (source, target))):
        if all(name in row for name in pair):
            return row.index(pair[0]), row.index(pair[1])
    return None
