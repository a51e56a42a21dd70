"""Paragraphs of XML documents: the text to translate in them, and the breaks and marks that stay."""

import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from app.formats.base import has_words, trimmed
from app.formats.safety import Archive, XmlFile
from app.translation.pieces import Part, Piece, Tag

if TYPE_CHECKING:
    from lxml import etree


class Break(NamedTuple):
    """Something that ends a piece within a paragraph, such as a tab or a line break."""

    content: Any


class Mark(NamedTuple):
    """Something that takes no room, such as a bookmark; it is kept before or after the piece in which it stands.

    `pair` is shared only by the two ends of a range whose text must stay the same, see `with_pairs`.
    """

    content: Any
    before: bool = True
    pair: Hashable = None


Token = Part | Break | Mark


def layout_of(tokens: Iterable[Token]) -> Iterator[Token | Piece]:
    """The tokens of a paragraph, with pieces for the text to translate."""
    group: list[Part] = []
    marks: list[Mark] = []
    for token in [*tokens, None]:
        if isinstance(token, Mark):
            # A mark before all text stays there.
            text = any(isinstance(part, str) and part.strip() for part in group)
            marks.append(token if text else token._replace(before=True))
        elif isinstance(token, Break) or token is None:
            before, parts, after = trimmed(group)
            yield from before
            yield from (mark for mark in marks if mark.before)
            yield from [Piece(parts)] if any(isinstance(p, str) and has_words(p) for p in parts) else parts
            yield from (mark for mark in marks if not mark.before)
            yield from after
            if token:
                yield token
            group, marks = [], []
        elif isinstance(token, str) and group and isinstance(group[-1], str):
            group[-1] += token
        else:
            group.append(token)


def owners(tokens: Iterable[Any]) -> list[int]:
    """For each token, where the pair of tags around it begins; -1 if only the paragraph is around it."""
    found, opened = list[int](), [-1]
    for place, token in enumerate(tokens):
        shown = token.shown if isinstance(token, Tag) else "/>"
        if shown.startswith("</"):
            opened.pop()
        found.append(opened[-1])
        if not shown.startswith("</") and not shown.endswith("/>"):
            opened.append(place)
    return found


def with_pairs(tokens: Sequence[Any], numbers: "Numbers") -> list[Any]:
    """The tokens of a paragraph, with the two marks of each range turned into a pair of tags around its content.

    If an element, a break or another range overlaps a range, each of its ends becomes a single tag. An empty range
    remains two marks at the same place.
    """
    found = list(tokens)
    inside = list(zip(owners(tokens), itertools.accumulate(isinstance(token, Break) for token in tokens), strict=True))
    filled = list(itertools.accumulate(not isinstance(token, Mark) and token != "" for token in tokens))
    marks = {place: token for place, token in enumerate(tokens) if isinstance(token, Mark) and token.pair is not None}
    ends = {mark.pair: place for place, mark in marks.items() if not mark.before}
    around: list[int] = []  # the ends of the ranges that are pairs of tags
    for place, mark in marks.items():
        if not mark.before or ends.get(mark.pair, -1) < place:
            continue
        end = ends.pop(mark.pair)
        while around and around[-1] < place:
            around.pop()
        if filled[place] == filled[end]:
            found[end] = marks[end]._replace(before=True)
        elif inside[place] == inside[end] and (not around or end < around[-1]):
            around.append(end)
            found[place], found[end] = numbers.around(mark.content, marks[end].content)
        else:
            found[place], found[end] = numbers.alone(mark.content), numbers.alone(marks[end].content)
    return found


class Paragraphs(Protocol):
    """How paragraphs of a format are read and written."""

    def read(self, paragraph: "etree._Element") -> list[Token]:
        """The content of a paragraph."""
        ...

    def write(self, paragraph: "etree._Element", tokens: Sequence[Token]) -> None:
        """Replaces the content of a paragraph."""
        ...


@dataclass(frozen=True)
class _Paragraph:
    """A paragraph with pieces, and how it is written."""

    element: "etree._Element"
    layout: list[Token | Piece]
    way: Paragraphs


class PackedDocument:
    """A document that is a zip archive of XML files, see `FileDocument`.

    Args:
        archive: the archive.
    """

    lines = False

    def __init__(self, archive: Archive):
        self._archive = archive
        self._files: dict[str, XmlFile] = {}
        self._paragraphs: list[_Paragraph] = []
        self.pieces: list[Piece] = []

    def add(self, part: str, file: XmlFile) -> None:
        """Adds a file that is written again."""
        self._files[part] = file

    def add_paragraphs(self, elements: Iterable["etree._Element"], way: Paragraphs) -> None:
        """Adds paragraphs that are translated."""
        for element in list(elements):
            layout = list(layout_of(way.read(element)))
            pieces = [token for token in layout if isinstance(token, Piece)]
            if pieces:
                self._paragraphs.append(_Paragraph(element, layout, way))
                self.pieces += pieces

    def write(self, translations: Sequence[Sequence[Part]]) -> bytes:
        """See `FileDocument.write`."""
        found = iter(translations)
        for element, layout, way in ((own.element, own.layout, own.way) for own in self._paragraphs):
            tokens: list[Token] = []
            for token in layout:
                tokens += next(found) if isinstance(token, Piece) else [token]
            way.write(element, tokens)
        return self._archive.written({part: file.written() for part, file in self._files.items()})


class Numbers:
    """Gives each tag a different name."""

    def __init__(self) -> None:
        self._last = 0

    def around(self, opening: Any, closing: Any = None) -> tuple[Tag, Tag]:
        """A pair of tags."""
        self._last += 1
        return Tag(f"<g{self._last}>", opening), Tag(f"</g{self._last}>", closing)

    def alone(self, content: Any) -> Tag:
        """A tag without a partner."""
        self._last += 1
        return Tag(f"<x{self._last}/>", content)
