"""How text is changed before the tokenizer, and translations after it: spans set aside, capitals read as a sentence."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from data.cleaning import normalise
from data.spans import Count, Source, SpanFinder, as_sentence, in_capitals, read

NUMBERS = ("source", "german")


@dataclass(frozen=True)
class TextForm:
    """How text is written for the model, the same in training, translation and exports.

    Args:
        lowercase: whether letters become lower case.
        copy: the kinds of spans that are copied, from `data.spans.KINDS`. Without any, every line is translated.
        numbers: how numbers are copied, one of `NUMBERS`.
        capitals: whether a line in capitals is read as a sentence, and its translation written in capitals.
    """

    lowercase: bool = False
    copy: tuple[str, ...] = ()
    numbers: str = "source"
    capitals: bool = False

    @functools.cached_property
    def finder(self) -> SpanFinder:
        """Finds the spans."""
        return SpanFinder(self.copy, self.numbers)

    def source(self, line: str, count: Count | None = None) -> Source:
        """Prepares a line for translation; it may have more spans than there are pieces.

        Args:
            line: a segment.
            count: gives the number of tokens of each word in a list, see `data.spans.as_sentence`.
        """
        source = read(normalise(line), self.finder, self.capitals, count)
        return source._replace(text=normalise(source.text, True)) if self.lowercase else source

    def pair(self, source: str, target: str) -> tuple[str, str]:
        """A pair of normalised text as the model learns it; spans that are on one side alone stay text."""
        if self.copy:
            source, target = self.finder.mark_pair(source, target)
        if self.capitals and in_capitals(source):
            source, target = as_sentence(source), as_sentence(target) if in_capitals(target) else target
        return source, target

    def pairs(self, sources: Sequence[str], targets: Sequence[str]) -> tuple[list[str], list[str]]:
        """The sides of several pairs, as from `pair`."""
        found = [self.pair(*pair) for pair in zip(sources, targets, strict=True)]
        return [source for source, _ in found], [target for _, target in found]


PLAIN = TextForm()
