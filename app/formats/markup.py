"""HTML and XML: which parts are text, and which must come out unchanged."""

import functools
import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from app.translation.pieces import Part, Piece, Tag

# A character in a tag, or a value in quotes, which may hold "<" and ">". Unbalanced quotes do not count: the tag then
# ends at the next ">". No two tags are read across the same "<", since its quotes would differ: this takes linear time.
SIGN = r"""(?:[^<>"']|"[^"]*+"|'[^']*+')"""
ATTRIBUTES = rf"(?:{SIGN}*+(?=>)|[^<>]*+)"
_TAG = re.compile(rf"<(/?)([A-Za-z][\w:.-]*+)({ATTRIBUTES})>|<[!?][^<>]*>")
_PRIVATE = re.compile(r"""\btranslate\s*=\s*["']?no\b|\bclass\s*=\s*(["'])[^"']*\bnotranslate\b""", re.IGNORECASE)
# HTML elements whose content is not prose, and tags within a sentence; any other tag ends a sentence.
_RAW = frozenset(("code", "kbd", "math", "pre", "samp", "script", "style", "svg", "template", "textarea"))
# Those of them in which no other tag can begin: they end at their first closing tag.
_VERBATIM = frozenset(("script", "style", "textarea"))
_INLINE_NAMES = """
a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark q s samp small span strike strong
sub sup time tt u var wbr
"""
_VOID_NAMES = "area base br col embed hr img input link meta param source track wbr"
_INLINE, _VOID = frozenset(_INLINE_NAMES.split()), frozenset(_VOID_NAMES.split())


@dataclass(frozen=True)
class Tags:
    """Which tags do what.

    Args:
        kind: "html" or "xml".
        ignored: tags whose content is not translated.
        splitting: tags that end a sentence.
        inline: tags that do not end one.
    """

    kind: str
    ignored: frozenset[str] = frozenset()
    splitting: frozenset[str] = frozenset()
    inline: frozenset[str] = frozenset()

    def splits(self, name: str) -> bool:
        """Whether a tag ends a sentence."""
        if name in self.splitting or name in self.inline:
            return name in self.splitting
        return self.kind == "html" and name not in _INLINE

    def leaves(self, name: str, attributes: str) -> bool:
        """Whether the content of a tag is not translated."""
        return name in self.ignored or (
            self.kind == "html" and (name in _RAW or bool(attributes and _PRIVATE.search(attributes)))
        )


class _Token(NamedTuple):
    """A piece of markup: `kind` is "text", "inline" for a tag within a sentence, or "other"."""

    kind: str
    raw: str


@dataclass
class Block:
    """Text and the tags within it, up to the next tag that ends a sentence."""

    tokens: list[_Token] = field(default_factory=list)

    @property
    def raw(self) -> str:
        """The block as it was written."""
        return "".join(token.raw for token in self.tokens)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to translate."""
        return not any(token.raw.strip() for token in self.tokens if token.kind == "text")

    @functools.cached_property
    def piece(self) -> Piece:
        """The block to translate; an element that is left alone within a sentence is shown as one tag."""
        return Piece(
            tuple(
                html.unescape(token.raw) if token.kind == "text" else Tag(_shown(token.raw, number), token.raw)
                for number, token in enumerate(self.tokens)
            )
        )


def read_markup(text: str, tags: Tags) -> list[str | Block]:
    """The parts of a text: strings that stay, and blocks to translate."""
    parts: list[str | Block] = []
    block = Block()
    for token in _tokens(text, tags):
        if token.kind == "other":
            parts += [block.raw if block.empty else block, token.raw]
            block = Block()
        else:
            block.tokens.append(token)
    return [*parts, block.raw if block.empty else block]


def outline(text: str) -> frozenset[str]:
    """The tags of an XML text that end a sentence: those that never stand next to words.

    Example:
        >>> sorted(outline("<doc><p>Go <b>on</b>.</p><p>Stop.</p></doc>"))
        ['doc', 'p']
    """
    names, inline = set(), set()
    before, name = "", None  # the text before a tag, and the name of the closing tag before that
    place = 0
    for match in _TAG.finditer(text):
        before, place = text[place : match.start()], match.end()
        if before.strip():
            inline |= {one for one in (name, None if match[1] else match[2]) if one}
        names |= {match[2]} - {None}
        name = match[2] if match[1] or match[0].endswith("/>") else None
    if text[place:].strip() and name:
        inline.add(name)
    return frozenset(names - inline)


def written(parts: Iterable[Part]) -> str:
    """The translation of a block as it is written in markup."""
    return "".join(part.content if isinstance(part, Tag) else html.escape(part, quote=False) for part in parts)


def _shown(raw: str, number: int) -> str:
    """How the model reads a tag, or an element shown as one tag: without "<" or ">" inside."""
    match = _TAG.fullmatch(raw)
    if not match:
        return f"<x{number}/>"
    inside = raw[1:-1]
    return f"<{match[1]}{match[2]}{'/' * raw.endswith('/>')}>" if "<" in inside or ">" in inside else raw


def _tokens(text: str, tags: Tags) -> Iterator[_Token]:
    place = begun = 0
    unclosed: set[str] = set()  # ends that were not found; they are not searched for again
    while (start := text.find("<", place)) >= 0:
        kind, end = _piece(text, start, tags, unclosed)
        if not end:
            place = start + 1
            continue
        if begun < start:
            yield _Token("text", text[begun:start])
        yield _Token(kind, text[start:end])
        place = begun = end
    if begun < len(text):
        yield _Token("text", text[begun:])


def _piece(text: str, start: int, tags: Tags, unclosed: set[str]) -> tuple[str, int]:
    """The kind and the end of the tag, comment or untranslated element that begins here; 0 if none does."""
    for opening, closing in (("<!--", "-->"), ("<![CDATA[", "]]>")):
        if text.startswith(opening, start) and closing not in unclosed:
            end = text.find(closing, start)
            if end >= 0:
                return "other", end + len(closing)
            unclosed.add(closing)
    match = _TAG.match(text, start)
    if not match:
        return "", 0
    name = (match[2] or "").lower() if tags.kind == "html" else match[2] or ""
    kind = "other" if not name or tags.splits(name) else "inline"
    closed = match[0].endswith("/>") or (tags.kind == "html" and name in _VOID)
    if name and not match[1] and not closed and tags.leaves(name, match[3]):
        return kind, _end_of(text, match.end(), name, tags.kind)
    return kind, match.end()


def _end_of(text: str, place: int, name: str, kind: str) -> int:
    """Where the element ends whose opening tag ends here; the end of the text if it is not closed."""
    html = kind == "html"
    sign = "/" if html and name in _VERBATIM else "/?"
    pattern = re.compile(rf"<({sign}){re.escape(name)}(?=[\s/>]){ATTRIBUTES}>", re.IGNORECASE if html else 0)
    depth = 1
    for match in pattern.finditer(text, place):
        depth += -1 if match[1] else not match[0].endswith("/>")
        if not depth:
            return match.end()
    return len(text)
