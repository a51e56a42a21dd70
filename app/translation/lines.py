"""Text in and out, line by line: each input line gives one output line, with no needless waiting."""

import collections
import errno
import os
import re
import select
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from data.corpora.folder import read_lines
from data.errors import UserError
from data.files import LONGEST

_CHUNK = 1 << 16
BREAKS = "[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]+"

# How documents are separated in the input; see `DocumentLines`.
BLANK, COLUMN, FILE = "blank", "column", "file"
# Limits on the lines that are read ahead of the output: few at first, so that the first output comes soon.
FIRST_LINES, MOST_LINES = 8, 4096
MOST_CHARACTERS = 1 << 20


class LineReader:
    """The lines of a file, pipe or terminal, decoded from UTF-8 as they come in; "\\n" alone ends a line.

    Reading goes straight to the file descriptor, so that `waiting` can tell whether the next line is there already.
    A byte order mark at the start and a "\\r" before "\\n" are dropped, and a last line needs no "\\n".

    Args:
        descriptor: an open file descriptor.
        name: its name in messages.

    Raises:
        UserError: by `next`, for a line that is not UTF-8 or too long; names the file and the line.

    Example:
        >>> for line in LineReader(sys.stdin.fileno(), "standard input"):
        ...     print(line)
    """

    def __init__(self, descriptor: int, name: str):
        self.name = name
        self.number = 0
        self._descriptor = descriptor
        self._lines: collections.deque[bytes] = collections.deque()
        self._begun: list[bytes] = []
        self._ended = self._too_long = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while not self._lines and not self._ended:
            self._read()
        if not self._lines and self._too_long:
            place = f"{self.name}, line {self.number + 1:,}"
            raise UserError(f"{place}: longer than {LONGEST:,} bytes; give one segment per line")
        if not self._lines:
            raise StopIteration
        self.number += 1
        line = self._decode(self._lines.popleft())
        return line.removeprefix("\ufeff") if self.number == 1 else line

    def waiting(self) -> bool:
        """Whether `next` would have to wait for more input; never waits itself."""
        while not self._lines and not self._ended:
            if not select.select([self._descriptor], [], [], 0)[0]:
                return True
            self._read()
        return False

    def close(self) -> None:
        """Closes the file descriptor; nothing can be read after that."""
        os.close(self._descriptor)

    def _read(self) -> None:
        block = os.read(self._descriptor, _CHUNK)
        first, *rest = block.split(b"\n")
        self._begun.append(first)
        if sum(map(len, self._begun)) > LONGEST:
            self._ended = self._too_long = True
            return
        if rest or not block:
            whole = b"".join(self._begun)
            self._begun = rest[-1:]
            self._ended = not block
            self._lines.extend([whole, *rest[:-1]] if rest or whole else [])

    def _decode(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self.name}, line {self.number}: not valid UTF-8 (byte 0x{raw[error.start]:02x} at byte "
                f"{error.start + 1} of the line); convert it to UTF-8"
            ) from None


def open_lines(path: Path | str | None = None) -> LineReader:
    """Opens a file for streaming.

    Args:
        path: a file, or None or "-" for standard input.

    Returns:
        A `LineReader`.

    Raises:
        UserError: the file is missing, a folder, or not readable.
    """
    if path is None or str(path) == "-":
        if sys.stdin is None:
            raise UserError("standard input is closed: name a FILE, or pipe text in")
        return LineReader(sys.stdin.fileno(), "standard input")
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        return LineReader(os.open(path, os.O_RDONLY), str(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def read_text(path: Path | str) -> list[str]:
    """All lines of a UTF-8 file; raises `UserError` if they cannot be read."""
    try:
        return list(read_lines(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path, error: OSError) -> UserError:
    reason = (error.strerror or str(error)).lower()
    return UserError(f"{path}: cannot be read: {reason}; give a text file with one segment per line")


def one_line(text: str) -> str:
    """The text with everything that a program may treat as a line end replaced by a space."""
    return re.sub(BREAKS, " ", text).strip()


def chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Takes lines in growing chunks, and never waits for another line while it has some.

    An error in the input, such as bytes that are not UTF-8, is raised after the chunk before it.
    """
    waiting = getattr(lines, "waiting", lambda: False)
    lines = iter(lines)
    most, failure, ended = FIRST_LINES, None, False
    while not ended:
        chunk, characters = [], 0
        while len(chunk) < most and characters < MOST_CHARACTERS and not (chunk and waiting()):
            try:
                chunk.append(next(lines))
            except StopIteration:
                ended = True
                break
            except UserError as error:
                failure, ended = error, True
                break
            characters += len(chunk[-1])
        if chunk:
            yield chunk
        most = min(2 * most, MOST_LINES)
    if failure:
        raise failure


class DocumentLine(NamedTuple):
    """A line and the document it belongs to.

    Fields:
        document: a number shared by the lines of one document; None for a line between documents.
        text: the segment; may be empty.
        correction: a translation that a person approved, which memories then hold in place of the model's own.
        known: whether the correction is known from the start. Then it is the translation of its line, and all lines
            of the document may read it. Otherwise only the lines that follow read it, as if the model's translation
            had been corrected.
    """

    document: int | None
    text: str
    correction: str | None = None
    known: bool = True


class DocumentLines:
    """The lines of one or several files with their documents, as they come in; the end of a file ends a document.

    Args:
        paths: files, or "-" for standard input.
        boundary: what else separates documents. BLANK: blank lines. COLUMN: each line is "DOC<TAB>segment", a document
            ends where DOC changes. FILE: nothing.

    Raises:
        UserError: at once for a file that cannot be read; by `next` for a line that is not UTF-8, has no tab, or
            belongs to a document that has ended.

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
        self._names: set[str] = set()

    def __iter__(self) -> Iterator[DocumentLine]:
        return self

    def __next__(self) -> DocumentLine:
        while True:
            if self._reader is None:
                path = next(self._paths)
                self._reader, self._closes = open_lines(path), str(path) != "-"
                self._begin(None)
                self._names.clear()
            line = next(self._reader, None)
            if line is not None:
                return self._place(line)
            if self._closes:
                self._reader.close()
            self._reader = None

    def waiting(self) -> bool:
        """Whether `next` would have to wait for more input; never waits itself."""
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
                f"{self._reader.name}, line {self._reader.number}: has no tab; with --doc-column each line is the "
                "document's name, a tab and the segment"
            )
        if name != self._name:
            if name in self._names:
                raise UserError(
                    f'{self._reader.name}, line {self._reader.number}: the document "{name}" has already ended; '
                    "the lines of a document must be consecutive: sort the input by document"
                )
            self._names.add(name)
            self._begin(name)
        return DocumentLine(self._document, text)

    def _by_file(self, line: str) -> DocumentLine:
        return DocumentLine(self._document, line)
