"""The terms of a glossary as the search needs them: forms in tokens, and the tokens that begin words."""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from data.cleaning import normalise
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
        lowercase: whether the model knows lower-cased text only.
    """

    def __init__(self, glossary: Glossary, tokenizer: Tokenizer, lowercase: bool = False):
        self.glossary, self.tokenizer, self.lowercase = glossary, tokenizer, lowercase
        self._forms = functools.cache(self._encode)

    def terms(self, text: str) -> tuple[Forms, ...]:
        """The forms of each term of a source segment, whose spans are numbered pieces already."""
        return tuple(forms for entry in self.glossary.find(text) if (forms := self._forms(entry)))

    def _encode(self, entry: Entry) -> Forms:
        texts = list(dict.fromkeys(normalise(form, self.lowercase) for form in entry.forms))
        found = self.tokenizer.target.encode(texts)
        # A word is often split in another way where no space is before it.
        for text, ids in zip(texts, self.tokenizer.target.encode([_SIGN + text for text in texts]), strict=True):
            pieces = list(map(self.tokenizer.piece, ids))
            place = next((n for n, piece in enumerate(pieces, start=1) if piece.endswith(_SIGN)), 0)
            if place and "".join(pieces[place:]).replace(SPACE, " ") == text:
                found.append(ids[place:])
        return tuple(dict.fromkeys(tuple(ids) for ids in found if ids and UNK not in ids))


def words_of(tokenizer: Any) -> "Words | None":
    """Where words begin and end among the tokens: at spaces, and at all that is no letter.

    Returns:
        None for a tokenizer that cannot name its pieces, which therefore takes no glossary.
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
    """Whether a piece is a byte of a character that the vocabulary has not, which may well be a letter."""
    return piece.startswith("<0x") and piece.endswith(">")
