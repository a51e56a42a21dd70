"""XML files read as streams of units, such as `<tu>` of TMX, with no more than one unit in memory."""

import contextlib
import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from data.errors import UserError
from data.files import LONGEST

XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
UNIT_BYTES = 16 * LONGEST
_MOST_ELEMENTS = 100_000  # of a unit, as each takes far more memory than its bytes in the file
_CHUNK = 1 << 18
_NESTED = 100  # elements
# Elements in a segment whose content is code of the original format, in TMX and in XLIFF.
_CODE = ("bpt", "ept", "it", "ph", "ut")
_LINE_BREAKS = ("lb", "xlf:lb")


class Unit(NamedTuple):
    """One unit and its position; the names of its elements have no namespaces.

    Args:
        line: where its first tag begins.
        element: all of it.
        context: the attributes of the elements around it; of those with the same name, the innermost one's.
    """

    line: int
    element: Element
    context: Mapping[str, str]


def read_units(path: Path, format: str, roots: tuple[str, ...], units: tuple[str, ...]) -> Iterator[Unit]:
    """Streams the units of an XML file, which may be compressed with gzip (.gz), in any encoding and any namespace.

    Args:
        path: the file.
        format: what it should be, for messages.
        roots: what the outermost element may be.
        units: names of the elements to yield; everything outside them is skipped.

    Yields:
        Each unit when it is complete.

    Raises:
        UserError: the file is not such XML, is cut short, declares entities, cannot be decoded, or has elements that
            are nested too deeply or a unit that is too long. The message names the line if it can.
    """
    from defusedxml.ElementTree import XMLParser

    collector = _Collector(path, format, roots, units)
    parser = XMLParser(target=collector)
    collector.expat = parser.parser
    with _explained(path, format), gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        while content := file.read(_CHUNK):
            collector.since += len(content)
            parser.feed(content)
            if collector.since > UNIT_BYTES:
                raise UserError(
                    f"{path}, near line {parser.parser.CurrentLineNumber:,}: more than {UNIT_BYTES:,} bytes in one "
                    f"unit; expected {format}"
                )
            yield from collector.taken()
        parser.close()
        yield from collector.taken()


def segment_text(element: Element | None) -> str:
    """The text of a segment, "" for None, without code of the original format; code for a line break becomes a space.

    Text that is only marked (`<hi>`, `<g>`, `<pc>`, `<mrk>`) stays. Text within code (`<sub>`, such as a footnote or
    the title of a link) is not part of the sentence and is removed with it.
    """
    if element is None:
        return ""
    parts = [element.text or ""]
    for child in element:
        kind = child.get("ctype") or child.get("subType") or child.get("type")
        if kind in _LINE_BREAKS:
            parts.append(" ")
        elif child.tag not in _CODE:
            parts.append(segment_text(child))
        parts.append(child.tail or "")
    return "".join(parts)


class _Collector:
    """The target of a parser: builds units, and forgets everything around them."""

    def __init__(self, path: Path, format: str, roots: tuple[str, ...], units: tuple[str, ...]):
        self.since = 0  # bytes since the last unit, or since the last tag or text outside units
        self.expat: Any = None
        self._path, self._format, self._roots, self._names = path, format, roots, units
        self._units: list[Unit] = []
        self._contexts: list[dict[str, str]] = []
        self._builder: TreeBuilder | None = None
        self._line = self._depth = self._elements = 0  # of the unit

    def taken(self) -> list[Unit]:
        """The units that were completed since the last call."""
        units, self._units = self._units, []
        return units

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """A start tag."""
        name = tag.rpartition("}")[2]
        if not self._contexts and name not in self._roots:
            raise UserError(
                f"{self._path}: not in {self._format} format: its outermost element is <{name}>, "
                f"expected <{'> or <'.join(self._roots)}>"
            )
        if self._builder is None and name in self._names:
            self._builder, self._line, self._elements = TreeBuilder(), self.expat.CurrentLineNumber, 0
        if len(self._contexts) + self._depth >= _NESTED:
            raise self._too_many(_NESTED, "nested elements")
        if self._builder is None:
            self.since = 0
            self._contexts.append({**self._contexts[-1], **attributes} if self._contexts else attributes)
        else:
            self._depth += 1
            self._elements += 1
            if self._elements > _MOST_ELEMENTS:
                raise self._too_many(_MOST_ELEMENTS, "elements in one unit")
            self._builder.start(name, attributes)

    def end(self, tag: str) -> None:
        """An end tag."""
        if self._builder is None:
            self.since = 0
            self._contexts.pop()
            return
        self._builder.end(tag.rpartition("}")[2])
        self._depth -= 1
        if not self._depth:
            self._units.append(Unit(self._line, self._builder.close(), self._contexts[-1] if self._contexts else {}))
            self._builder, self.since = None, 0

    def data(self, text: str) -> None:
        """A piece of text."""
        if self._builder is None:
            self.since = 0
        else:
            self._builder.data(text)

    def _too_many(self, most: int, what: str) -> UserError:
        line = self.expat.CurrentLineNumber
        return UserError(f"{self._path}, line {line:,}: more than {most:,} {what}; expected {self._format}")


@contextlib.contextmanager
def _explained(path: Path, format: str) -> Iterator[None]:
    """Turns the errors of parser and decompressor into a `UserError`."""
    from defusedxml.common import DefusedXmlException

    try:
        yield
    except ParseError as error:
        line, column = error.position
        what = str(error).partition(": line")[0]
        raise UserError(
            f"{path}, line {line:,}, column {column + 1}: not well-formed XML ({what}); fix it there, or export the "
            f"file again as {format} in UTF-8"
        ) from None
    except DefusedXmlException as error:
        raise UserError(
            f"{path}: declares entities, which are not expanded ({type(error).__name__}); export it without <!ENTITY>"
        ) from None
    except (LookupError, ValueError) as error:
        raise UserError(f"{path}: cannot be decoded ({error}); convert the file to UTF-8") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged or cut short ({error}); get the file again") from None
