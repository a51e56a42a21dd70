"""Message catalogues of gettext, .po: what is translated already stays, and is remembered; all else is translated.

Fuzzy messages are translated anew. Comments, ids and flags stay; long lines are wrapped as gettext does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.formats.base import Options, has_words, text_of
from app.translation.pieces import Part, Piece
from data.bitexts.po import decode_po, header_language
from data.corpora.catalogues import english_of, parse_po
from data.errors import UserError
from data.spans import SpanFinder, kept

if TYPE_CHECKING:
    import polib

# At these polib would end a line inside of a message, and its id would be another.
_LINE_ENDS = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")
_PLURAL = "nplurals=2; plural=(n != 1);"
_WIDTH = 78  # gettext's
_FINDER = SpanFinder(("placeholders",))


@dataclass(frozen=True)
class _Text:
    """A text of a message: its entry, its plural form (None for a message without), and its English."""

    entry: "polib.POEntry"
    form: int | None
    english: str

    @property
    def known(self) -> str | None:
        """The translation that is there, if it is finished."""
        own = self.entry.msgstr if self.form is None else self.entry.msgstr_plural.get(self.form, "")
        return None if self.entry.fuzzy or not own.strip() else own


class PoDocument:
    """A catalogue, see `FileDocument`."""

    lines = True

    def __init__(self, catalogue: "polib.POFile", texts: Sequence[_Text], charset: str, newline: str):
        self._catalogue, self._texts, self._charset, self._newline = catalogue, texts, charset, newline
        self.pieces = [Piece((text.english,), text.known) for text in texts]

    def write(self, translations: Sequence[Sequence[Part]]) -> bytes:
        """See `FileDocument.write`; a message whose placeholders the model did not keep becomes fuzzy."""
        doubtful: set[int] = set()
        for text, parts in zip(self._texts, translations, strict=True):
            if text.known is None and not self._put(text, text_of(parts)):
                doubtful.add(id(text.entry))
        for entry in {id(text.entry): text.entry for text in self._texts}.values():
            if entry.fuzzy and id(entry) not in doubtful:
                entry.previous_msgid = entry.previous_msgid_plural = entry.previous_msgctxt = None
            entry.fuzzy = id(entry) in doubtful
        try:
            return self._written().encode(self._charset)
        except UnicodeError:
            self._catalogue.metadata["Content-Type"] = "text/plain; charset=UTF-8"
            return self._written().encode()

    def _written(self) -> str:
        return str(self._catalogue).replace("\n", self._newline)

    def _put(self, text: _Text, translation: str) -> bool:
        """Writes a translation; returns whether it has the placeholders that its text has."""
        if text.form is None:
            text.entry.msgstr = translation
        else:
            text.entry.msgstr_plural[text.form] = translation
        counts = kept(_FINDER, [text.english], [translation])
        return all(not found.lost for found in counts.values())


def read(content: bytes, options: Options) -> PoDocument:
    """Reads a catalogue.

    Raises:
        UserError: it is damaged, or says that it is in other languages.
    """
    text, charset = _decoded(content, options.name)
    newline = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n")
    if found := _LINE_ENDS.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise UserError(f"{options.name}, line {line:,}: holds U+{ord(found[0]):04X}; write \\n for a line break")
    try:
        catalogue = parse_po(text)
    except ValueError as error:
        raise UserError(f"{options.name}: {error}; mend it there, `msgfmt --check` finds more") from None
    _check_languages(catalogue, options)
    lines = text.split("\n")
    catalogue.wrapwidth = _WIDTH if max(map(len, lines)) <= _WIDTH + 2 else 1 << 30
    texts = [one for entry in catalogue if not entry.obsolete for one in _texts(entry, _forms(catalogue))]
    return PoDocument(catalogue, texts, "utf-8" if charset == "utf-8-sig" else charset, newline)


def _decoded(content: bytes, name: str) -> tuple[str, str]:
    try:
        return decode_po(content, name)
    except UnicodeError:  # of encodings that are for names, or for nothing
        raise UserError(
            f"{name}: cannot be read in the charset that its header names; write charset=UTF-8 there, and convert it"
        ) from None


def _check_languages(catalogue: "polib.POFile", options: Options) -> None:
    """Refuses other languages; the header names the target's, and its plural forms, from now on."""
    metadata = catalogue.metadata
    for key, wanted in (("Language", options.target), ("X-Source-Language", options.source)):
        named = header_language(metadata.get(key, ""))
        if named and named != wanted:
            raise UserError(
                f"{options.name}: its header says {key}: {named}; this model translates into {options.target}"
            )
    if not header_language(metadata.get("Language", "")):
        metadata["Language"] = options.target
    if not re.search(r"nplurals\s*=\s*\d", metadata.get("Plural-Forms", "")):
        metadata["Plural-Forms"] = _PLURAL
    metadata.setdefault("MIME-Version", "1.0")
    metadata["Content-Type"] = metadata.get("Content-Type", "text/plain; charset=UTF-8").replace("=CHARSET", "=UTF-8")
    metadata.setdefault("Content-Transfer-Encoding", "8bit")
    # The header of a template is marked as unfinished.
    catalogue.metadata_is_fuzzy = False


def _forms(catalogue: "polib.POFile") -> int:
    found = re.search(r"nplurals\s*=\s*(\d)", catalogue.metadata["Plural-Forms"])
    return int(found[1]) if found else 2


def _texts(entry: "polib.POEntry", forms: int) -> list[_Text]:
    if not entry.msgid_plural:
        return [_Text(entry, None, english_of(entry))] if has_words(entry.msgid) else []
    # A language without a singular has the plural alone.
    englishes = [entry.msgid, *[entry.msgid_plural] * (forms - 1)] if forms > 1 else [entry.msgid_plural]
    return [_Text(entry, form, english) for form, english in enumerate(englishes) if has_words(english)]
