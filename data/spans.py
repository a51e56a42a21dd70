"""Spans: stretches of text that a translation copies, set aside as numbered pieces and put back afterwards.

"Open <b>%s</b>" becomes "Open ⟦1⟧⟦2⟧⟦3⟧" before the model, and the pieces become the spans again after it. This file
uses the standard library alone: exports carry a copy of it.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

PIECES, PIECE_KIND = 32, "pieces"  # numbered pieces of a vocabulary; the kind of those that are in the text itself


def piece(number: int) -> str:
    """The numbered piece of a span, counted from 1."""
    return f"\u27e6{number}\u27e7"


Count = Callable[[list[str]], list[int]]
_WORD = re.compile(r"[^\W\d_]+")
_PIECE = re.compile("\u27e6(\\d+)\u27e7")
_LATIN = "A-Za-z\u00aa\u00b2\u00b3\u00b9-\u00be\u00c0-\u02af\u1e00-\u1eff"
_FOREIGN = f"(?:(?![{_LATIN}])[^\\W\\d_])"
_SYMBOL = "[\u20a0-\u20cf\u2190-\u23ff\u2460-\u27e5\u27e8-\u2bff\u3200-\u33ff\ue000-\uf8ff\U0001f000-\U0001faff]"
_ADDRESS = r"[^\s<>\"“”„«»`⟦⟧]*[\w/=#~%+-]"
_EXTENSIONS = (
    "txt|html?|xml|json|py|conf|cfg|ini|log|sh|cpp|hpp|so|png|jpe?g|svg|gif|pdf|zip|tar|gz|xz|bz2|deb|rpm|md|css|js|"
    "exe|dll|odt|ods|odp|docx?|xlsx?|csv|po|mo|toml|ya?ml|desktop|service|ogg|mp3|mp4|avi|ttf|sql|php"
)

# From the most to the least specific: of two that begin at the same character the earlier one wins. No pattern may
# start again within text that it has failed on, or match a long text in two ways.
_PATTERNS: dict[str, tuple[str, ...]] = {
    "code": (r"``[^`]{1,300}``", r"`[^`\s][^`]{0,300}`", r"(?<![\w-])--[A-Za-z][\w-]+"),
    "urls": (
        rf"\b[A-Za-z][A-Za-z0-9+.-]{{1,15}}://(?:{_ADDRESS})?",
        rf"\b(?:www\.|mailto:){_ADDRESS}",
        r"(?<![\w.@-])(?:[A-Za-z0-9-]+\.)+(?:com|org|net|de|at|ch|eu|io|edu|gov|info)(?!\w)(?!\.\w)"
        r"(?:/[\w./~%+-]*[\w/])?",
    ),
    "emails": (r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+",),
    "tags": (r"<!--.{0,500}?-->", r"</?[A-Za-z][\w:.-]{0,60}(?:\s[^<>]{0,500})?/?>"),
    "entities": (r"&(?:[A-Za-z]\w{1,30}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});",),
    "placeholders": (
        r"\{\{[^{}]{0,80}\}\}",
        r"\{%[^{}%]{0,80}%\}",
        r"<%[^%<>]{0,80}%>",
        r"\$\{[^{}\s]{0,60}\}",
        r"\$\([\w-]{1,60}\)",
        r"(?<![\w$])\$[A-Za-z_]\w*",
        r"#\{[^{}\s]{0,60}\}",
        r"%\{\w{1,60}\}",
        r"\{ ?[\w.\[\]-]{0,60}(?:![rsa])?(?::[^{}\s]{0,20})? ?\}",
        r"(?<![\w@])@[A-Z][A-Z0-9_]*@",
        r"%%",
        r"(?<![\d%])%\(\w{1,60}\)(?:[-+#0]*(?:[1-9]\d*)?(?:\.\d+)?[A-Za-z])?",
        r"(?<![\d%])%L?\d{1,2}(?![\d$.]|\w)",
        r"(?<![\d%])%(?:\d+\$)?[-+#0']*(?:[1-9]\d*|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|L|q|j|z|t)?"
        r"[A-Za-z@](?![A-Za-z]{2})",
        r"\\[nrtNRT\"\\]",
    ),
    "paths": (
        r"(?<![\w.<)}\]%>])(?:~|\.{1,2})?/[\w.+@~-]*[\w~*](?:/[\w.+@~*-]*[\w~*])*/?",
        r"(?<!\w)[A-Za-z]:\\[\w\\.-]*\w",
        rf"(?<![\w.-])\.?[\w-]+(?:\.[\w-]+)*\.(?:{_EXTENSIONS})(?!\w)",
    ),
    "phones": (r"(?<![\w.])\+\d[\d ()/.-]{6,20}\d(?!\w)", r"(?<![\w.])\(?0\d{2,5}\)?[ /-]\d[\d -]{3,12}\d(?!\w)"),
    "numbers": (
        r"(?<!\w)0[xX][0-9A-Fa-f]+(?!\w)",
        r"(?<!\w)[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?!\w)",
        r"(?<![\w.,])[€£¥$]?\d{1,3}(?: \d{3})+(?![\d\w])",
        r"(?<!\w)[€£¥$v]?(?:\d{4}-\d\d-\d\d|\d+(?:[.,:/'’]\d+)*)(?:[€£¥°]|(?:px|pt|[kKMGT]i?B|[kMG]Hz|ms|[ckm]m|k?g|V|W)(?!\w))?(?!\w)",
    ),
    "symbols": (rf"{_SYMBOL}(?:[\ufe0f\u200d\u20e3]|{_SYMBOL})*",),
    "scripts": (rf"{_FOREIGN}(?:[\u0300-\u036f\u200c\u200d]|{_FOREIGN})*",),
}
KINDS = tuple(_PATTERNS)

# A message of ICU with branches: its frame is copied, and the text of its branches is translated.
_ICU_HEAD = r"\{\s*\w+\s*,\s*(?:plural|select|selectordinal)\s*,(?:\s*offset:\d+)?\s*[=\w]+\s*\{"
_ICU = re.compile(_ICU_HEAD)
_ICU_FRAME = (_ICU_HEAD, r"\}\s*[=\w]+\s*\{", r"\}\s*\}", r"#")
_TAG = re.compile(r"<(/?)([A-Za-z][\w:.-]*)[^<>]*?(/?)>")
# HTML elements without an end tag.
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
_ENGLISH_NUMBER = re.compile(r"[€£¥$]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+)[^\d.,]*")
# Kinds that touch no letter in a source, and so may touch none in its translation.
_APART = {"numbers", "phones"}
# Without one of these a text has no span.
_HINT = re.compile(rf"[\d%{{}}$#<&@/\\`\u27e6]|--|\.[A-Za-z]|{_SYMBOL}|{_FOREIGN}")


class Span(NamedTuple):
    """A stretch of a segment from character `start` on; once set aside, `text` is the copy and `given` the original."""

    start: int
    text: str
    kind: str
    given: str = ""

    @property
    def end(self) -> int:
        """The character after it."""
        return self.start + len(self.text)


class Marked(NamedTuple):
    """A segment with its spans as numbered pieces: piece n stands for `spans[n - 1]`."""

    text: str
    spans: tuple[Span, ...]


class SpanFinder:
    """Finds what must be copied.

    Args:
        kinds: which of `KINDS` are set aside. If there are any, so is a numbered piece that is in the text itself.
        numbers: "source" copies numbers as they are; "german" turns 1,234.56 into 1.234,56.

    Raises:
        ValueError: an unknown kind.

    Example:
        >>> finder = SpanFinder()
        >>> marked = finder.mark("%d files in <b>/tmp</b>")
        >>> marked.text
        '⟦1⟧ files in ⟦2⟧⟦3⟧⟦4⟧'
        >>> restore("⟦1⟧ Dateien in ⟦2⟧⟦3⟧⟦4⟧", marked.spans)
        '%d Dateien in <b>/tmp</b>'
    """

    def __init__(self, kinds: Sequence[str] = KINDS, numbers: str = "source"):
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown:
            raise ValueError(f"no kind of span is called {', '.join(unknown)}; there are {', '.join(KINDS)}")
        self.kinds = tuple(kind for kind in KINDS if kind in kinds)
        self._german = numbers == "german"
        groups = [f"(?P<{kind}>{'|'.join(_PATTERNS[kind])})" for kind in self.kinds]
        own = f"(?P<{PIECE_KIND}>{_PIECE.pattern.replace('(', '(?:')})"
        frame = [f"(?P<frame>{'|'.join(_ICU_FRAME)})"] if "placeholders" in self.kinds else []
        self._plain = re.compile("|".join([own, *groups]))
        self._branched = re.compile("|".join([own, *frame, *groups]))

    def find(self, text: str) -> list[Span]:
        """All spans of a text in order, however many."""
        if not self.kinds or not _HINT.search(text):
            return []
        pattern = self._branched if _ICU.search(text) else self._plain
        return [Span(match.start(), match[0], match.lastgroup or "") for match in pattern.finditer(text)]

    def mark(self, text: str) -> Marked:
        """Sets aside the spans of a text, however many."""
        spans = self.find(text)
        marked = _replace(text, spans, range(1, len(spans) + 1))
        return Marked(marked, tuple(span._replace(text=self.copied(span), given=span.text) for span in spans))

    def mark_pair(self, source: str, target: str) -> tuple[str, str]:
        """Sets aside up to `PIECES` spans that both sides have; each has one number, in the source's order."""
        if not _HINT.search(source) or not _HINT.search(target):
            return source, target
        targets, free = self.find(target), {}
        for place, span in enumerate(targets):
            free.setdefault(span.text, []).append(place)
        pairs = [(span, free[text].pop(0)) for span in self.find(source) if free.get(text := self.copied(span))]
        pairs = pairs[:PIECES]
        numbers = {place: number for number, (_, place) in enumerate(pairs, start=1)}
        return (
            _replace(source, [span for span, _ in pairs], range(1, len(numbers) + 1)),
            _replace(target, [targets[place] for place in sorted(numbers)], [numbers[n] for n in sorted(numbers)]),
        )

    def copied(self, span: Span) -> str:
        """What a span becomes in the translation."""
        return german_number(span.text) if self._german and span.kind == "numbers" else span.text


