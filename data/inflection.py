"""The inflected forms of German words and phrases, from the dictionary of simplemma (Barbaresi 2021)."""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence

# The noun to inflect comes before the first of these words in a phrase: "Name der Datei", "Suche nach Text".
_FUNCTION_WORDS = frozenset(
    ("am", "an", "auf", "aus", "bei", "beim", "bis", "das", "dem", "den", "der", "des", "die", "durch", "ein", "eine")
    + ("einem", "einen", "einer", "eines", "für", "gegen", "hinter", "im", "in", "ins", "mit", "nach", "oder", "ohne")
    + ("über", "um", "und", "unter", "vom", "von", "vor", "wegen", "zu", "zum", "zur", "zwischen")
)
_ADJECTIVE = ("", "e", "er", "es", "en", "em")
# For a noun that the dictionary does not have, not even as the last part of a compound.
_NOUN = ("", "e", "s", "es", "n", "en", "er", "ern")
_VERB = ("e", "st", "t", "en", "te", "ten", "end")
# A shorter last part of a word is hardly a noun.
_SHORTEST_NOUN = 4


def german_forms(phrases: Sequence[tuple[str, bool]]) -> list[tuple[str, ...]]:
    """The forms of each phrase, the phrase itself first.

    The noun is inflected, and so are the adjectives before it. A compound that the dictionary does not know is
    inflected like its last part: "Projektordner" like "Ordner". In a phrase without a noun, the last word is inflected.

    Args:
        phrases: each phrase, and whether it is a verb.

    Example:
        >>> german_forms([("Projektordner", False), ("Name der Datei", False)])[1]
        ('Name der Datei', 'Namen der Datei', 'Namens der Datei')
    """
    heads = [_split(phrase) for phrase, _ in phrases]
    known = _inflected({head for _, head, _ in heads})
    return [
        _phrase_forms(phrase, *parts, known.get(parts[1]) or _regular(parts[1], verb))
        for (phrase, verb), parts in zip(phrases, heads, strict=True)
    ]


def _split(phrase: str) -> tuple[list[str], str, str]:
    """The words before the one that is inflected, that word, and the rest of the phrase."""
    words = phrase.split(" ")
    place = next((n for n, word in enumerate(words) if n and word in _FUNCTION_WORDS), len(words)) - 1
    return words[:place], words[place], "".join(f" {word}" for word in words[place + 1 :])


def _phrase_forms(phrase: str, before: list[str], head: str, rest: str, forms: Iterable[str]) -> tuple[str, ...]:
    found = {" ".join([*words, form]) + rest for form in {head, *forms} for words in _agreeing(before, head)}
    # A sentence may begin with the phrase.
    found |= {form[0].upper() + form[1:] for form in found}
    return phrase, *sorted(found - {phrase})


def _agreeing(words: list[str], head: str) -> list[list[str]]:
    """The words before the head; if it is a noun, with each adjective ending, the same for all adjectives."""
    if not head[:1].isupper() or not any(map(_is_adjective, words)):
        return [words]
    return [words] + [
        [_stem(word) + ending if _is_adjective(word) else word for word in words] for ending in _ADJECTIVE[1:]
    ]


def _is_adjective(word: str) -> bool:
    return word.isalpha() and word.islower() and word not in _FUNCTION_WORDS


def _stem(adjective: str) -> str:
    """An adjective without its ending: "erweiterte", "erweiterter" -> "erweitert"; "sicher" stays."""
    lemma = _dictionary().get(adjective, "")
    if lemma and adjective.startswith(lemma):
        return lemma.removesuffix("e")
    return re.sub(r"(?<=\w{3})e[rsnm]?\Z", "", adjective)


def _regular(word: str, verb: bool) -> list[str]:
    """The forms of a word that the dictionary does not know."""
    if verb and word.endswith("n"):
        stem = word.removesuffix("n").removesuffix("e")
        return [word, *(stem + ending for ending in _VERB)]
    return [word + ending for ending in (_NOUN if word[:1].isupper() else _ADJECTIVE)] if word.isalpha() else [word]


def _inflected(words: set[str]) -> dict[str, set[str]]:
    """The forms of each word that the dictionary knows, as a whole or by its last part."""
    lemmas = {word: found for word in words if (found := _last_part(word))}
    forms: dict[str, set[str]] = {lemma: {lemma} for _, lemma in lemmas.values()}
    # A single pass over a million forms, as the dictionary leads from form to lemma.
    for form, lemma in _dictionary().items() if forms else ():
        if lemma in forms:
            forms[lemma].add(form)
    return {
        word: {before + (form.lower() if before[-1:].isalpha() else form) for form in forms[lemma]}
        for word, (before, lemma) in lemmas.items()
    }


def _last_part(word: str) -> tuple[str, str] | None:
    """The beginning of a word, before the last part that the dictionary knows, and the lemma of that part."""
    places = [0, word.rfind("-") + 1]
    if word[:1].isupper():
        places += range(places[1] + 1, len(word) - _SHORTEST_NOUN + 1)
    for place in places:
        last = word[place:] if place <= places[1] else word[place:].capitalize()
        lemma = _dictionary().get(last, "")
        # "erweitert" belongs to "erweitern", but is not a form of it before a noun.
        if lemma and lemma[0].isupper() == last[0].isupper() and (lemma[0].isupper() or last.startswith(lemma)):
            return word[:place], lemma
    return None


@functools.cache
def _dictionary() -> Mapping[str, str]:
    """The lemma of each form."""
    # Takes a second to load.
    from simplemma.strategies import DefaultDictionaryFactory

    return DefaultDictionaryFactory().get_dictionary("de")
