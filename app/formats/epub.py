"""Electronic books, .epub: pages and tables of contents. Pictures, styles and scripts are left alone."""

import html
import re
from collections.abc import Sequence
from posixpath import dirname, join, normpath
from urllib.parse import unquote

from app.formats import html as pages
from app.formats.base import Encoding, Options, Slot, TextDocument, decoded, has_words, plain_slot
from app.formats.markup import ATTRIBUTES
from app.formats.safety import Archive, refuse_entities
from app.translation.pieces import Part, Piece
from data.bitexts.languages import primary
from data.errors import UserError

_CONTAINER = "META-INF/container.xml"
_PAGE, _CONTENTS = "application/xhtml+xml", "application/x-dtbncx+xml"
_LABEL = re.compile(rf"(<(?:\w+:)?text\b{ATTRIBUTES}>)([^<>]*)(?=</)")
_TITLE = re.compile(rf"(<dc:title\b{ATTRIBUTES}>)([^<>]*)(?=</)")
_LANGUAGE = re.compile(rf"(<dc:language\b{ATTRIBUTES}>\s*)([A-Za-z-]+)(?=\s*</)")
# Fonts may be scrambled without the book being locked.
_FONTS = (b"http://www.idpf.org/2008/embedding", b"http://ns.adobe.com/pdf/enc#RC")


class EpubDocument:
    """A book, see `FileDocument`."""

    lines = False

    def __init__(self, archive: Archive, parts: dict[str, TextDocument]):
        self._archive, self._parts = archive, parts
        self.pieces: list[Piece] = [piece for part in parts.values() for piece in part.pieces]

    def write(self, translations: Sequence[Sequence[Part]]) -> bytes:
        """See `FileDocument.write`."""
        found = iter(translations)
        return self._archive.written(
            {name: part.write([next(found) for _ in part.pieces]) for name, part in self._parts.items()}
        )


def read(content: bytes, options: Options) -> EpubDocument:
    """Reads a book.

    Raises:
        UserError: it is damaged, locked, or not a book.
    """
    archive = Archive(content, options.name)
    if _CONTAINER not in archive.names:
        raise UserError(f"{options.name}: not an electronic book; save it again as .epub")
    _refuse_locked(archive, options.name)
    package = next(iter(archive.xml(_CONTAINER).root.iter("{*}rootfile")), None)
    if package is None or not package.get("full-path"):
        raise UserError(f"{options.name}: does not say where its pages are; save it again")
    path = package.get("full-path")
    parts: dict[str, TextDocument] = {path: _package(archive, path, options)}
    for part, kind in _pages(archive, path):
        name = f"{options.name}, {part}"
        own = Options(name, options.source, options.target)
        page = archive.read(part)
        refuse_entities(page, name)
        parts[part] = pages.read(page, own) if kind == _PAGE else _slots(*decoded(page, name), _LABEL)
    return EpubDocument(archive, parts)


def _refuse_locked(archive: Archive, name: str) -> None:
    """Refuses a book whose pages are encrypted."""
    if "META-INF/encryption.xml" in archive.names:
        locks = archive.xml("META-INF/encryption.xml").root.iter("{*}EncryptionMethod")
        if any((lock.get("Algorithm") or "").encode() not in _FONTS for lock in locks):
            raise UserError(f"{name}: is locked (DRM); only its publisher can unlock it")


def _pages(archive: Archive, path: str) -> list[tuple[str, str]]:
    """The pages in reading order, then the tables of contents, each with its kind."""
    root = archive.xml(path).root
    items = {item.get("id"): item for item in root.iter("{*}item")}
    order = [items[one.get("idref")] for one in root.iter("{*}itemref") if one.get("idref") in items]
    found: dict[str, str] = {}
    for item in [*order, *items.values()]:
        if item.get("media-type") in (_PAGE, _CONTENTS):
            part = normpath(join(dirname(path), unquote(item.get("href") or "")))
            found.setdefault(part, item.get("media-type"))
    return list(found.items())


def _package(archive: Archive, path: str, options: Options) -> TextDocument:
    """The book's description: its title is translated, and its language changes."""
    text, encoding = decoded(archive.read(path), options.name)

    def renamed(match: re.Match) -> str:
        return match[1] + (options.target if primary(match[2]) == options.source else match[2])

    return _slots(_LANGUAGE.sub(renamed, text), encoding, _TITLE)


def _slots(text: str, encoding: Encoding, pattern: re.Pattern) -> TextDocument:
    """A text in which the second group of a pattern is translated."""
    layout: list[str | Slot] = []
    place = 0
    for match in pattern.finditer(text):
        if has_words(match[2]):
            layout += [text[place : match.start(2)], plain_slot(html.unescape(match[2]), _escaped)]
            place = match.end(2)
    return TextDocument([*layout, text[place:]], encoding)


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)