def german_number(text: str) -> str:
    """A number in German style: a comma for decimals, points between thousands; versions, times and dates stay.

    Example:
        >>> german_number("1,234.56"), german_number("3.5"), german_number("1.2.3")
        ('1.234,56', '3,5', '1.2.3')
    """
    if not _ENGLISH_NUMBER.fullmatch(text):
        return text
    return text.translate(str.maketrans(",.", ".,"))


def count_pieces(text: str) -> int:
    """How many numbered pieces a marked text has."""
    return len(_PIECE.findall(text))


def outside_pieces(text: str, place: int) -> int:
    """A place in a marked text or, if it is inside a piece, the end of that piece."""
    return next((match.end() for match in _PIECE.finditer(text) if match.start() < place < match.end()), place)


def renumbered(text: str, spans: Sequence[Span]) -> Marked:
    """A part of a marked text with its pieces renumbered from 1."""
    parts, numbers = split_at_pieces(text)
    pieces = (piece(number) for number in range(1, len(numbers) + 1))
    return Marked(parts[0] + "".join(map(str.__add__, pieces, parts[1:])), tuple(spans[n - 1] for n in numbers))


def has_words(text: str) -> bool:
    """Whether a marked text has a letter, and so something to translate, besides its pieces."""
    return any(character.isalpha() for character in text)


