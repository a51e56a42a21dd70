"""XML elements that hold text and tags, as in XLIFF and TMX: read as parts, and filled with other parts."""

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from app.formats.base import text_of
from app.translation.pieces import Part, Tag

if TYPE_CHECKING:
    from lxml import etree

# Elements that hold text of the sentence; all others are code of the original format.
_AROUND = ("g", "mrk", "pc", "hi")


def element_text(element: "etree._Element") -> str:
    """The text of an element, without code of the original format."""
    return text_of(list(parts_of(element)))


def parts_of(element: "etree._Element") -> Iterator[Part]:
    """The texts and tags in an element; a tag's content is an element, without its children if they are parts too."""
    numbers = iter(range(1, 1 << 20))
    yield from (part for part in _inner(element, numbers) if part)


def _inner(element: "etree._Element", numbers: Iterator[int]) -> Iterator[Part]:
    yield element.text or ""
    for child in element:
        number = next(numbers)
        name = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else ""
        if name in _AROUND and child.get("translate") != "no" and child.get("mtype") != "protected":
            shell = child.makeelement(child.tag, child.attrib, child.nsmap)
            yield Tag(f"<g{number}>", shell)
            yield from _inner(child, numbers)
            yield Tag(f"</g{number}>", None)
        else:
            whole = copy.deepcopy(child)
            whole.tail = None
            yield Tag(f"<x{number}/>", whole)
        yield child.tail or ""


def fill(element: "etree._Element", parts: Sequence[Part]) -> None:
    """Replaces the content of an element with these texts and tags."""
    for child in list(element):
        element.remove(child)
    element.text = None
    around = [element]
    for part in parts:
        if not isinstance(part, Tag):
            _append_text(around[-1], part)
        elif part.content is None:
            around.pop()
        else:
            around[-1].append(copy.deepcopy(part.content))
            if not part.shown.endswith("/>"):
                around.append(around[-1][-1])


def _append_text(element: "etree._Element", text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text
