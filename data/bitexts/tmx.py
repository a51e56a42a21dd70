"""Translation Memory eXchange, .tmx and .tmx.gz."""

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from data.bitexts.base import Bitext, Entry
from data.bitexts.languages import primary
from data.xml_files import XML_LANG, read_units, segment_text

DOCUMENT = "x-document"  # the type of the <prop> that holds a unit's document, as `corpora export` writes it


class TmxFile(Bitext):
    """TMX 1.1 to 1.4b, plain or compressed with gzip.

    A unit gives one pair. Of several variants in a language (other countries, or older translations) the last changed
    one counts, as in CAT tools; without dates, the first. `<prop type="x-document">` names the document.

    References:
        LISA, TMX 1.4b Specification, https://www.gala-global.org/tmx-14b
    """

    def _entries(self) -> Iterator[Entry]:
        for line, unit, _ in read_units(self.path, "TMX", ("tmx",), ("tu",)):
            variants: dict[str, Element] = {}
            texts: dict[str, str] = {}
            for variant in unit.iterfind("tuv"):
                language = primary(variant.get(XML_LANG) or variant.get("lang") or "")
                text = segment_text(variant.find("seg"))
                if not texts.get(language, "").strip() or (text.strip() and _changed(variants[language], variant)):
                    texts[language], variants[language] = text, variant
            yield Entry(f"{self.path}, near line {line:,}", texts, _document(unit))


def _changed(one: Element, other: Element) -> bool:
    """Whether the other variant was changed later."""
    return _date(one) < _date(other)


def _date(variant: Element) -> str:
    """When a variant was last changed: digits, from the year to the second; "" if it has no date."""
    return re.sub(r"\D", "", variant.get("changedate") or variant.get("creationdate") or "")


def _document(unit: Element) -> str:
    return next((prop.text or "" for prop in unit.iterfind("prop") if prop.get("type") == DOCUMENT), "")