def is_whole(text: str, count: int) -> bool:
    """Whether a text has each of the pieces 1 to `count` once, and no others."""
    return sorted(split_at_pieces(text)[1]) == list(range(1, count + 1))


def mend(text: str, count: int) -> str:
    """Makes sure that a text has each of the pieces 1 to `count` once.

    A repeated piece is removed, as is one with another number. A missing one is put after the piece with the number
    before it, or else before the one with the next higher number, or else at the end.
    """
    parts, numbers = split_at_pieces(text)
    kept: list[int | None] = []
    for number in numbers:
        kept.append(number if 1 <= number <= count and number not in kept else None)
    found = {number for number in kept if number}
    text = parts[0] + "".join(
        (piece(number) if number else "") + part for number, part in zip(kept, parts[1:], strict=True)
    )
    for number in range(1, count + 1):
        if number not in found:
            text = _insert(text, number, found)
            found.add(number)
    return text


def _insert(text: str, number: int, found: set[int]) -> str:
    if number - 1 in found:
        return text.replace(piece(number - 1), f"{piece(number - 1)} {piece(number)}")
    after = min((other for other in found if other > number), default=None)
    return text.replace(piece(after), f"{piece(number)} {piece(after)}") if after else f"{text} {piece(number)}".strip()


def restore(text: str, spans: Sequence[Span]) -> str:
    """Replaces the pieces in a translation with the spans that `SpanFinder.mark` set aside.

    The frame of a message with branches keeps its order, and tags nest: if the translation's order would make two
    elements overlap, the smaller one stays where it is and the other is put around it.

    Args:
        text: a translation; repeated or missing pieces are put right first, see `mend`.
        spans: those of its source.

    Returns:
        The text with every span once.
    """
    if not spans:
        return text
    parts, numbers = split_at_pieces(mend(text, len(spans)))
    numbers = _in_source_order(numbers, [n for n, span in enumerate(spans, start=1) if span.kind == "frame"])
    slots = _nested([[number] for number in numbers], parts, _elements(spans))
    found, before = parts[0], False
    for slot, part in zip(slots, parts[1:], strict=True):
        text = "".join(spans[number - 1].text for number in slot)
        apart = {spans[number - 1].kind for number in slot} <= _APART
        # "1" and "2" with nothing but a comma between them would read as one number.
        found += " " if apart and before and found[-1] in ".,:/'’" and found[-2:-1].isdigit() else ""
        found, before = _joined(_joined(found, text, apart), part, apart), apart
    return found


