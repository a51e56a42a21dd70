"""Which lines of the input are which document."""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from app.translation.lines import LineReader, open_lines
from data.errors import UserError

BLANK, COLUMN, FILE = "blank", "column", "file"


class DocumentLine(NamedTuple):
    """A line and the document it belongs to.

    Fields:
        document: the same for consecutive lines of one document; None for a line that ends one and is in none.
        text: the segment; may be empty.
    """

    document: int | None
    text: str


class DocumentLines:
    """The lines of one or several files with their documents, as they come in; a file's end is a document's end.

    Args:
        paths: files, or "-" for standard input.
        boundary: what else parts documents. BLANK: blank lines. COLUMN: each line is "DOC<TAB>segment", and a document
            ends where DOC changes. FILE: nothing.

    Raises:
        UserError: at once for a file that cannot be read; by `next` for a line that is not UTF-8 or has no tab.

    Example:
        >>> for document, text in DocumentLines(["manual.txt"]):
        ...     print(document, text)
    """

    def __init__(self, paths: Sequence[str] = ("-",), boundary: str = BLANK):
        for path in paths:
            if str(path) != "-" and (os.path.isdir(path) or not os.access(path, os.R_OK)):
                open_lines(path)
        self._paths = iter(paths)
        self._place = {BLANK: self._by_blank, COLUMN: self._by_column, FILE: self._by_file}[boundary]
        self._reader: LineReader | None = None
        self._closes = False
        self._document, self._name = 0, None

    def __iter__(self) -> Iterator[DocumentLine]:
        return self

    def __next__(self) -> DocumentLine:
        while True:
            if self._reader is None:
                path = next(self._paths)
                self._reader, self._closes = open_lines(path), str(path) != "-"
                self._begin(None)
            line = next(self._reader, None)
            if line is not None:
                return self._place(line)
            if self._closes:
                self._reader.close()
            self._reader = None

    def waiting(self) -> bool:
        """Whether `next` would have to wait for somebody to write more; never waits itself."""
        return self._reader is not None and self._reader.waiting()

    def _begin(self, name: str | None) -> None:
        self._document += 1
        self._name = name

    def _by_blank(self, line: str) -> DocumentLine:
        if line.strip():
            return DocumentLine(self._document, line)
        self._begin(None)
        return DocumentLine(None, "")

    def _by_column(self, line: str) -> DocumentLine:
        name, tab, text = line.partition("\t")
        if not line.strip():
            return DocumentLine(self._document, "")
        if not tab:
            raise UserError(
                f"{self._reader.name}, line {self._reader.number}: has no tab, and with --doc-column each line is the "
                "document's name, a tab and the segment"
            )
        if name != self._name:
            self._begin(name)
        return DocumentLine(self._document, text)

    def _by_file(self, line: str) -> DocumentLine:
        return DocumentLine(self._document, line)
