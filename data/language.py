"""Finds segments that are clearly not in the language that they should be in."""

import functools
import re

# Frequent words that the other language here does not have; two of them settle most segments for the price of a set
# intersection. Words that also exist in the other language ("die", "was", "in", "also") are left out.
_COMMON_WORDS = {
    "en": "the and that with this are have not you from they their has been which these what when there your his her "
    "its would could should about into only other than then them some such very where who how because between each "
    "must does being were while if it's don't can't i'm",
    "de": "und nicht sich auf für eine einen einem einer eines dass ist werden auch wird zur zum sind oder aus bei "
    "nach durch kann können aber noch nur wenn wie über vom haben sie ich wir ihr mit diese dieser dieses wurde sein "
    "keine muss müssen ihre ihren ihnen zwischen mehr sehr unter vor ohne gegen",
}
_COMMON_WORDS = {language: frozenset(words.split()) for language, words in _COMMON_WORDS.items()}

# The languages to guess from, besides the two of the corpus: those that web text mixes in. Close relatives of German
# and English that are rare in web text (Luxembourgish, Scots, Low German) would only take names from them.
_OTHERS = "ar bg cs da de el en es et fi fr he hr hu it ja ko lt lv nl no pl pt ro ru sk sl sv tr uk zh"

# Each alternative starts where a word starts, so that a line without spaces does not take quadratic time.
_NOT_PROSE = re.compile(
    r"""
    <[^<>]{1,200}>                                          # markup
    | (?<!\S) \S* (?: [\d/\\@_=~|{}$%\#*+^\[\]] | www\. ) \S*  # numbers, addresses, paths, placeholders, code
    | (?<!\S) --?\w\S*                                      # command line options
    | &\w{1,20};                                            # character entities
    """,
    re.VERBOSE,
)
# Without any of these signs there is nothing of that kind; this check is much faster.
_SIGNS = re.compile(r"[<\d/\\@_=~|{}$%#*+^\[\]&-]|www\.")
# Chinese and Japanese put no spaces between words, so every character counts as one.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_\u3040-\u30ff\u3400-\u9fff]+(?:['’][^\W\d_]+)*")


def prose_words(text: str) -> list[str]:
    """The words of a text in lower case, without numbers, addresses, markup, names of files and placeholders."""
    if _SIGNS.search(text):
        text = _NOT_PROSE.sub(" ", text)
    return [word.lower() for word in _WORD.findall(text)]


class LanguageJudge:
    """Judges segments of one language; in doubt, it accepts the segment.

    Numbers, file names, addresses, markup and placeholders are not evidence and are removed first. At least `min_words`
    words and `min_bytes` bytes of UTF-8 must remain; shorter segments, such as interface strings, are never called
    foreign. Two frequent words of the language and none of `other` settle it, at a tenth of the cost of the rest; only
    segments that they do not settle go to py3langid, a naive Bayes classifier of byte n-grams. A segment is foreign if
    one other language gets at least `certainty` of the probability. For `other` itself, two of its frequent words must
    occur too, because German text often has lists of English names and terms.

    Args:
        language: ISO 639-1 code of the expected language; if py3langid does not know it, no segment is ever called
            foreign.
        other: code of the language of the corpus's other side.
        min_words: fewest words to judge by.
        min_bytes: fewest bytes of UTF-8 to judge by.
        certainty: probability, 0.5 to 1.

    References:
        - Lui and Baldwin 2012, langid.py, https://aclanthology.org/P12-3005/
    """

    def __init__(self, language: str, other: str, min_words: int = 6, min_bytes: int = 36, certainty: float = 0.98):
        self.language = language
        self.other = other
        self.min_words = min_words
        self.min_bytes = min_bytes
        self.certainty = certainty
        self._own = _COMMON_WORDS.get(language, frozenset())
        self._foreign = _COMMON_WORDS.get(other, frozenset())
        self._guesser = _guesser(frozenset({language, other, *_OTHERS.split()}))

    def is_foreign(self, text: str) -> bool:
        """Whether the text is long enough to judge and clearly in another language."""
        if len(text) < self.min_bytes and text.isascii():  # the words alone cannot be longer
            return False
        words = prose_words(text)
        prose = " ".join(words)
        if len(words) < self.min_words or len(prose.encode()) < self.min_bytes:
            return False
        distinct = set(words)
        own, foreign = len(distinct & self._own), len(distinct & self._foreign)
        if own >= 2 and not foreign:
            return False
        if self.language not in self._guesser.nb_classes:
            return False
        found, certainty = self._guesser.classify(prose)
        if found == self.language or certainty < self.certainty:
            return False
        return found != self.other or not self._foreign or foreign >= 2


@functools.lru_cache(maxsize=8)
def _guesser(languages: frozenset[str]):
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    guesser = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    guesser.set_languages(sorted(languages & set(guesser.labels)))
    return guesser
