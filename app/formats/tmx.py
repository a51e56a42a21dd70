"""Translation memories, .tmx: units without text in the target language get it; others stay and are remembered."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from app.formats.base import Options, has_words
from app.formats.elements import element_text, fill, parts_of
from app.formats.safety import XmlFile
from app.translation.pieces import Part, Piece
from data.bitexts.languages import primary
from data.errors import UserError
from data.xml_files import XML_LANG

if TYPE_CHECKING:
    from lxml import etree


class _Unit(NamedTuple):
    """A unit: its variants in the source and the target language, and whether the latter has text."""

    source: "etree._Element"
    target: "etree._Element | None"
    done: bool


class TmxDocument:
    """A translation memory, see `FileDocument`."""

    lines = True

    def __init__(self, file: XmlFile, units: list[_Unit], target: str):
        self._file, self._units, self._target = file, units, target
        self.pieces = [_piece(unit) for unit in units]

    def write(self, translations: Sequence[Sequence[Part]]) -> bytes:
        """See `FileDocument.write`."""
        for unit, parts in zip(self._units, translations, strict=True):
            if not unit.done:
                self._put(unit, parts)
        return self._file.written()

    def _put(self, unit: _Unit, parts: Sequence[Part]) -> None:
        variant = unit.target
        if variant is None:
            key = XML_LANG if unit.source.get(XML_LANG) else "lang"
            variant = unit.source.makeelement(unit.source.tag, {key: self._target})
            variant.tail = unit.source.tail
            unit.source.addnext(variant)
        segment = variant.find("{*}seg")
        if segment is None:
            segment = variant.makeelement(unit.source.find("{*}seg").tag)
            variant.append(segment)
        fill(segment, parts)


def read(content: bytes, options: Options) -> TmxDocument:
    """Reads a translation memory.

    Raises:
        UserError: it is not a translation memory, or has nothing in the source language.
    """
    from lxml import etree

    file = XmlFile(content, options.name)
    if etree.QName(file.root).localname != "tmx":
        raise UserError(f"{options.name}: expected <tmx>")
    units = [found for unit in file.root.iter("{*}tu") if (found := _unit(unit, options))]
    if not units:
        raise UserError(f"{options.name}: no unit has text in {options.source}, the language that is translated")
    return TmxDocument(file, units, options.target)


def _unit(unit: "etree._Element", options: Options) -> _Unit | None:
    variants: dict[str, etree._Element] = {}
    for variant in unit.iterfind("{*}tuv"):
        variants.setdefault(primary(variant.get(XML_LANG) or variant.get("lang") or ""), variant)
    source, target = variants.get(options.source), variants.get(options.target)
    if source is None or not has_words(_text(source)):
        return None
    return _Unit(source, target, target is not None and bool(_text(target).strip()))


def _text(variant: "etree._Element") -> str:
    segment = variant.find("{*}seg")
    return "" if segment is None else element_text(segment)


def _piece(unit: _Unit) -> Piece:
    if unit.done and unit.target is not None:
        return Piece((_text(unit.source),), _text(unit.target))
    return Piece(tuple(parts_of(unit.source.find("{*}seg"))))
