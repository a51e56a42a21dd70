"""OpenDocument text, .odt: paragraphs and headings, including those in tables, notes, text boxes, headers and footers.

Comments, fields, pictures and formulas are left alone.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from app.formats.base import Options
from app.formats.paragraphs import Break, Mark, Numbers, PackedDocument, Token, with_pairs
from app.formats.safety import Archive
from data.errors import UserError

if TYPE_CHECKING:
    from lxml import etree

_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
_FO = "{urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0}"
_RSID = "rsid"
_PARAGRAPHS = (_TEXT + "p", _TEXT + "h")
_AROUND = frozenset(_TEXT + name for name in ("span", "a", "meta"))
_BREAKS = frozenset(_TEXT + name for name in ("tab", "line-break"))
_MARKS = re.compile(
    r"(annotation|bookmark|reference-mark|change|toc-mark|alphabetical-index-mark|user-index-mark)(?:-(start|end))?"
)
# Attributes that both ends of a range share.
_NAMES = [_TEXT + name for name in ("name", "id", "change-id")]
# Text that is no longer, or not yet, part of the document, or is about it.
_APART = frozenset((_TEXT + "tracked-changes", "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}annotation"))
_WHITE = re.compile("[ \t\r\n]+")
_SPACES = re.compile(r"( {2,}|^ | $)")


def read(content: bytes, options: Options) -> PackedDocument:
    """Reads a text document.

    Raises:
        UserError: it is damaged, encrypted, or not a text document.
    """
    archive = Archive(content, options.name)
    if "content.xml" not in archive.names:
        raise UserError(f"{options.name}: not a text document of OpenDocument; save it again as .odt")
    if "META-INF/manifest.xml" in archive.names and b"encryption-data" in archive.read("META-INF/manifest.xml"):
        raise UserError(f"{options.name}: is encrypted; save it without a password")
    document = PackedDocument(archive)
    for part in ("content.xml", "styles.xml"):
        if part in archive.names:
            file = archive.xml(part)
            _rename_language(file.root, options)
            document.add(part, file)
            document.add_paragraphs(_paragraphs(file.root), OdtParagraphs(file.root))
    return document


def _paragraphs(root: "etree._Element") -> Iterator["etree._Element"]:
    for element in root.iter(*_PARAGRAPHS):
        if not any(owner.tag in _APART for owner in element.iterancestors()):
            yield element


def _rename_language(root: "etree._Element", options: Options) -> None:
    from app.formats.languages import country

    for element in root.iter(_STYLE + "text-properties"):
        if element.get(_FO + "language") == options.source:
            element.set(_FO + "language", options.target)
            if element.get(_FO + "country"):
                element.set(_FO + "country", country(options.target))


class OdtParagraphs:
    """Reads and writes paragraphs of a file, see `Paragraphs`."""

    def __init__(self, root: "etree._Element"):
        # Styles that only say when a text was typed (its editing session).
        self._plain = {
            style.get(_STYLE + "name")
            for style in root.iter(_STYLE + "style")
            if style.get(_STYLE + "family") == "text"
            and not style.get(_STYLE + "parent-style-name")
            and all(_RSID in key for child in style for key in child.attrib)
            and not any(len(child) for child in style)
        }

    def read(self, paragraph: "etree._Element") -> list[Token]:
        """See `Paragraphs.read`."""
        numbers = Numbers()
        tokens: list[Token] = []
        for token in with_pairs(list(self._inner(paragraph, numbers)), numbers):
            if isinstance(token, str) and tokens and isinstance(tokens[-1], str):
                tokens[-1] += token
            elif token != "":
                tokens.append(token)
        return tokens

    def _inner(self, element: "etree._Element", numbers: Numbers) -> Iterator[Token]:
        # A sequence of white space is one space in OpenDocument.
        yield _WHITE.sub(" ", element.text or "")
        for child in element:
            yield from self._child(child, numbers)
            yield _WHITE.sub(" ", child.tail or "")

    def _child(self, child: "etree._Element", numbers: Numbers) -> Iterator[Token]:
        if child.tag == _TEXT + "s":
            # Several spaces keep columns apart.
            yield " " if child.get(_TEXT + "c", "1") == "1" else Break([child])
        elif child.tag in _BREAKS:
            yield Break([child])
        elif child.tag == _TEXT + "span" and child.get(_TEXT + "style-name") in self._plain:
            yield from self._inner(child, numbers)
        elif child.tag in _AROUND:
            opening, closing = numbers.around(child.makeelement(child.tag, child.attrib, child.nsmap))
            yield opening
            yield from self._inner(child, numbers)
            yield closing
        elif child.tag != _TEXT + "soft-page-break":
            # An XML comment has no name.
            name = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else "annotation"
            mark = _MARKS.fullmatch(name)
            if mark:
                # The range of a comment may grow.
                named = next(filter(None, map(child.get, _NAMES)), None) if mark[1] != "annotation" else None
                yield Mark([child], before=mark[2] != "end", pair=(mark[1], named) if mark[2] and named else None)
            else:
                yield numbers.alone([child])

    def write(self, paragraph: "etree._Element", tokens: Sequence[Token]) -> None:
        """See `Paragraphs.write`."""
        for child in list(paragraph):
            paragraph.remove(child)
        paragraph.text = None
        around = [paragraph]
        for token in tokens:
            if isinstance(token, str):
                _append(around[-1], token)
            elif token.content is None:
                around.pop()
            elif isinstance(token.content, list):
                for element in token.content:
                    element.tail = None  # the text after it has its own tokens
                    around[-1].append(element)
            else:
                around[-1].append(token.content)
                around.append(token.content)


def _append(element: "etree._Element", text: str) -> None:
    """Appends a text; several spaces in a row, or one at the very beginning, become an element."""
    for number, part in enumerate(_SPACES.split(text)):
        if number % 2 and (len(part) > 1 or not len(element) and not element.text):
            element.append(element.makeelement(_TEXT + "s", {_TEXT + "c": str(len(part))}, {"text": _TEXT[1:-1]}))
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + part
        else:
            element.text = (element.text or "") + part
