"""Words for term consistency: split, lower-cased, without endings."""

import functools
import re

from data.terms import singular

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
# Snowball's names of the languages that it can stem.
_SNOWBALL = {
    "da": "danish",
    "de": "german",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
}
# Words that are never terms: their translation depends on the surrounding grammar.
_STOP_WORDS = {
    "en": """
        a about above across after again against ago all almost along already also although always am among an and any
        anybody anyone anything are aren't around as at away back be because been before being below between beyond
        both but by can can't cannot come comes coming could couldn't did didn't do does doesn't doing don don't done
        down due during each either else enough etc even ever every everybody everyone everything few for from further
        gave get gets getting give given gives go goes going gone got had has hasn't have haven't having he hence her
        here hers herself him himself his how however i if in indeed instead into is isn't it it's its itself just keep
        know known least less let like likely made make makes making many may maybe me might mine more moreover most
        much must my myself near neither never no nobody none nor not nothing now of off often on once one ones only
        onto or other others otherwise our ours out over own per perhaps please put quite rather really s said same say
        says see seem seems seen several shall she should since so some somebody someone something sometimes soon still
        such sure t take taken takes taking than that that's the their theirs them themselves then there therefore
        these they thing things this those though through thus to together too took toward towards two under unless
        until up upon us use used using very via want wants was wasn't way we well went were weren't what whatever when
        where whether which while who whole whom whose why will with within without won't would wouldn't yet you your
        yours yourself
    """
}


def words(text: str) -> list[str]:
    """The lower-cased words of a text: letters and inner apostrophes, split at hyphens; no numbers or punctuation."""
    return _WORD.findall(text.lower().replace("’", "'"))


def target_words(text: str, language: str) -> list[str]:
    """The words of a text without endings, by Snowball's stemmer if it supports the language.

    Inflected forms of a German word thus count as the same translation: "Datei" and "Dateien" are both "datei".
    """
    return [_stem(word, language) for word in words(text)]


def source_words(text: str, language: str) -> list[str]:
    """The words of a text; English ones in the singular.

    A stemmer would strip too much: "setting" and "set" are different terms.
    """
    found = words(text)
    return [singular(word) for word in found] if language == "en" else found


def is_term(word: str, language: str) -> bool:
    """Whether a word of `source_words` may be a term: at least three letters, and not a function word."""
    return len(word) > 2 and word not in _stop_words(language)


@functools.cache
def _stop_words(language: str) -> frozenset[str]:
    """Stop words in the form that `source_words` gives."""
    return frozenset(source_words(_STOP_WORDS.get(language, ""), language))


@functools.lru_cache(1 << 18)
def _stem(word: str, language: str) -> str:
    stemmer = _stemmer(language)
    return stemmer.stemWord(word) if stemmer else word


@functools.cache
def _stemmer(language: str):
    import snowballstemmer

    return snowballstemmer.stemmer(_SNOWBALL[language]) if language in _SNOWBALL else None
