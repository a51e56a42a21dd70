"""Message catalogues of gettext, .po."""

import re
from collections.abc import Iterator

from data.bitexts.base import Bitext, Entry
from data.bitexts.languages import primary
from data.corpora.catalogues import parse_po, po_messages
from data.errors import UserError
from data.files import LONGEST

_MOST_BYTES = 32 * LONGEST  # polib holds a whole catalogue in memory, at about ten times its size
_CHARSET = re.compile(rb'"Content-Type:[^"\n]*?charset=([\w.:-]+)', re.IGNORECASE)
# polib would take these for line ends inside a message.
_NO_LINE_END = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")


class PoFile(Bitext):
    """Messages that are translated, and neither fuzzy nor obsolete; singular and plural are a pair each.

    The target's language is that of the header (`Language`), or else the one that is wanted; messages are in English
    unless the header (`X-Source-Language`) says otherwise.

    References:
        GNU gettext manual, https://www.gnu.org/software/gettext/manual/html_node/PO-Files.html
    """

    unit = "message"

    def _entries(self) -> Iterator[Entry]:
        try:
            catalogue = parse_po(self._text())
        except ValueError as error:
            raise UserError(f"{self.path}: {error}; fix it there, `msgfmt --check` finds more") from None
        source = header_language(catalogue.metadata.get("X-Source-Language", "")) or "en"
        target = header_language(catalogue.metadata.get("Language", "")) or self._other(source)
        for number, message in enumerate(po_messages(catalogue), start=1):
            place = f"{self.path}, translated message {number:,}"
            yield Entry(place, {source: message.english, target: message.german})

    def _text(self) -> str:
        size = self.path.stat().st_size
        if size > _MOST_BYTES:
            raise UserError(f"{self.path}: {size:,} bytes; a catalogue may have at most {_MOST_BYTES:,}: split it")
        return _NO_LINE_END.sub(" ", decode_po(self.path.read_bytes(), self.path)[0])


def decode_po(raw: bytes, name: object) -> tuple[str, str]:
    """The text of a catalogue and its charset, which its header names.

    Raises:
        UserError: it is not in that charset, or the charset is unknown; the message begins with `name`.
    """
    named = _CHARSET.search(raw)
    charset = "utf-8-sig" if not named or named[1] in (b"CHARSET", b"UTF-8", b"utf-8") else named[1].decode()
    try:
        return raw.decode(charset), charset
    except LookupError:
        raise UserError(f"{name}: unknown charset {charset!r}; convert the file to UTF-8") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name}, line {line:,}: not valid {error.encoding} (byte 0x{raw[error.start]:02x}); convert the "
            "file to UTF-8"
        ) from None
    except UnicodeError:  # from encodings that are not for text, such as "idna" and "undefined"
        raise UserError(
            f"{name}: cannot be read in the charset that its header names, {charset!r}; convert the file to UTF-8, and "
            "name that"
        ) from None


def header_language(header: str) -> str:
    """The language that a header names by its code, "" if it has none; some write "German" or "LANGUAGE"."""
    language = primary(header)
    return language if len(language) <= 3 else ""
