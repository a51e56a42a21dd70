"""Lines to token ids and back: normalised, and split into parts if they are too long for the model."""

import itertools
import re
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from app.translation.lines import one_line
from data.cleaning import normalise
from data.forms import Source, TextForm
from data.spans import PIECES, count_pieces, outside_pieces, renumbered
from data.tokenizer import Tokenizer

# Where to split: after a punctuation mark, closing quotes or brackets, and white space. The first kind that a text has
# is used. There is no lookbehind, because the regular expressions of TensorFlow (RE2) do not support it.
_CLOSING = "[\"'\u2019\u201d\u201c\u00bb\u203a)\\]]*"
SENTENCES = f"[.!?\u2026]{_CLOSING}\\s+|[\u3002\uff01\uff1f]{_CLOSING}\\s*"
CLAUSES = f"[;:,\u2013\u2014\u3001\uff0c\uff1b\uff1a]{_CLOSING}\\s+"
SPACES = "\\s+"
KINDS = (SENTENCES, CLAUSES, SPACES)


class Part(NamedTuple):
    """A segment as the model sees it: a line or a part of one.

    Fields:
        ids: the source tokens.
        source: the text and what its translation needs.
    """

    ids: list[int]
    source: Source


class EncodedLine(NamedTuple):
    """A line for the model.

    Fields:
        parts: usually one; none for a line with nothing to translate.
        unchanged: the translation of such a line.
    """

    parts: list[Part]
    unchanged: str


class Correction(NamedTuple):
    """The tokens of a segment and of a translation of it that was given."""

    source: list[int]
    target: list[int]


class LineEncoder:
    """Turns lines into token ids, and token ids into lines.

    Args:
        tokenizer: the model's.
        form: how text is written for the model.
        max_length: the longest source, in tokens, that the model can take at once.
        warn: called once with a warning about lines that are too long; prints it on standard error by default.
    """

    def __init__(
        self, tokenizer: Tokenizer, form: TextForm, max_length: int, warn: Callable[[str], None] | None = None
    ):
        self.tokenizer, self.form, self.max_length = tokenizer, form, max_length
        self._warn = warn or print_warning
        self._warned, self._lock = False, threading.Lock()

    def lines(self, lines: Sequence[str], number: int = 1) -> list[EncodedLine]:
        """The parts of each line.

        Args:
            lines: source segments.
            number: line number of the first line, for the warning.
        """
        sources = [self.form.source(line, self._lengths) for line in lines]
        found = []
        for source, ids in zip(sources, self.tokenizer.source.encode([source.text for source in sources]), strict=True):
            parts = [Part(ids, source)] if ids else []
            if len(ids) > self.max_length or len(source.spans) > PIECES:
                self._warn_once(number + len(found), len(ids), len(source.spans))
                parts = self._split(source)
            found.append(EncodedLine(parts, source.unchanged))
        return found

    def pairs(self, sources: Sequence[str], targets: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
        """The tokens of given pairs, of any length: those of the sources, and those of the targets."""
        sides = ([normalise(text, self.form.lowercase) for text in side] for side in (sources, targets))
        sources, targets = self.form.pairs(*sides)
        return self.tokenizer.source.encode(sources), self.tokenizer.target.encode(targets)

    def corrections(self, line: str, parts: Sequence[Part], correction: str | None) -> list[Correction]:
        """The parts of a line, each with its share of a translation given for the whole line; for memories.

        Args:
            line: the source.
            parts: its parts, from `lines`.
            correction: the translation. Its words are shared out among several parts in proportion to their tokens.
                Of each share at most `max_length` tokens are used. Without one the list is empty.
        """
        if correction is None:
            return []
        if len(parts) == 1:
            (source,), (target,) = self.pairs([line], [correction])
            return [Correction(source[: self.max_length], target[: self.max_length])]
        words = normalise(correction, self.form.lowercase).split()
        ends = list(itertools.accumulate(len(part.ids) for part in parts))
        cuts = [len(words) * end // ends[-1] for end in (0, *ends)] if ends else []
        targets = [" ".join(words[start:end]) for start, end in itertools.pairwise(cuts)]
        encoded = self.tokenizer.target.encode(targets)
        return [Correction(part.ids, ids[: self.max_length]) for part, ids in zip(parts, encoded, strict=True)]

    def texts(self, parts: Iterable[Part], ids: Iterable[Sequence[int]]) -> list[str]:
        """The text, always one line, of the tokens that translate each part."""
        texts = self.tokenizer.target.decode(list(ids))
        return [one_line(part.source.translation(text)) for part, text in zip(parts, texts, strict=True)]

    def _split(self, source: Source) -> list[Part]:
        texts = split_long(source.text, self._count, self.max_length)
        marked = [renumbered(text, source.spans) for text in texts]
        ids = self.tokenizer.source.encode([text for text, _ in marked])
        return [Part(own, Source(*part, source.capitals)) for own, part in zip(ids, marked, strict=True)]

    def _count(self, texts: list[str]) -> list[int]:
        """The numbers of tokens in texts; a text with too many pieces counts as too long."""
        lengths = self._lengths(texts)
        return [
            length if count_pieces(text) <= PIECES else max(length, self.max_length + 1)
            for text, length in zip(texts, lengths, strict=True)
        ]

    def _lengths(self, texts: list[str]) -> list[int]:
        return [len(ids) for ids in self.tokenizer.source.encode(texts)]

    def _warn_once(self, number: int, tokens: int, spans: int) -> None:
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            what, limit = (f"{tokens:,} tokens", self.max_length)
            if tokens <= self.max_length:
                what, limit = f"{spans:,} spans to copy", PIECES
            self._warn(
                f"line {number} has {what}, and the model takes {limit:,}: it is split at "
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
    """Halves a text without spaces until it fits, but never cuts a piece, or a letter from its accents."""
    middle = outside_pieces(text, len(text) // 2)
    while middle < len(text) and clings(text[middle]):
        middle += 1
    if middle in (0, len(text)):
        return [text]
    return [part for half in (text[:middle], text[middle:]) for part in _split(half, count, limit, ())]


def clings(character: str) -> bool:
    """Whether a character belongs to the one before it: an accent, a joiner, a variation selector."""
    return bool(unicodedata.combining(character)) or character in "\u200d\ufe0f"
