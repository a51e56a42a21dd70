"""The markup within a paragraph of Markdown: emphasis, links, code, addresses and tags."""

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from app.formats.base import has_words, trimmed
from app.formats.markup import ATTRIBUTES
from app.translation.pieces import Part, Piece, Tag

_MARK = re.compile(
    r"(?P<code>(?P<ticks>(?<!`)`+)(?!`).{1,2000}?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<auto><(?:[A-Za-z][\w+.-]*:[^\s<>]*|[^\s<>@]+@[^\s<>@]+)>)"
    rf"|(?P<html></?[A-Za-z]{ATTRIBUTES}>|<!--.{{0,2000}}?-->)"
    r"|(?P<math>\$\$[^$]+\$\$|\$(?![\s\d])[^$\n]+(?<!\s)\$(?!\w))"
    r"|(?P<note>\[\^[^\]\s]+\]:?)"
    r"|(?P<task>^\[[ xX]\](?=\s))"
    r"|(?P<address>\b(?:https?|ftp)://[^\s<>\[\]()]*[\w/])"
    r"|(?P<escape>\\[!-/:-@\[-`{-~])"
    r"|(?P<link>!?\[)"
    r"|(?P<emphasis>\*{1,3}|_{1,3}|~~)",
    re.DOTALL,
)
_BRACKET = re.compile(r"\\.|`[^`]*`|[\[\]]", re.DOTALL)
_TARGET = re.compile(r"\((?:[^()\\]|\\.|\((?:[^()\\]|\\.)*\))*\)|\[[^\[\]]*\]", re.DOTALL)
_NESTED = 10  # depth of links and pictures in each other
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]\w{1,30});")
# Characters that have a meaning within a text, and what begins a list, a heading, a quote or a rule.
_SPECIAL = re.compile(r"\\(?=[!-/:-@\[-`{-~])|[`\[|]|\*(?!\s)|(?<!\s)\*|~(?=~)|(?<!\w)_|_(?!\w)|<(?=[A-Za-z/!?])")
_BLOCK = re.compile(r"^(?:(?:[-+*]|#{1,6})(?=\s|$)|>|\d{1,9}(?=[.)](?:\s|$))|[=-]+\s*$)", re.MULTILINE)
_EMPHASIS = re.compile(r"\*+|_+|~~")
_SIMPLE_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9]*>")


class Parsed(NamedTuple):
    """A paragraph.

    Fields:
        before, after: markup around all of the text, which need not be translated with it.
        piece: the text and the tags within it; None if there are no words.
        write: turns its translation into Markdown.
    """

    before: str
    piece: Piece | None
    after: str
    write: Callable[[Sequence[Part]], str]


class _Mark(NamedTuple):
    """A stretch of a paragraph: `kind` is "text", "tag", "open", "close" or "emphasis"."""

    kind: str
    raw: str
    opens: bool = False
    closes: bool = False


class InlineParser:
    """Reads paragraphs.

    Args:
        references: labels of links that are defined somewhere in the file.
    """

    def __init__(self, references: Mapping[str, Any]):
        self._references = references

    def parse(self, raw: str, cell: bool = False) -> Parsed:
        """Reads a paragraph as written, without the marks before its lines; `cell` is for a cell of a table."""
        marks = self._marks(raw, 0, len(raw), _closings(raw))
        # A character without a backslash in the text needs none in the translation either.
        bare = "".join(_ESCAPED.sub("", mark.raw) if mark.kind == "text" else "\0" for mark in marks)
        plain = set(_SPECIAL.findall(bare)) - {sign for sign in _ESCAPED.findall(raw)}
        plain = plain - {"|"} if cell else plain | {"|"}
        before, parts, after = trimmed(_parts(marks))
        begins = _BLOCK.match(raw)

        def joined(parts: Iterable[Part]) -> str:
            text = ""
            for part in _tight(list(parts)):
                if isinstance(part, Tag) and part.content == "[" and text.endswith("!"):
                    text = text[:-1] + "\\!"  # else the link would be a picture
                text += part.content if isinstance(part, Tag) else _escaped(part, plain)
            return text

        def write(translation: Iterable[Part]) -> str:
            return joined(translation) if begins else _BLOCK.sub(_harmless, joined(translation))

        piece = Piece(parts) if any(isinstance(part, str) and has_words(part) for part in parts) else None
        return Parsed(joined(before), piece, joined(after), write)

    def _marks(self, raw: str, place: int, end: int, closings: Mapping[int, int], depth: int = 0) -> list[_Mark]:
        marks: list[_Mark] = []
        while match := _MARK.search(raw, place, end):
            marks.append(_Mark("text", raw[place : match.start()]))
            place, kind = match.end(), str(match.lastgroup)
            if kind == "emphasis":
                marks.append(_emphasis(raw, match))
            elif kind == "link" and depth < _NESTED and (found := self._link(raw, place, end, closings)):
                label_end, closing, stop = found
                marks += [
                    _Mark("open", match[0]),
                    *self._marks(raw, place, label_end, closings, depth + 1),
                    _Mark("close", closing),
                ]
                place = stop
            else:
                marks.append(_Mark("text" if kind in ("escape", "link") else "tag", match[0]))
        marks.append(_Mark("text", raw[place:end]))
        return _paired(marks)

    def _link(self, raw: str, start: int, end: int, closings: Mapping[int, int]) -> tuple[int, str, int] | None:
        """For a link whose text starts here: where the text ends, what follows it, and where that ends."""
        label_end = closings.get(start - 1, end)
        if label_end >= end:
            return None
        label, target = raw[start:label_end], _TARGET.match(raw, label_end + 1, end)
        if target and target[0].startswith("("):
            return label_end, "]" + target[0], target.end()
        if target and target[0] != "[]":
            return (label_end, "]" + target[0], target.end()) if self._defined(target[0][1:-1]) else None
        # The text is also the label, which must not be translated.
        return (label_end, f"][{label}]", target.end() if target else label_end + 1) if self._defined(label) else None

    def _defined(self, label: str) -> bool:
        from markdown_it.common.utils import normalizeReference

        return normalizeReference(label) in self._references