def _joined(left: str, right: str, apart: bool) -> str:
    """Two texts as one; if `apart`, with a space between letters and digits that would touch."""
    touching = apart and left and right and left[-1].isalnum() and right[0].isalnum()
    return f"{left} {right}" if touching else left + right


def split_at_pieces(text: str) -> tuple[list[str], list[int]]:
    """The text around the pieces, and their numbers."""
    parts = _PIECE.split(text)
    return parts[::2], list(map(int, parts[1::2]))


def _in_source_order(numbers: list[int], chosen: list[int]) -> list[int]:
    """The numbers, with the chosen ones put in the order of `chosen`; the others stay where they are."""
    rest = iter(chosen)
    return [next(rest) if number in chosen else number for number in numbers]


def _elements(spans: Sequence[Span]) -> list[tuple[int, int]]:
    """The numbers of the first and the last tag of each element of the source."""
    opened: list[tuple[str, int]] = []
    found = []
    for number, span in enumerate(spans, start=1):
        tag = _TAG.fullmatch(span.text)
        if not tag or span.kind != "tags" or tag[3] or tag[2].lower() in _VOID:
            continue
        if not tag[1]:
            opened.append((tag[2], number))
        elif tag[2] in (names := [name for name, _ in opened]):
            place = len(names) - 1 - names[::-1].index(tag[2])
            found.append((opened[place][1], number))
            del opened[place:]
    return found


