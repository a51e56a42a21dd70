"""What all file formats share: pieces to translate, and the file written with their translations."""

import codecs
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from app.translation.pieces import Part, Piece, Tag
from data.errors import UserError

# No file that a person reads has more bytes.
MOST_BYTES = 32 << 20
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(frozen=True)
class Options:
    """How a file is read.

    Args:
        name: the file's name, for messages.
        source, target: the languages.
        columns: the columns of a table to translate, by name or by number from 1; the others are left alone.
    """

    name: str
    source: str = "en"
    target: str = "de"
    columns: tuple[str, ...] = ()


class FileDocument(Protocol):
    """A file to translate.

    Attributes:
        pieces: what is to be translated, in reading order.
        lines: whether a line break in a piece ends a segment.
    """

    pieces: list[Piece]
    lines: bool

    def write(self, translations: Sequence[Sequence[Part]]) -> bytes:
        """The file with the translation of each piece; everything else is unchanged."""
        ...


@dataclass(frozen=True)
class Slot:
    """A place in a text for the translation of a piece.

    Args:
        piece: the text in that place.
        write: turns a translation into the text written there.
    """

    piece: Piece
    write: Callable[[Sequence[Part]], str]


class Encoding(NamedTuple):
    """How a text is stored: the name of its encoding, and the byte order mark before it.

    `errors` says what to do with characters that the encoding lacks.
    """

    name: str = "utf-8"
    mark: bytes = b""
    errors: str = "strict"

    def encoded(self, text: str) -> bytes:
        """The text as bytes."""
        return self.mark + text.encode(self.name, self.errors)


@dataclass
class TextDocument:
    """A file of text with slots in it.

    Args:
        layout: the text that stays and the slots for translations, in order.
        encoding: the file's encoding.
        lines: see `FileDocument`.
    """

    layout: Sequence[str | Slot]
    encoding: Encoding = field(default_factory=Encoding)
    lines: bool = False

    def __post_init__(self) -> None:
        self.pieces = [part.piece for part in self.layout if isinstance(part, Slot)]

    def write(self, translations: Sequence[Sequence[Part]]) -> bytes:
        """See `FileDocument.write`."""
        found = iter(translations)
        text = "".join(part if isinstance(part, str) else part.write(next(found)) for part in self.layout)
        return self.encoding.encoded(text)


def decoded(content: bytes, name: str) -> tuple[str, Encoding]:
    """A text and how it is stored: UTF-8, or UTF-16 with a byte order mark.

    Raises:
        UserError: it is neither.
    """
    mark, encoding = next((pair for pair in _MARKS if content.startswith(pair[0])), (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, len(mark) + error.start) + 1
        raise UserError(f"{name}, line {line:,}: not valid {encoding.upper()}; convert the file to UTF-8") from None
    if "\0" in text:
        raise UserError(f"{name}: holds binary data (a NUL character); expected text")
    return text, Encoding(encoding, mark)


def plain_slot(text: str, write: Callable[[str], str] = str, known: str | None = None) -> Slot:
    """A slot for a text without tags."""
    return Slot(Piece((text,), known), lambda parts: write(text_of(parts)))


def text_of(parts: Sequence[Part]) -> str:
    """The text of the parts, leaving out tags."""
    return "".join(part for part in parts if isinstance(part, str))


def has_words(text: str) -> bool:
    """Whether there is anything to translate, that is, a letter."""
    return any(character.isalpha() for character in text)


def trimmed(parts: Sequence[Part]) -> tuple[tuple[Part, ...], tuple[Part, ...], tuple[Part, ...]]:
    """Splits off the tags and white space around all of the text: what comes before, what is within, what follows.

    Example:
        >>> trimmed([Tag("<b>"), "Stop.", Tag("</b>"), " ", Tag("<br/>")])[1]
        ('Stop.',)
    """
    start, end = 0, len(parts)
    closings = _closings(parts)
    while start < end:
        if _is_alone(parts[start]):
            start += 1
        elif _is_alone(parts[end - 1]):
            end -= 1
        elif closings.get(start) == end - 1:
            start, end = start + 1, end - 1
        else:
            break
    return tuple(parts[:start]), tuple(parts[start:end]), tuple(parts[end:])


def _is_alone(part: Part) -> bool:
    """Whether a part is a tag without a partner, or white space."""
    return part.shown.endswith("/>") if isinstance(part, Tag) else not part.strip()


def _closings(parts: Sequence[Part]) -> dict[int, int]:
    """Where each opening tag is closed: by the next closing tag of its name that closes no other."""
    found: dict[int, int] = {}
    opened: dict[str, list[int]] = {}
    for place, part in enumerate(parts):
        if not isinstance(part, Tag) or part.shown.endswith("/>"):
            continue
        own = opened.setdefault(_name(part), [])
        if not part.shown.startswith("</"):
            own.append(place)
        elif own:
            found[own.pop()] = place
    return found


def _name(tag: Tag) -> str:
    return re.split(r"[\s>]", tag.shown.lstrip("</"), maxsplit=1)[0]
