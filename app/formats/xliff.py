"""XLIFF 1.2 and 2.x, .xlf and .xliff: segments without a finished translation get one; others stay and are remembered.

A new translation is marked as not yet reviewed: `needs-review-translation` in 1.2, and in 2.x the state `translated`,
which comes before `reviewed`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.formats.base import Options, has_words
from app.formats.elements import element_text, fill, parts_of
from app.formats.safety import XmlFile
from app.translation.pieces import Part, Piece
from data.bitexts.languages import primary
from data.bitexts.xliff import is_translated
from data.errors import UserError

if TYPE_CHECKING:
    from lxml import etree

# The state of a new translation, by version.
_NEW = {"1": "needs-review-translation", "2": "translated"}


@dataclass(frozen=True)
class _Segment:
    """A segment: where its translation belongs, its source, and its finished translation."""

    parent: "etree._Element"
    source: "etree._Element"
    known: str | None


class XliffDocument:
    """A file of segments, see `FileDocument`."""

    lines = True

    def __init__(self, file: XmlFile, segments: list[_Segment], version: str, target: str):
        self._file, self._segments, self._version, self._target = file, segments, version, target
        self.pieces = [
            Piece(tuple(parts_of(segment.source)))
            if segment.known is None
            else Piece((element_text(segment.source),), segment.known)
            for segment in segments
        ]

    def write(self, translations: Sequence[Sequence[Part]]) -> bytes:
        """See `FileDocument.write`."""
        for segment, parts in zip(self._segments, translations, strict=True):
            if segment.known is None:
                self._put(segment, parts)
        self._name_language()
        return self._file.written()

    def _put(self, segment: _Segment, parts: Sequence[Part]) -> None:
        from lxml import etree

        name = segment.source.tag[: -len(etree.QName(segment.source).localname)] + "target"
        target = segment.parent.find(name)
        if target is None:
            target = segment.source.makeelement(name)
            target.tail = segment.source.tail
            segment.parent.insert(segment.parent.index(segment.source) + 1, target)
        fill(target, parts)
        target.attrib.pop("state-qualifier", None)
        owner = target if self._version == "1" else segment.parent
        owner.set("state", _NEW[self._version])
        owner.attrib.pop("subState", None)

    def _name_language(self) -> None:
        root = self._file.root
        owners = [root] if self._version == "2" else list(root.iter("{*}file"))
        for owner in owners:
            key = "trgLang" if self._version == "2" else "target-language"
            if not owner.get(key):
                owner.set(key, self._target)


def read(content: bytes, options: Options) -> XliffDocument:
    """Reads XLIFF.

    Raises:
        UserError: it is not XLIFF, or in other languages.
    """
    from lxml import etree

    file = XmlFile(content, options.name)
    root = file.root
    version = (root.get("version") or "")[:1]
    if etree.QName(root).localname != "xliff" or version not in _NEW:
        raise UserError(f"{options.name}: expected <xliff> of version 1.2 or 2.x")
    for owner in [root, *root.iter("{*}file")]:
        for keys, wanted in (
            (("source-language", "srcLang"), options.source),
            (("target-language", "trgLang"), options.target),
        ):
            named = next((primary(owner.get(key)) for key in keys if owner.get(key)), wanted)
            if named != wanted:
                raise UserError(
                    f"{options.name}: is in {named}, and this model translates {options.source} to {options.target}"
                )
    segments = list(_old_segments(root) if version == "1" else _new_segments(root))
    return XliffDocument(file, segments, version, options.target)


def _old_segments(root: "etree._Element") -> Iterator[_Segment]:
    for unit in root.iter("{*}trans-unit"):
        source, target = unit.find("{*}source"), unit.find("{*}target")
        if source is None or _is_left_alone(unit) or not has_words(element_text(source)):
            continue
        done = target is not None and is_translated(unit, target)
        cut = unit.find("{*}seg-source")
        # It comes after the source, has the same text, and marks the segments, as a target does.
        source = source if cut is None else cut
        yield _Segment(unit, source, element_text(target).strip() or None if done else None)


def _new_segments(root: "etree._Element") -> Iterator[_Segment]:
    for segment in root.iter("{*}segment"):
        source, target = segment.find("{*}source"), segment.find("{*}target")
        if source is None or _is_left_alone(segment) or not has_words(element_text(source)):
            continue
        done = target is not None and segment.get("state") != "initial"
        yield _Segment(segment, source, element_text(target).strip() or None if done else None)


def _is_left_alone(element: "etree._Element") -> bool:
    """Whether the nearest `translate`, of the element or of one around it, is "no"."""
    around = (owner.get("translate") for owner in (element, *element.iterancestors()))
    return next(filter(None, around), "yes") == "no"
