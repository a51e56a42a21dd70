"""Subtitles in SubRip and WebVTT: times, settings, names and notes are left alone.

The lines of a subtitle are translated as one text, then broken into at most as many lines of about the same length.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence

from app.formats.base import Options, Slot, TextDocument, decoded, has_words
from app.translation.pieces import Part, Piece, Tag
from data.errors import UserError

_TIMES = re.compile(r"^[ \t]*(?:\d+:)?\d\d?:\d\d?[.,]\d{1,3}[ \t]*-->.*$", re.MULTILINE)
_BREAK = re.compile(r"\r\n|\r|\n")
# A subtitle ends at an empty line, at the end, or where one follows it directly: at its number, if any, and its times.
_END = re.compile(
    r"(?:\r\n|\r(?!\n)|\n)(?:[ \t]*(?=[\r\n]|\Z)|(?=(?:[ \t]*\d+[ \t]*(?:\r\n|\r|\n))?" + _TIMES.pattern[1:-1] + "))"
)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}")
# Another speaker in the same subtitle.
_SPEAKER = re.compile(r"[-\u2013\u2014] ?\S")
_BLANK = "\0"


def read(content: bytes, options: Options) -> TextDocument:
    """Reads subtitles.

    Raises:
        UserError: there are no times in it.
    """
    text, encoding = decoded(content, options.name)
    layout = list(_layout(text))
    if text.strip() and len(layout) < 2 and not text.startswith("WEBVTT"):
        raise UserError(f"{options.name}: has no times such as 00:00:01,000 --> 00:00:02,000; expected subtitles")
    return TextDocument(layout, encoding)


def _layout(text: str) -> Iterator[str | Slot]:
    place = 0
    for times in _TIMES.finditer(text):
        start = _BREAK.match(text, times.end())
        if times.start() < place or not start:
            continue
        end = _END.search(text, times.end())
        stop = end.start() if end else len(text.rstrip("\r\n"))
        yield text[place : start.end()]
        place = start.end()
        if place < stop:
            yield from _cue(text[place:stop])
            place = stop
    yield text[place:]


def _cue(text: str) -> Iterator[str | Slot]:
    """The slots of a subtitle: one, or one for each person who speaks."""
    found = _BREAK.search(text)
    newline = found[0] if found else "\n"
    groups: list[list[str]] = []
    for line in _BREAK.split(text):
        if groups and not _SPEAKER.match(line):
            groups[-1].append(line)
        else:
            groups.append([line])
    for number, lines in enumerate(groups):
        yield newline if number else ""
        yield _slot(lines, newline) if has_words(_TAG.sub("", "".join(lines))) else newline.join(lines)


def _slot(lines: list[str], newline: str) -> Slot:
    joined = " ".join(lines)
    parts: list[Part] = []
    place = 0
    for number, match in enumerate(_TAG.finditer(joined), start=1):
        parts += [joined[place : match.start()], Tag(_shown(match[0], number), match[0])]
        place = match.end()
    parts.append(joined[place:])

    def write(translation: Sequence[Part]) -> str:
        text = "".join(p.content.replace(" ", _BLANK) if isinstance(p, Tag) else _plain(p) for p in translation)
        return newline.join(wrapped(text, len(lines))).replace(_BLANK, " ")

    return Slot(Piece(tuple(part for part in parts if part)), write)


def _shown(tag: str, number: int) -> str:
    return tag if re.fullmatch(r"</?[A-Za-z]+>", tag) else f"<x{number}/>"


def _plain(text: str) -> str:
    """The text, changed so that it cannot be taken for times."""
    return text.replace("-->", "\u2192")


def wrapped(text: str, most: int) -> list[str]:
    """Breaks a text into at most so many lines, the longest of them as short as possible.

    Example:
        >>> wrapped("one two three four", 2)
        ['one two', 'three four']
    """
    words = " ".join(text.split(" "))
    if most == 1 or " " not in words.strip():
        return [words]
    low, high = 1, max(len(words), 1)
    while low < high:
        middle = (low + high) // 2
        fits = len(_fill(words, middle)) <= most and all(len(line) <= middle for line in _fill(words, middle))
        low, high = (low, middle) if fits else (middle + 1, high)
    return _fill(words, low)


def _fill(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [text]
