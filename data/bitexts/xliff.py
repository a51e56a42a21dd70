"""XML Localisation Interchange File Format, .xlf and .xliff."""

from collections.abc import Iterator, Mapping
from xml.etree.ElementTree import Element

from data.bitexts.base import Bitext, Entry
from data.bitexts.languages import primary
from data.xml_files import XML_LANG, read_units, segment_text

# XLIFF 1.2: the origins of a target that nobody has confirmed.
_GUESSED = ("fuzzy-match", "leveraged-mt", "mt-suggestion", "tm-suggestion", "rejected")
_HEADER = "x-gettext-domain-header"  # of a .po catalogue, which some tools make a unit


class XliffFile(Bitext):
    """XLIFF 1.2 and 2.x; only segments that are translated.

    - 1.2: targets in the state `new` or `needs-...` are left out, as are those without a state that are not approved
      (`approved="no"`) or were guessed by a machine or a fuzzy match (`state-qualifier`). If `<seg-source>` and
      `<target>` are cut into the same segments (`<mrk mtype="seg">`), each is a pair; otherwise the unit is one.
      `<alt-trans>` is not read.
    - 2.x: segments in the state `initial` are left out. One without a state counts if it has a target.

    The document is the `original` of `<file>`.

    References:
        - OASIS, XLIFF 1.2, https://docs.oasis-open.org/xliff/v1.2/os/xliff-core.html
        - OASIS, XLIFF 2.1, https://docs.oasis-open.org/xliff/xliff-core/v2.1/xliff-core-v2.1.html
    """

    def _entries(self) -> Iterator[Entry]:
        for line, unit, context in read_units(self.path, "XLIFF", ("xliff",), ("trans-unit", "unit")):
            place, doc = f"{self.path}, near line {line:,}", context.get("original", "")
            for source, target in _old_segments(unit) if unit.tag == "trans-unit" else _new_segments(unit):
                languages = self._languages(context, unit)
                yield Entry(place, dict(zip(languages, (source, target), strict=True)), doc)

    def _languages(self, context: Mapping[str, str], unit: Element) -> tuple[str, str]:
        """The languages of source and target; a file need not name that of its targets."""
        target = unit.find("target")
        own = target.get(XML_LANG, "") if target is not None else ""
        source = primary(context.get("source-language") or context.get("srcLang") or "") or self._other(primary(own))
        named = own or context.get("target-language") or context.get("trgLang") or ""
        return source, primary(named) or self._other(source)


def _old_segments(unit: Element) -> Iterator[tuple[str, str]]:
    """Source and target of a `<trans-unit>`, or of each of its segments."""
    if unit.get("restype") == _HEADER:
        return
    target, cut = unit.find("target"), unit.find("seg-source")
    if target is None or not is_translated(unit, target):
        yield segment_text(unit.find("source")), ""
        return
    sources, targets = _marked(cut), _marked(target)
    if sources and sources.keys() == targets.keys():
        yield from ((text, targets[key]) for key, text in sources.items())
    else:
        yield segment_text(unit.find("source")), segment_text(target)


def is_translated(unit: Element, target: Element) -> bool:
    """Whether the target of a `<trans-unit>` is finished."""
    if state := target.get("state", ""):
        return state != "new" and not state.startswith("needs-")
    return unit.get("approved") != "no" and not target.get("state-qualifier", "").startswith(_GUESSED)


def _marked(element: Element | None) -> dict[str, str]:
    """The text of each segment that is marked in an element, by its number."""
    marks = [] if element is None else element.iter("mrk")
    return {mark.get("mid", ""): segment_text(mark) for mark in marks if mark.get("mtype") == "seg"}


def _new_segments(unit: Element) -> Iterator[tuple[str, str]]:
    """Source and target of the segments of a `<unit>`."""
    for segment in unit.iterfind("segment"):
        target = None if segment.get("state") == "initial" else segment.find("target")
        yield segment_text(segment.find("source")), segment_text(target)
