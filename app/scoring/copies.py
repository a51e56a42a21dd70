"""How much of what must be copied was copied: placeholders, tags, addresses, numbers ... by kind."""

from collections.abc import Sequence
from typing import NamedTuple

from data.cleaning import normalise
from data.spans import KINDS, SpanFinder, kept

SHOWN = 10


class Copied(NamedTuple):
    """How many lines of a test set kept every span of a kind, each as often as the source has it.

    Fields:
        kind: one of `data.spans.KINDS`.
        lines: how many lines have spans of the kind.
        kept: how many of their translations kept all.
        reference: how many of their references did.
    """

    kind: str
    lines: int
    kept: int
    reference: int

    def as_dict(self) -> dict:
        """The fields, for JSON."""
        return self._asdict()


class Lost(NamedTuple):
    """A line that did not keep its spans: its number from 1, its kinds, its source and translation."""

    line: int
    kinds: tuple[str, ...]
    source: str
    translation: str

    def as_dict(self) -> dict:
        """The fields, for JSON."""
        return self._asdict()


def count_copies(
    sources: Sequence[str] | None, translations: Sequence[str], references: Sequence[str], numbers: str = "source"
) -> tuple[list[Copied], list[Lost]]:
    """Counts the lines that kept their spans, by kind.

    A span is kept if the translation has it as often as the source; other spans in the translation do not matter. Spans
    that human translators change, such as a number they spell out or a tag that German does not need, show in the rate
    of the references.

    Args:
        sources: segments; None if they are not known.
        translations, references: one for each segment.
        numbers: how numbers should be written, see `data.spans.SpanFinder`.

    Returns:
        The counts of each kind that the sources have, and the first lines that lost something.
    """
    if sources is None:
        return [], []
    finder = SpanFinder(KINDS, numbers)
    sides = [[normalise(text) for text in side] for side in (sources, translations, references)]
    found, right = kept(finder, sides[0], sides[1]), kept(finder, sides[0], sides[2])
    counts = [Copied(kind, one.lines, one.kept, right[kind].kept) for kind, one in found.items()]
    numbers_lost = sorted({number for one in found.values() for number in one.lost})[:SHOWN]
    return counts, [
        Lost(n + 1, tuple(kind for kind, one in found.items() if n in one.lost), sources[n], translations[n])
        for n in numbers_lost
    ]