def _closings(raw: str) -> dict[int, int]:
    """Where each opening bracket is closed."""
    opened, found = list[int](), dict[int, int]()
    for match in _BRACKET.finditer(raw):
        if match[0] == "[":
            opened.append(match.start())
        elif match[0] == "]" and opened:
            found[opened.pop()] = match.start()
    return found


def _emphasis(raw: str, match: re.Match) -> _Mark:
    """A mark that may open or close emphasis, depending on what is next to it."""
    before, after = raw[match.start() - 1 : match.start()], raw[match.end() : match.end() + 1]
    opens, closes = bool(after.strip()), bool(before.strip())
    if match[0].startswith("_"):
        opens, closes = opens and not before.isalnum(), closes and not after.isalnum()
    return _Mark("emphasis", match[0], opens, closes)


def _paired(marks: list[_Mark]) -> list[_Mark]:
    """Emphasis becomes "open" and "close"; marks without a partner become text."""
    found, opened = list(marks), list[int]()
    for place, mark in enumerate(marks):
        if mark.kind != "emphasis":
            continue
        found[place] = _Mark("text", mark.raw)
        partner = next((p for p in reversed(opened[-20:]) if marks[p].raw == mark.raw), None) if mark.closes else None
        if partner is not None and partner < place - 1:
            found[partner], found[place] = _Mark("open", mark.raw), _Mark("close", mark.raw)
            del opened[opened.index(partner) :]
        elif mark.opens:
            opened.append(place)
    return found


def _parts(marks: Iterable[_Mark]) -> list[Part]:
    parts: list[Part] = []
    opened: list[int] = []
    for number, (kind, raw, *_) in enumerate(marks, start=1):
        if kind == "text":
            text = _ENTITY.sub(lambda match: html.unescape(match[0]), _ESCAPED.sub(r"\1", raw))
            if parts and isinstance(parts[-1], str):
                parts[-1] += text
            elif text:
                parts.append(text)
        elif kind == "tag":
            parts.append(Tag(raw if _SIMPLE_TAG.fullmatch(raw) else f"<x{number}/>", raw))
        else:
            if kind == "open":
                opened.append(number)
            parts.append(Tag(f"<g{opened[-1]}>" if kind == "open" else f"</g{opened.pop()}>", raw))
    return parts


def _tight(parts: Sequence[Part]) -> list[Part]:
    """Moves white space out of emphasis; with white space at its ends it would not be emphasis."""
    found = list(parts)
    for place in range(len(found) - 1):
        part, following = found[place : place + 2]
        if isinstance(part, Tag) and isinstance(following, str) and _EMPHASIS.fullmatch(part.content):
            bare = following.lstrip()
            if not part.shown.startswith("</") and bare:
                found[place : place + 2] = [part._replace(content=following[: -len(bare)] + part.content), bare]
        elif isinstance(part, str) and isinstance(following, Tag) and _EMPHASIS.fullmatch(following.content):
            bare = part.rstrip()
            if following.shown.startswith("</") and bare:
                found[place : place + 2] = [bare, following._replace(content=following.content + part[len(bare) :])]
    return found


def _escaped(text: str, plain: Iterable[str]) -> str:
    """A text with backslashes before characters that would have a meaning."""
    text = _ENTITY.sub(lambda match: "&amp;" + match[0][1:], text)
    return _SPECIAL.sub(lambda match: match[0] if match[0] in plain and match[0] != "<" else "\\" + match[0], text)


def _harmless(match: re.Match) -> str:
    """Keeps a text from beginning a block: a backslash goes before the sign, or after the number."""
    return match[0] + "\\" if match[0].isdecimal() else "\\" + match[0]
