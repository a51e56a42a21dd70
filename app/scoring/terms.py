"""How often the terms of a glossary were translated as the glossary says."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from app.scoring.words import target_words
from data.cleaning import normalise
from data.spans import SpanFinder
from data.terms import Entry, Glossary

SHOWN = 10


class TermCount(NamedTuple):
    """How often a term, or all of them, occurred and was met. A term that a segment has twice counts once.

    Fields:
        source, target: the term; empty for all of them.
        segments: how many segments have it; for all terms their sum.
        met: how many of the translations have an accepted form of it.
        reference: how many of the references have one.
    """

    source: str
    target: str
    segments: int
    met: int
    reference: int

    def as_dict(self) -> dict:
        """The fields, for JSON."""
        return self._asdict()


class MissedTerms(NamedTuple):
    """A segment without some of its terms: its line number from 1, the targets missed, its source and translation."""

    line: int
    terms: tuple[str, ...]
    source: str
    translation: str

    def as_dict(self) -> dict:
        """The fields, for JSON."""
        return self._asdict()


def count_terms(
    glossary: Glossary | None,
    sources: Sequence[str] | None,
    translations: Sequence[str],
    references: Sequence[str],
) -> tuple[list[TermCount], list[MissedTerms]]:
    """Counts how often translations have the terms of a glossary.

    A term is met if the translation has one of its forms, or another inflection with the same stems. Terms inside
    copied spans are not counted, see `data.spans`.

    Args:
        glossary: the terms; None for none.
        sources: segments; None if they are not known.
        translations, references: one for each segment.

    Returns:
        The count of all terms, then of each that the sources have, the most frequent first; and the first segments that
        miss one.
    """
    if glossary is None or sources is None:
        return [], []
    finder = SpanFinder()
    counts: dict[Entry, list[int]] = {}
    missed = []
    for number, (source, *sides) in enumerate(zip(sources, translations, references, strict=True), start=1):
        lacking = []
        for entry in glossary.find(*finder.mark(normalise(source))):
            met = [is_met(entry, side, glossary.language) for side in sides]
            counts[entry] = [a + b for a, b in zip(counts.get(entry, (0, 0, 0)), (1, *met), strict=True)]
            lacking += [] if met[0] else [entry.target]
        if lacking:
            missed.append(MissedTerms(number, tuple(lacking), source, sides[0]))
    found = [TermCount(entry.source, entry.target, *count) for entry, count in counts.items()]
    total = TermCount("", "", *(sum(count) for count in zip(*counts.values(), strict=True))) if counts else None
    ordered = sorted(found, key=lambda count: -count.segments)
    return [total, *ordered] if total else [], missed[:SHOWN]


def is_met(entry: Entry, translation: str, language: str = "de") -> bool:
    """Whether a translation has a form of a term, whatever its case."""
    stems = f" {' '.join(target_words(translation, language))} "
    if any(f" {form} " in stems for form in _stemmed(entry, language)):
        return True
    # Forms with signs and digits, which are not words: "C++", "Wi-Fi 6".
    text = normalise(translation).lower()
    return any(re.search(rf"(?<!\w){re.escape(form.lower())}(?!\w)", text) for form in entry.forms)


def _stemmed(entry: Entry, language: str) -> set[str]:
    """The stems of the forms that consist only of words."""
    plain = (form for form in entry.forms if re.fullmatch(r"[^\W\d_]+(?:[ '’-][^\W\d_]+)*", form))
    return {" ".join(target_words(form, language)) for form in plain}
