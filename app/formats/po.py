"""Message catalogues of gettext, .po: finished translations stay and are remembered; everything else is translated.

Fuzzy messages are translated again. Comments, ids and flags stay; long lines are wrapped as gettext does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.formats.base import Options, has_words
from app.translation.pieces import Part, Piece, Tag
from data.bitexts.po import decode_po, header_language
from data.corpora.catalogues import english_of, parse_po
from data.errors import UserError
from data.spans import SpanFinder, kept

if TYPE_CHECKING:
    import polib

# At these characters polib would end a line inside a message, which would change its id.
_LINE_ENDS = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")
# A line with a string in it, and the escapes there; polib knows those of the first group.
_STRING = re.compile(
    r'^[ \t]*(?:#(?:~\|?|\|)[ \t]*)?(?:msg[a-z_]+(?:\[\d+\])?[ \t]*)?"(?:[^"\\\n]|\\.)*"[ \t]*$', re.MULTILINE
)
_ESCAPE = re.compile(r'\\(?:([ntrvbf"\\])|(a)|([0-7]{1,3})|x([0-9A-Fa-f]+)|.)')
# Characters that polib would write unescaped, and what is meant for a terminal in a message.
_CONTROL = re.compile("[\x01-\x07\x0e-\x1b\x1f\x7f]")
_COMMAND = re.compile("(\x1b\\[[0-9;]*[A-Za-z]|[\x01-\x08\v\f\x0e-\x1f\x7f])")
# The previous id of an obsolete message: polib has a place for it, but would not read it.
_PREVIOUS = re.compile(r"^#~\|(?=[ \t]+\S)", re.MULTILINE)
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
        """The existing translation, if it is finished."""
        own = self.entry.msgstr if self.form is None else self.entry.msgstr_plural.get(self.form, "")
        return None if self.entry.fuzzy or not own.strip() else own


class PoDocument:
    """A catalogue, see `FileDocument`."""

    lines = True

    def __init__(self, catalogue: "polib.POFile", texts: Sequence[_Text], charset: str, newline: str):
        self._catalogue, self._texts, self._charset, self._newline = catalogue, texts, charset, newline
        self.pieces = [
            Piece(_parts(text.english) if text.known is None else (text.english,), text.known) for text in texts
        ]

    def write(self, translations: Sequence[Sequence[Part]]) -> bytes:
        """See `FileDocument.write`; a message whose placeholders the model did not keep becomes fuzzy."""
        doubtful: set[int] = set()
        for text, parts in zip(self._texts, translations, strict=True):
            if text.known is None and not self._put(text, _text_of(parts)):
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
        text = _STRING.sub(lambda match: _CONTROL.sub(_escaped, match[0]), str(self._catalogue))
        return text.replace("\n", self._newline)

    def _put(self, text: _Text, translation: str) -> bool:
        """Writes a translation; returns whether it has the placeholders of its text."""
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
    text, charset = decode_po(content, options.name)
    newline = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n")
    if found := _LINE_ENDS.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise UserError(f"{options.name}, line {line:,}: holds U+{ord(found[0]):04X}; write \\n for a line break")
    try:
        catalogue = parse_po(_PREVIOUS.sub("#|", _with_escapes(text, options.name)))
    except ValueError as error:
        raise UserError(f"{options.name}: {error}; fix it there, `msgfmt --check` finds more") from None
    _check_languages(catalogue, options)
    lines = text.split("\n")
    catalogue.wrapwidth = _WIDTH if max(map(len, lines)) <= _WIDTH + 2 else 1 << 30
    texts = [one for entry in catalogue if not entry.obsolete for one in _texts(entry, _forms(catalogue))]
    return PoDocument(catalogue, texts, "utf-8" if charset == "utf-8-sig" else charset, newline)


def _with_escapes(text: str, name: str) -> str:
    """A catalogue without the escapes that polib does not know; polib would double their backslashes."""

    def replaced(match: re.Match) -> str:
        import polib

        if match[1]:
            return match[0]
        code = 7 if match[2] else int(match[3], 8) if match[3] else int(match[4] or "0", 16)
        if not 0 < code < 128 or _LINE_ENDS.match(chr(code)):
            raise ValueError(match[0])
        return polib.escape(chr(code))

    def string(match: re.Match) -> str:
        try:
            return _ESCAPE.sub(replaced, match[0])
        except ValueError as error:
            line = text.count("\n", 0, match.start()) + 1
            raise UserError(f"{name}, line {line:,}: holds {error}; write the character itself") from None

    return _STRING.sub(string, text)


def _escaped(match: re.Match) -> str:
    return "\\a" if match[0] == "\a" else f"\\{ord(match[0]):03o}"


def _parts(text: str) -> tuple[Part, ...]:
    """A text with tags for what is meant for a terminal."""
    parts = enumerate(_COMMAND.split(text))
    return tuple(Tag(f"<x{number}/>", part) if number % 2 else part for number, part in parts if part)


def _text_of(parts: Sequence[Part]) -> str:
    return "".join(part.content if isinstance(part, Tag) else part for part in parts)


def _check_languages(catalogue: "polib.POFile", options: Options) -> None:
    """Refuses other languages, and names the target language and its plural forms in the header."""
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
    # A language without a singular has only the plural.
    englishes = [entry.msgid, *[entry.msgid_plural] * (forms - 1)] if forms > 1 else [entry.msgid_plural]
    return [_Text(entry, form, english) for form, english in enumerate(englishes) if has_words(english)]
