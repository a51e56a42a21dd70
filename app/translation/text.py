"""Lines to token ids and back: normalised, and split into parts if they are too long for the model."""

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from app.translation.lines import one_line
from data.cleaning import normalise
from data.tokenizer import Tokenizer

# Where to split: after a punctuation mark, closing quotes or brackets, and white space. The first kind that a text has
# is used. There is no lookbehind, because the regular expressions of TensorFlow (RE2) do not support it.
_CLOSING = "[\"'\u2019\u201d\u201c\u00bb\u203a)\\]]*"
SENTENCES = f"[.!?\u2026]{_CLOSING}\\s+|[\u3002\uff01\uff1f]{_CLOSING}\\s*"
CLAUSES = f"[;:,\u2013\u2014\u3001\uff0c\uff1b\uff1a]{_CLOSING}\\s+"
SPACES = "\\s+"
KINDS = (SENTENCES, CLAUSES, SPACES)


class LineEncoder:
    """Turns lines into token ids, and token ids into lines.

    Args:
        tokenizer: the model's.
        lowercase: whether the model was trained on lower-cased text.
        max_length: the longest source, in tokens, that the model can take at once.
        warn: called once with a warning about lines that are too long; prints it on standard error by default.
    """

    def __init__(
        self, tokenizer: Tokenizer, lowercase: bool, max_length: int, warn: Callable[[str], None] | None = None
    ):
        self.tokenizer, self.lowercase, self.max_length = tokenizer, lowercase, max_length
        self._warn = warn or print_warning
        self._warned = False

    def parts(self, lines: Sequence[str], number: int = 1) -> list[list[list[int]]]:
        """The tokens of each part of each line: no part for an empty line, usually one.

        Args:
            lines: source segments.
            number: line number of the first line, for the warning.
        """
        texts = [self._normalise(line) for line in lines]
        found = []
        for text, ids in zip(texts, self.tokenizer.encode(texts), strict=True):
            if len(ids) > self.max_length:
                self._warn_once(number + len(found), len(ids))
                found.append(self.tokenizer.encode(split_long(text, self._count, self.max_length)))
            else:
                found.append([ids] if ids else [])
        return found

    def whole(self, lines: Sequence[str]) -> list[list[int]]:
        """The tokens of each line, whatever its length."""
        return self.tokenizer.encode([self._normalise(line) for line in lines])

    def texts(self, ids: Iterable[Sequence[int]]) -> list[str]:
        """The text, always one line, of each sequence of tokens."""
        return [one_line(text) for text in self.tokenizer.decode(list(ids))]

    def _normalise(self, line: str) -> str:
        return normalise(line, self.lowercase)

    def _count(self, texts: list[str]) -> list[int]:
        return [len(ids) for ids in self.tokenizer.encode(texts)]

    def _warn_once(self, number: int, tokens: int) -> None:
        if not self._warned:
            self._warned = True
            self._warn(
                f"line {number} has {tokens:,} tokens, and the model takes {self.max_length:,}: it is split at "
                "sentence ends and translated in parts, as is every other line that is too long"
            )


def print_warning(message: str) -> None:
    """Prints a warning on standard error."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


def split_long(text: str, count: Callable[[list[str]], list[int]], limit: int) -> list[str]:
    """Splits a text into parts that the model can take: at sentence ends, else clauses, else spaces, else anywhere.

    Nothing is lost: the parts hold every character of the text but the white space between them. Neighbouring pieces
    are joined again as long as they fit, so that the model sees as much context as it can.

    Args:
        text: one segment.
        count: gives the length in tokens of each of a list of texts.
        limit: the maximum tokens of a part.

    Returns:
        The parts in order; the text alone where it fits already. A single character of more than `limit` tokens
        stays whole.

    Example:
        >>> split_long("One two. Three, four five.", lambda texts: [len(text.split()) for text in texts], 2)
        ['One two.', 'Three,', 'four five.']
    """
    return _split(text, count, limit, KINDS)


def _split(text: str, count, limit: int, kinds) -> list[str]:
    if count([text])[0] <= limit:
        return [text]
    if not kinds:
        return _halve(text, count, limit)
    pieces = _pieces(text, kinds[0])
    if len(pieces) == 1:
        return _split(text, count, limit, kinds[1:])
    parts = []
    for group in _pack(pieces, count, limit):
        parts += _split(group, count, limit, kinds[1:])
    return parts


def _pieces(text: str, mark: str) -> list[str]:
    """Cuts a text after each mark; closing quotes and brackets stay with the mark."""
    text = text.strip()
    cuts = [match.end() for match in re.finditer(mark, text)]
    pieces = [text[start:end].strip() for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    return [piece for piece in pieces if piece] or [text]


def _pack(pieces: list[str], count, limit: int) -> list[str]:
    """Joins neighbours while they fit. A joined text may have a token more than its pieces, so it is checked again."""
    packed: list[str] = []
    held, held_size = [], 0
    for piece, size in zip(pieces, count(pieces), strict=True):
        if held and held_size + size > limit:
            packed += _fitting(held, count, limit)
            held, held_size = [], 0
        held.append(piece)
        held_size += size
    return packed + _fitting(held, count, limit)


def _fitting(pieces: list[str], count, limit: int) -> list[str]:
    joined = " ".join(pieces)
    return [joined] if len(pieces) == 1 or count([joined])[0] <= limit else pieces


def _halve(text: str, count, limit: int) -> list[str]:
    """Halves a text without spaces until it fits, but never cuts between a letter and its accents."""
    middle = len(text) // 2
    while middle < len(text) and clings(text[middle]):
        middle += 1
    if middle in (0, len(text)):
        return [text]
    return [part for half in (text[:middle], text[middle:]) for part in _split(half, count, limit, ())]


def clings(character: str) -> bool:
    """Whether a character belongs to the one before it: an accent, a joiner, a variation selector."""
    return bool(unicodedata.combining(character)) or character in "\u200d\ufe0f"
