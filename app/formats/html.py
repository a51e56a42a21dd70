"""Web pages. Tags and their attributes, comments, scripts, code and `translate="no"` are left alone."""

import codecs
import re
from collections.abc import Iterator

from app.formats.base import Encoding, Options, Slot, TextDocument, decoded, has_words, trimmed
from app.formats.markup import SIGN, Tags, read_markup, written
from app.translation.pieces import Piece
from data.errors import UserError

HTML = Tags("html")
_CHARSET = re.compile(
    rb"""<(?:meta\s[^>]{0,200}?charset|\?xml\s[^>]{0,200}?encoding)\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE
)
# A page states its encoding near its beginning, within this many bytes.
_BEGINNING = 2048
# Python also has encodings for host names ("idna") and for nothing ("undefined"); they cannot write every text.
_FOREIGN = "\u4e00"
_LANGUAGE = re.compile(rf"""(<html\b{SIGN}*?\b(?:xml:)?lang\s*=\s*["']?)([A-Za-z]{{2,3}})\b""", re.IGNORECASE)


def read(content: bytes, options: Options) -> TextDocument:
    """Reads a web page."""
    text, encoding = _decoded(content, options.name)
    return TextDocument(list(layout(in_language(text, options))), encoding)


def layout(text: str) -> Iterator[str | Slot]:
    """The parts of an HTML text: strings that stay, and slots."""
    for part in read_markup(text, HTML):
        if isinstance(part, str):
            yield part
            continue
        before, parts, after = trimmed(part.piece.parts)
        if any(isinstance(one, str) and has_words(one) for one in parts):
            yield from (written(before), Slot(Piece(parts), written), written(after))
        else:
            yield part.raw


def in_language(text: str, options: Options) -> str:
    """The page; if it states that it is in the source language, it now states the target language."""

    def renamed(match: re.Match) -> str:
        return match[1] + (options.target if match[2].lower() == options.source else match[2])

    return _LANGUAGE.sub(renamed, _LANGUAGE.sub(renamed, text, count=1), count=1)


def _decoded(content: bytes, name: str) -> tuple[str, Encoding]:
    named = _CHARSET.search(content[:_BEGINNING])
    if named and not content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        charset = named[1].decode("ascii")
        try:
            if codecs.lookup(charset).name not in ("utf-8", "utf-16"):
                encoding = Encoding(charset, errors="xmlcharrefreplace")
                encoding.encoded(_FOREIGN)
                return content.decode(charset), encoding
        except (LookupError, UnicodeError):
            raise UserError(f"{name}: cannot be read as {charset}, which it declares; convert it to UTF-8") from None
    return decoded(content, name)
