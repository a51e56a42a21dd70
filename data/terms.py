"""Terms of a glossary in a text: which of them a source has, and which forms of their translations are accepted."""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import snowballstemmer

from data.glossary import Term, read_glossary
from data.inflection import german_forms
from data.spans import Span, piece, split_at_pieces

# Words, numbers and single signs; only spaces, hyphens and underscores are left between them.
_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+|[^\w\s-]")


class Entry(NamedTuple):
    """A source term with all its translations.

    Args:
        source: the term.
        target: its preferred translation.
        forms: all accepted forms of all its translations, the preferred one first.
        verb: whether the term is a verb.
        match_case: whether text must have exactly this case to be the term.
    """

    source: str
    target: str
    forms: tuple[str, ...]
    verb: bool
    match_case: bool


class Occurrence(NamedTuple):
    """A term in a text, and the numbers of the pieces whose spans belong to it."""

    entry: Entry
    pieces: tuple[int, ...]


class Glossary:
    """Finds the terms of a glossary in source text.

    Words are compared in the singular. Those of verbs ("to save", or marked so by the part of speech) are compared by
    their stems, so that "saved" and "saving" are found; other words are not, as "setting" is not a form of "set".

    Args:
        terms: from `data.glossary.read_glossary`; those with the same source are alternatives.
        language: the target's. Only German is inflected.

    Example:
        >>> glossary = Glossary([Term("file system", "Dateisystem"), Term("file", "Datei")])
        >>> [entry.source for entry in glossary.find("Files of two file systems")]
        ['file', 'file system']
        >>> glossary.entries[1].forms
        ('Datei', 'Dateien')
    """

    def __init__(self, terms: Iterable[Term], language: str = "de"):
        self.language = language
        groups: dict[tuple[str, bool, bool], list[str]] = {}
        for source, target, part, match_case in terms:
            verb = part.startswith("verb") or source.startswith("to ")
            groups.setdefault((source, verb, match_case), []).append(target)
        phrases = [(target, verb) for (_, verb, _), targets in groups.items() for target in targets]
        found = iter(german_forms(phrases) if language == "de" else [(target,) for target, _ in phrases])
        self.entries = [
            Entry(source, targets[0], tuple(dict.fromkeys(form for _ in targets for form in next(found))), *kind)
            for (source, *kind), targets in groups.items()
        ]
        # By the first word. Of two equally long terms, the case-sensitive one is more specific, so it comes first.
        self._by_word: dict[str, list[tuple[list[str], Entry]]] = {}
        for entry in sorted(self.entries, key=lambda entry: not entry.match_case):
            if keys := list(map(_key_of(entry), _tokens(entry))):
                self._by_word.setdefault(keys[0], []).append((keys, entry))

    def find(self, text: str, spans: Sequence[Span] = ()) -> list[Entry]:
        """The terms of `occurrences`, each once."""
        return list(dict.fromkeys(found.entry for found in self.occurrences(text, spans)))

    def occurrences(self, text: str, spans: Sequence[Span] = ()) -> list[Occurrence]:
        """The terms in a text in order; of overlapping ones, the longest.

        Args:
            text: a source segment; spans are best set aside as numbered pieces before, see `data.spans`.
            spans: what pieces stand for. A whole span may belong to a term, but a part of one may not.
        """
        tokens, owners = _tokens_with_spans(text, spans)
        matches = [match for place in range(len(tokens)) for match in self._matches_at(tokens, place)]
        taken: set[int] = set()
        found: dict[int, Occurrence] = {}
        for start, end, entry in sorted(matches, key=lambda match: match[0] - match[1]):
            pieces = _whole_spans(owners, start, end)
            own = pieces is not None and all(spans[n - 1].given.lower() in entry.source.lower() for n in pieces)
            if own and taken.isdisjoint(range(start, end)):
                taken.update(range(start, end))
                found[start] = Occurrence(entry, pieces)
        return [found[start] for start in sorted(found)]

    def _matches_at(self, tokens: list[str], start: int) -> Iterator[tuple[int, int, Entry]]:
        """The terms that begin with this token: their first token, the one after them, and the entry."""
        for key in dict.fromkeys((_singular(tokens[start]), _stem(tokens[start]))):
            for keys, entry in self._by_word.get(key, ()):
                end = start + len(keys)
                here = tokens[start:end]
                if list(map(_key_of(entry), here)) == keys and (not entry.match_case or _same_case(here, entry)):
                    yield start, end, entry


def open_glossary(path: Path | str, source: str = "en", target: str = "de") -> Glossary:
    """The `Glossary` of a file, see `data.glossary.read_glossary`.

    Args:
        path: the file.
        source, target: the languages.
    """
    return Glossary(read_glossary(path, source, target), target)


def _tokens_with_spans(text: str, spans: Sequence[Span]) -> tuple[list[str], list[int]]:
    """The tokens of a marked text with its spans put back, and for each the number of its piece; 0 for none."""
    parts, numbers = split_at_pieces(text)
    tokens = _TOKEN.findall(parts[0])
    owners = [0] * len(tokens)
    for number, part in zip(numbers, parts[1:], strict=True):
        known = 0 < number <= len(spans)
        # Even a span without a token keeps the words around it apart.
        inside = (_TOKEN.findall(spans[number - 1].given) if known else []) or [piece(number)]
        outside = _TOKEN.findall(part)
        tokens += inside + outside
        owners += [number] * len(inside) + [0] * len(outside)
    return tokens, owners


def _whole_spans(owners: list[int], start: int, end: int) -> tuple[int, ...] | None:
    """The pieces whose tokens are those from `start` to `end`; None if one of them continues outside."""
    pieces = tuple(dict.fromkeys(filter(None, owners[start:end])))
    around = [*owners[max(start - 1, 0) : start], *owners[end : end + 1]]
    return None if set(pieces) & set(around) else pieces


def _tokens(entry: Entry) -> list[str]:
    """The words of a term, without the "to" of an infinitive."""
    return _TOKEN.findall(entry.source.removeprefix("to ") if entry.verb else entry.source)


def _same_case(tokens: list[str], entry: Entry) -> bool:
    """Whether words that match a term have its case; their endings may differ."""
    pairs = zip(tokens, _tokens(entry), strict=True)
    return all(singular(word) == singular(own) or word.startswith(own) for word, own in pairs)


def _key_of(entry: Entry) -> Callable[[str], str]:
    """The function that makes words comparable with those of a term."""
    return _stem if entry.verb else _singular


@functools.lru_cache(1 << 16)
def _singular(word: str) -> str:
    return singular(word.lower().replace("’", "'"))


@functools.lru_cache(1 << 16)
def _stem(word: str) -> str:
    return _stemmer().stemWord(word.lower().replace("’", "'"))


@functools.cache
def _stemmer():
    return snowballstemmer.stemmer("english")


def singular(word: str) -> str:
    """Strips plural and genitive endings only: the S-stemmer of Harman 1991, How Effective Is Suffixing?"""
    word = word.removesuffix("'s")
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y" if len(word) > 4 else word
    if word.endswith(("sses", "xes")):
        return word[:-2]
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word