def _nested(slots: list[list[int]], parts: Sequence[str], elements: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Moves tags so that elements nest.

    Args:
        slots: the number of the piece at each place.
        parts: the text around the places, one part more than places.
        elements: from `_elements`.

    Returns:
        The numbers of the pieces at each place.
    """
    places = {slot[0]: place for place, slot in enumerate(slots)}
    intervals = [(*sorted((places[first], places[last])), first, last) for first, last in elements]
    intervals.sort(key=lambda one: (sum(map(len, parts[one[0] + 1 : one[1] + 1])), one[1] - one[0]))
    moved: list[list[int]] = [[] if any(slot[0] in pair for pair in elements) else slot for slot in slots]
    settled: list[tuple[int, int]] = []
    for low, high, first, last in intervals:
        low, high = _around(low, high, settled)
        settled.append((low, high))
        moved[low] = [first, *moved[low]]
        moved[high] = [*moved[high], last]
    return moved


def _around(low: int, high: int, settled: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The smallest interval around `low` to `high` that overlaps none of `settled` only in part."""
    before = None
    while before != (low, high):
        before = low, high
        for start, end in settled:
            apart, inside = high < start or end < low, start < low and high < end
            if not (apart or inside):
                low, high = min(low, start), max(high, end)
    return low, high


def in_capitals(text: str) -> bool:
    """Whether a marked text is written in capitals, and has at least four letters or several words."""
    letters = [character for character in text if character.isalpha()]
    if len(letters) < 4 and len(text.split()) < 2:
        return False
    return len(letters) > 1 and all(unicodedata.category(letter) != "Ll" for letter in letters) and text != text.lower()


def as_sentence(text: str, count: Count | None = None) -> str:
    """A text in capitals written as a sentence: in lower case, with a capital at its beginning.

    Args:
        text: a marked text.
        count: gives the number of tokens of each word in a list. With it, a word that takes fewer tokens in capitals,
            such as an abbreviation, stays in capitals.
    """

    def lowered(match: re.Match) -> str:
        word = match[0]
        upper, lower = count([word, word.lower()]) if count else (1, 1)
        return word if upper < lower else word.lower()

    text = _WORD.sub(lowered, text)
    first = next((place for place, letter in enumerate(text) if letter.isalpha()), 0)
    return text[:first] + text[first : first + 1].upper() + text[first + 1 :]


class Source(NamedTuple):
    """A line as the model reads it, and what its translation needs.

    Fields:
        text: the line with its spans as numbered pieces; "" if there is nothing to translate.
        spans: what pieces 1, 2 ... stand for.
        capitals: whether the line was in capitals, as its translation will be.
        unchanged: the translation of a line that has nothing to translate.
    """

    text: str
    spans: tuple[Span, ...] = ()
    capitals: bool = False
    unchanged: str = ""

    def translation(self, text: str) -> str:
        """The translation of the line, from what the model wrote."""
        return restore(text.upper() if self.capitals else text, self.spans)


def read(text: str, finder: SpanFinder, capitals: bool = False, count: Count | None = None) -> Source:
    """Prepares a line for translation; it may have more spans than there are pieces.

    Args:
        text: a normalised segment.
        finder: finds what is copied. Without kinds, every line is translated.
        capitals: whether a line in capitals is read as a sentence.
        count: see `as_sentence`.
    """
    marked = finder.mark(text)
    if finder.kinds and not has_words(marked.text):
        return Source("", unchanged=text)
    raised = capitals and in_capitals(marked.text)
    return Source(as_sentence(marked.text, count) if raised else marked.text, marked.spans, raised)


class Kept(NamedTuple):
    """How many of the lines with spans of a kind kept all of them, none lost or repeated.

    Fields:
        lines: lines whose source has a span of the kind.
        kept: those whose translation has each as often as the source.
        lost: the line numbers of the others, from 0.
    """

    lines: int
    kept: int
    lost: tuple[int, ...]


def kept(finder: SpanFinder, sources: Sequence[str], translations: Sequence[str]) -> dict[str, Kept]:
    """Counts by kind which lines kept their spans; kinds without any are left out.

    Args:
        finder: its kinds are counted. A message's frame counts as placeholders.
        sources, translations: equally many of both.
    """
    found: dict[str, list[tuple[int, bool]]] = {}
    for number, (source, translation) in enumerate(zip(sources, translations, strict=True)):
        there = Counter(span.text for span in finder.find(translation))
        wanted: dict[str, Counter] = {}
        for span in finder.find(source):
            kind = "placeholders" if span.kind == "frame" else span.kind
            wanted.setdefault(kind, Counter())[finder.copied(span)] += 1
        for kind, counts in wanted.items():
            found.setdefault(kind, []).append((number, all(there[text] == count for text, count in counts.items())))
    return {
        kind: Kept(len(lines), sum(good for _, good in lines), tuple(number for number, good in lines if not good))
        for kind, lines in sorted(found.items())
    }


def _replace(text: str, spans: Sequence[Span], numbers: Iterable[int]) -> str:
    parts, end = [], 0
    for span, number in zip(spans, numbers, strict=True):
        parts += [text[end : span.start], piece(number)]
        end = span.end
    return "".join([*parts, text[end:]])
