"""Corpora in single files, TMX and Parquet, to be loaded into a warehouse."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO
from xml.etree.ElementTree import Element, ParseError

from data.corpora.corpora import Corpora, Corpus
from data.corpora.folder import SPLITS
from data.errors import UserError
from data.files import LONGEST, checksum, refuse_long
from data.pairs import Pair, consecutive

BATCH = 20_000
DOCUMENT = "x-document"  # the type of the <prop> that holds a unit's document, as `corpora export` writes it
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
# Elements in a <seg> whose content is code of the original format, no text.
_CODE = ("bpt", "ept", "it", "ph", "ut")
_UNIT_BYTES = 16 * LONGEST  # of one unit of a TMX file
_NESTED = 100  # elements


def open_source(
    name: str, split: str = "train", folders: Iterable[Path | str] = ()
) -> "Corpus | TmxFile | ParquetFile":
    """What can be loaded: a file that ends in .tmx, .tmx.gz or .parquet, else a corpus of `data.corpora.corpora`.

    Args:
        name: a path, or a corpus by name.
        split: what the pairs of a file are, where the file does not say it.
        folders: where folder corpora are looked for.

    Raises:
        UserError: there is no such file or corpus.
    """
    kinds = {".tmx": TmxFile, ".tmx.gz": TmxFile, ".parquet": ParquetFile}
    for ending, kind in kinds.items():
        if name.endswith(ending):
            return kind(Path(name).expanduser(), split)
    return Corpora(folders).open(name)


class _File:
    """A file with the pairs of one corpus."""

    def __init__(self, path: Path, split: str):
        self.path, self.split = Path(path), split
        self.name = self.path.name.partition(".")[0]
        if not self.path.is_file():
            raise UserError(f"{self.path}: there is no such file")

    def prepare(self, report: Callable[[str], None] | None = None) -> None:
        """Nothing to fetch."""

    def splits(self) -> tuple[str, ...]:
        """The split that was given."""
        return (self.split,)

    def size(self, split: str) -> int | None:
        """None: unknown until the file is read."""

    def fingerprint(self, split: str) -> str:
        """A hash of the file."""
        return checksum(self.path, 32)


class TmxFile(_File):
    """Translation Memory eXchange, plain or packed by gzip; read as a stream.

    Of each unit the first variant in English and the first in German count, whatever their country; a unit without
    both is skipped. Tags in a segment are left out. `<prop type="x-document">` is the document.

    Args:
        path: the file.
        split: what its pairs are.

    References:
        LISA, TMX 1.4b Specification, https://www.gala-global.org/tmx-14b
    """

    def pairs(self, split: str) -> Iterator[Pair]:
        """Streams the pairs.

        Raises:
            UserError: the file is no XML, is cut short, declares entities, has too long a unit, has no unit in both
                languages, or has documents whose units do not stand together; names the line where it can.
        """
        return consecutive(self._pairs(), lambda number: f"{self.path}, unit {number:,} in both languages")

    def _pairs(self) -> Iterator[Pair]:
        found, languages = 0, set()
        for line, unit in self._units():
            variants: dict[str, str] = {}
            for variant in _children(unit, "tuv"):
                language = (variant.get(_XML_LANG) or variant.get("lang") or "").lower().split("-")[0].split("_")[0]
                segment = next(_children(variant, "seg"), None)
                text = "" if segment is None else _text(segment)
                variants.setdefault(language, refuse_long(text, f"{self.path}, near line {line:,}"))
            languages |= set(variants)
            if "en" in variants and "de" in variants:
                found += 1
                yield Pair(variants["en"], variants["de"], _document(unit))
        if not found:
            there = ", ".join(sorted(language or "none" for language in languages)) or "no unit at all"
            raise UserError(f"{self.path}: no unit has both English (en) and German (de); it has {there}")

    def _units(self) -> Iterator[tuple[int, Element]]:
        """The units, with the line near which each one ends."""
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import iterparse

        try:
            with gzip.open(self.path) if self.path.suffix == ".gz" else self.path.open("rb") as packed:
                file, above = _Metered(packed, self.path), []
                for event, element in iterparse(file, ("start", "end")):
                    if event == "start":
                        above.append(element)
                        self._check_place(above, file.line)
                        continue
                    above.pop()
                    if _name(element) == "tu":
                        yield file.line, element
                        above[-1].clear()  # or the whole file stays in memory
                        file.since = 0
        except ParseError as error:
            line, column = error.position
            raise UserError(f"{self.path}, line {line}, column {column + 1}: not well-formed XML ({error})") from None
        except DefusedXmlException as error:
            raise UserError(
                f"{self.path}: declares entities, which are not expanded ({type(error).__name__})"
            ) from None
        except (LookupError, ValueError) as error:
            raise UserError(f"{self.path}: cannot be decoded ({error}); convert the file to UTF-8") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"{self.path}: damaged or cut short ({error}); get the file again") from None

    def _check_place(self, above: list[Element], line: int) -> None:
        if _name(above[0]) != "tmx":
            raise UserError(f"{self.path}: no TMX file: its outermost element is <{_name(above[0])}>, expected <tmx>")
        if len(above) > _NESTED:
            raise UserError(f"{self.path}, near line {line:,}: more than {_NESTED} elements are nested; expected TMX")


class _Metered:
    """An XML file that counts its lines, and the bytes since the last unit."""

    def __init__(self, file: IO[bytes], path: Path):
        self.line, self.since, self._file, self._path = 1, 0, file, path

    def read(self, size: int = -1) -> bytes:
        """Reads some bytes; refuses a unit that would fill the memory."""
        if self.since > _UNIT_BYTES:
            raise UserError(f"{self._path}, near line {self.line:,}: more than {_UNIT_BYTES:,} bytes in one unit")
        content = self._file.read(size)
        self.since += len(content)
        self.line += content.count(b"\n")
        return content


def _name(element: Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def _children(element: Element, name: str) -> Iterator[Element]:
    return (child for child in element if _name(child) == name)


def _document(unit: Element) -> str:
    return next((prop.text or "" for prop in _children(unit, "prop") if prop.get("type") == DOCUMENT), "")


def _text(element: Element) -> str:
    """The text of a segment without the code of the original format."""
    parts = [element.text or ""]
    for child in element:
        if _name(child) not in _CODE:
            parts.append(_text(child))
        parts.append(child.tail or "")
    return "".join(parts)


class ParquetFile(_File):
    """A Parquet file with the columns `en` and `de`, or a column `translation` with both, as data sets on the web have.

    `doc` and `split` are taken where they are there.

    Args:
        path: the file.
        split: what its pairs are where it has no column `split`.

    Raises:
        UserError: it is not a Parquet file, lacks these columns, or they do not hold text.
    """

    def __init__(self, path: Path, split: str):
        super().__init__(path, split)
        self._schema = self._open().schema_arrow
        self._columns = self._check()

    def splits(self) -> tuple[str, ...]:
        """The splits that it names, or the one that was given."""
        if "split" not in self._schema.names:
            return (self.split,)
        import pyarrow.compute as pc

        found = set()
        for batch in self._open().iter_batches(BATCH, columns=["split"]):
            found |= set(pc.unique(batch.column(0)).to_pylist())
        for split in found:
            if split not in SPLITS:
                raise UserError(f"{self.path}: column 'split' has {split!r}; expected one of {', '.join(SPLITS)}")
        return tuple(split for split in SPLITS if split in found)

    def size(self, split: str) -> int | None:
        """The number of pairs, where it has no column `split`."""
        return None if "split" in self._schema.names else self._open().metadata.num_rows

    def pairs(self, split: str) -> Iterator[Pair]:
        """Streams the pairs of a split; missing text is empty."""
        return consecutive(self._pairs(split), lambda number: f"{self.path}, pair {number:,} of {split}")

    def _pairs(self, split: str) -> Iterator[Pair]:
        import pyarrow

        try:
            for batch in self._open().iter_batches(BATCH, columns=self._columns):
                columns = {name: batch.column(name).to_pylist() for name in self._columns}
                if "translation" in columns:
                    columns |= {key: [(row or {}).get(key) for row in columns["translation"]] for key in ("en", "de")}
                docs = columns.get("doc", [None] * batch.num_rows)
                wanted = columns.get("split", [split] * batch.num_rows)
                for en, de, doc, own in zip(columns["en"], columns["de"], docs, wanted, strict=True):
                    if own == split:
                        source, target = (refuse_long(text or "", str(self.path)) for text in (en, de))
                        yield Pair(source, target, "" if doc is None else str(doc))
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"{self.path}: damaged or cut short ({str(error).splitlines()[0]})") from error

    def _open(self):
        import pyarrow
        import pyarrow.parquet

        try:
            return pyarrow.parquet.ParquetFile(self.path)
        except pyarrow.ArrowException as error:
            raise UserError(f"{self.path}: no Parquet file, or cut short ({str(error).splitlines()[0]})") from error

    def _check(self) -> list[str]:
        """The columns to read."""
        names = self._schema.names
        if "translation" in names and "en" not in names:
            kind = self._schema.field("translation").type
            inner = [kind.field(i) for i in range(kind.num_fields)] if str(kind).startswith("struct") else []
            sides, columns = {field.name: field.type for field in inner}, ["translation"]
        else:
            sides, columns = {name: self._schema.field(name).type for name in names}, ["en", "de"]
        for side in ("en", "de"):
            if side not in sides:
                raise UserError(f"{self.path}: no column {side!r}; it has {', '.join(names)}; expected en and de")
            if str(sides[side]) not in ("string", "large_string", "string_view"):
                raise UserError(f"{self.path}: column {side!r} is of type {sides[side]}, expected text")
        return columns + [name for name in ("doc", "split") if name in names]
