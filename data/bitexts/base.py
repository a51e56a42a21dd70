"""What the readers of bilingual files have in common."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data.bitexts.languages import none_in_both, primary
from data.errors import UserError
from data.files import refuse_long
from data.pairs import Pair

# U+0085 is left to `data.cleaning.normalise`: in damaged text it was an ellipsis.
_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\u2028\u2029]")
_MOST_LANGUAGES = 1000  # remembered for a message


class Entry(NamedTuple):
    """What one unit of a file contains.

    Args:
        place: file and line, for messages.
        texts: text by `primary` language; "" if it is empty or not translated.
        doc: the document that it belongs to.
    """

    place: str
    texts: dict[str, str]
    doc: str = ""


class Bitext:
    """A file of segments with their translations; made by `data.bitexts.opening.open_bitext`.

    Args:
        path: the file.
        source: language of the source side; the country and case of codes are ignored.
        target: language of the target side.
    """

    unit = "unit"  # what the file consists of, for messages

    def __init__(self, path: Path | str, source: str = "en", target: str = "de"):
        self.path, self.source, self.target = Path(path), primary(source), primary(target)
        if not self.path.is_file():
            raise UserError(f"{self.path}: there is no such file")

    def pairs(self) -> Iterator[Pair]:
        """Streams the pairs that have text on both sides, in the order of the file.

        Text is as the file has it, except that line breaks in a segment become spaces.

        Raises:
            UserError: the file is damaged, or has no pair in these languages; the message names file and line.
        """
        found, languages = False, set()
        for entry in self._entries():
            if len(languages) < _MOST_LANGUAGES:
                languages |= entry.texts.keys()
            source, target = (entry.texts.get(side, "") for side in (self.source, self.target))
            if source.strip() and target.strip():
                found = True
                yield Pair(one_line(source, entry.place), one_line(target, entry.place), entry.doc)
        if not found:
            raise none_in_both(self.path, self.unit, self.source, self.target, languages)

    def _entries(self) -> Iterator[Entry]:
        raise NotImplementedError

    def _other(self, language: str) -> str:
        """The one of the two languages that is not `language`, for text that does not name its own."""
        return self.source if language == self.target else self.target


def one_line(text: str, place: str) -> str:
    """A segment with its line breaks turned into spaces.

    Raises:
        UserError: it is longer than `data.files.LONGEST`; the message begins with `place`.
    """
    return _LINE_BREAK.sub(" ", refuse_long(text, place))
