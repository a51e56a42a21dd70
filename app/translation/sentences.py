"""Texts of several sentences: cut into segments, and put together again with the white space they had."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from app.translation.lines import BREAKS
from app.translation.text import SENTENCES

_END = re.compile(SENTENCES)
_BREAKS = re.compile(BREAKS)
# A full stop after one of these, or after a single letter or a number alone, ends no sentence.
_ABBREVIATIONS = """
mr mrs ms dr prof st rev gen sen rep gov capt lt col sgt jr sr vs etc e.g i.e cf al approx fig figs eq no nos vol pp ed
eds inc ltd co corp dept est jan feb mar apr jun jul aug sep sept oct nov dec
"""
_SHORT = frozenset(_ABBREVIATIONS.split())
_LAST_WORD = re.compile(r"[^\s(\[\"']+$")


class Cut(NamedTuple):
    """A text in segments; `gaps` has one item more: the white space before each segment and after the last."""

    segments: list[str]
    gaps: list[str]

    def joined(self, translations: Sequence[str]) -> str:
        """The text made of the translation of each segment."""
        parts = (gap + text for gap, text in zip(self.gaps, translations, strict=False))
        return "".join(parts) + self.gaps[-1]


def cut_text(text: str, sentences: bool = True, lines: bool = True) -> Cut:
    """Cuts a text into segments.

    Args:
        text: any text.
        sentences: whether to cut at the ends of sentences.
        lines: whether to cut at line breaks; else the model reads them as spaces.

    Example:
        >>> cut_text("See Dr. Who. Now!\\n\\nBye.")
        Cut(segments=['See Dr. Who.', 'Now!', 'Bye.'], gaps=['', ' ', '\\n\\n', ''])
    """
    segments, gaps, gap = [], [], ""
    for piece, space in _pieces(text, _BREAKS) if lines else [(text, "")]:
        for sentence, after in _sentences(piece) if sentences else [(piece, "")]:
            bare = sentence.strip()
            if bare:
                start = sentence.index(bare)
                segments.append(bare)
                gaps.append(gap + sentence[:start])
                gap = sentence[start + len(bare) :] + after
            else:
                gap += sentence + after
        gap += space
    return Cut(segments, [*gaps, gap])


def _pieces(text: str, mark: re.Pattern) -> Iterator[tuple[str, str]]:
    """The texts between marks, each with the mark after it."""
    place = 0
    for match in mark.finditer(text):
        yield text[place : match.start()], match[0]
        place = match.end()
    yield text[place:], ""


def _sentences(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    for match in _END.finditer(text):
        end = match.start() + len(match[0].rstrip())
        if _ends(text[place : match.start()], match[0], text[match.end() : match.end() + 1]):
            yield text[place:end], text[end : match.end()]
            place = match.end()
    yield text[place:], ""


def _ends(before: str, mark: str, following: str) -> bool:
    """Whether a mark after a text ends its sentence."""
    if following.islower():
        return False
    if not mark.startswith("."):
        return True
    # Long enough for a word; searching the whole sentence at each mark would take quadratic time.
    word = _LAST_WORD.search(before[-40:])
    last = word[0].lower() if word else ""
    alone = last == before.strip().lower() and last.isdecimal()
    return not (alone or last in _SHORT or (len(last) == 1 and last.isalpha() and last != "i"))
