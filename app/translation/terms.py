"""The terms of a glossary as the search needs them: forms in tokens, and the tokens that begin words."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.cleaning import normalise
from data.forms import PLAIN, TextForm
from data.spans import Span, piece, split_at_pieces
from data.subwords import BOS, EOS, SPACE, UNK
from data.terms import Entry, Glossary
from data.tokenizer import Tokenizer

if TYPE_CHECKING:
    from models.search import Words

# A sign after which a word begins without a space.
_SIGN = "("

Forms = tuple[tuple[int, ...], ...]


class TermEncoder:
    """Finds the terms of a segment and encodes the forms in which they are accepted.

    Args:
        glossary: what to find.
        tokenizer: the model's.
        form: how text is written for the model.
    """

    def __init__(self, glossary: Glossary, tokenizer: Tokenizer, form: TextForm = PLAIN):
        self.glossary, self.tokenizer, self.form = glossary, tokenizer, form
        self._forms = functools.lru_cache(1 << 14)(self._encode)

    def terms(self, text: str, spans: Sequence[Span] = ()) -> tuple[Forms, ...]:
        """The forms of each term of a source segment.

        Args:
            text: the segment, with its spans as numbered pieces.
            spans: what the pieces stand for; a form that has one of them gets its piece.
        """
        found: dict[Entry, list[tuple[int, ...]]] = {}
        for entry, numbers in self.glossary.occurrences(text, spans):
            copied = tuple((spans[number - 1].text, number) for number in numbers)
            found.setdefault(entry, []).extend(self._forms(entry, copied))
        return tuple(tuple(dict.fromkeys(forms)) for forms in found.values() if forms)

    def check(self, warn: Callable[[str], None]) -> None:
        """Warns of terms that cannot be enforced, because their translations lack what is copied from the source."""
        lost = []
        for entry in self.glossary.entries:
            spans = self.form.finder.mark(normalise(entry.source)).spans
            if not _marked(entry.forms, [(span.text, number) for number, span in enumerate(spans, start=1)]):
                lost.append((entry, spans))
        if lost:
            entry, spans = lost[0]
            count = f"{len(lost):,} terms" if len(lost) > 1 else "1 term"
            warn(
                f"{count} of the glossary cannot be enforced, the first being {entry.source!r} = {entry.target!r}: "
                f"{', '.join(repr(span.text) for span in spans)} is copied, so the translation must have it as well"
            )

    def _encode(self, entry: Entry, copied: tuple[tuple[str, int], ...]) -> Forms:
        forms = _marked(entry.forms, copied)
        if copied:
            # If the output has the piece elsewhere already, the search could not end without writing it again.
            forms += [rest for form in forms[:] if (rest := _rest(form))]
        texts = list(dict.fromkeys(normalise(form, self.form.lowercase) for form in forms))
        found = self.tokenizer.target.encode(texts)
        # A word is often split differently if there is no space before it.
        for text, ids in zip(texts, self.tokenizer.target.encode([_SIGN + text for text in texts]), strict=True):
            pieces = list(map(self.tokenizer.piece, ids))
            place = next((n for n, piece in enumerate(pieces, start=1) if piece.endswith(_SIGN)), 0)
            if place and "".join(pieces[place:]).replace(SPACE, " ") == text:
                found.append(ids[place:])
        return tuple(dict.fromkeys(tuple(ids) for ids in found if ids and UNK not in ids))


def _marked(forms: Sequence[str], copied: Sequence[tuple[str, int]]) -> list[str]:
    """The forms that have everything that is copied, with numbered pieces for it."""
    found = []
    for form in forms:
        missing = False
        for text, number in copied:
            # This must not match the number within a piece that was put in before.
            form, count = re.subn(rf"(?<![\w\u27e6]){re.escape(text)}(?!\w)", piece(number), form, count=1)
            missing |= not count
        found += [] if missing else [form]
    return found


def _rest(form: str) -> str:
    """The longest part of a form between its pieces."""
    return re.sub(r"^\W+|\W+$", "", max(split_at_pieces(form)[0], key=len))


def word_borders(tokenizer: Any) -> "Words | None":
    """Where words begin and end among the tokens: at spaces, and at everything that is not a letter.

    Returns:
        None for a tokenizer that cannot name its pieces, and so cannot be used with a glossary.
    """
    if not hasattr(tokenizer, "pieces"):
        return None
    from models.search import Words  # other engines do not need Keras, which takes seconds to load

    pieces = tokenizer.pieces()
    begins = np.array([not piece[:1].isalpha() and not _is_byte(piece) for piece in pieces])
    opens = np.array([not piece[-1:].isalpha() and not _is_byte(piece) for piece in pieces])
    begins[EOS] = opens[BOS] = True
    return Words(begins, opens)


def _is_byte(piece: str) -> bool:
    """Whether a piece is a byte of a character that the vocabulary lacks, which may well be a letter."""
    return piece.startswith("<0x") and piece.endswith(">")
