"""Chooses the reader of a file by the ending of its name."""

import importlib
from typing import NamedTuple

from app.formats.base import MOST_BYTES, FileDocument, Options
from data.errors import UserError
from data.installing import extra_command


class _Reader(NamedTuple):
    """A function that reads a format: its module in this package, and its name there."""

    module: str
    function: str = "read"


_READERS = {
    ".txt": _Reader("text"),
    ".md": _Reader("markdown"),
    ".markdown": _Reader("markdown"),
    ".html": _Reader("html"),
    ".htm": _Reader("html"),
    ".xhtml": _Reader("html"),
    ".docx": _Reader("docx"),
    ".odt": _Reader("odt"),
    ".epub": _Reader("epub"),
    ".po": _Reader("po"),
    ".xlf": _Reader("xliff"),
    ".xliff": _Reader("xliff"),
    ".tmx": _Reader("tmx"),
    ".srt": _Reader("subtitles"),
    ".vtt": _Reader("subtitles"),
    ".json": _Reader("catalogues", "read_json"),
    ".arb": _Reader("catalogues", "read_json"),
    ".yaml": _Reader("catalogues", "read_yaml"),
    ".yml": _Reader("catalogues", "read_yaml"),
    ".csv": _Reader("table"),
    ".tsv": _Reader("table"),
}
ENDINGS = tuple(_READERS)


def ending_of(name: str) -> str:
    """The ending of a file's name, in lower case: ".docx"; "" for none."""
    last = name.replace("\\", "/").rpartition("/")[2]
    stem, dot, ending = last.rpartition(".")
    return dot + ending.lower() if stem else ""


def unknown(name: str) -> UserError:
    """The error for a file that has no known reader."""
    ending = ending_of(name)
    kind = f"files that end in {ending}" if ending else "files without an ending"
    return UserError(f"{name}: {kind} cannot be translated; these can: {', '.join(ENDINGS)}")


def open_document(content: bytes, options: Options) -> FileDocument:
    """Reads a file to translate.

    Args:
        content: the file.
        options: the file's name, whose ending says what it is, and how to read it.

    Raises:
        UserError: no reader is known for it, it is damaged, or it is not what its name says.
    """
    reader = _READERS.get(ending_of(options.name))
    if not reader:
        raise unknown(options.name)
    if len(content) > MOST_BYTES:
        raise UserError(f"{options.name}: {len(content):,} bytes; at most {MOST_BYTES:,} are read; split it")
    if options.columns and reader.module != "table":
        raise UserError(f"{options.name}: --columns is for tables, .csv and .tsv; leave it out")
    try:
        module = importlib.import_module(f"app.formats.{reader.module}")
        return getattr(module, reader.function)(content, options)
    except ImportError as error:
        raise UserError(f"{options.name}: {error.name} is not installed: {extra_command('files')}") from error
