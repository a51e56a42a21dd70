"""Markdown: paragraphs, headings, lists, quotes and tables are translated.

Code, addresses, HTML tags, link definitions and front matter are left alone. A paragraph keeps line breaks between
sentences; those within a sentence become spaces. Lines meant for other programs stay.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.formats.base import Options, Slot, TextDocument, decoded
from app.formats.html import layout as html_layout
from app.formats.inline import InlineParser
from app.translation.pieces import Part
from data.errors import UserError

_FRONT_MATTER = re.compile(r"(?:---[ \t]*\n.*?\n(?:---|\.\.\.)|\+\+\+[ \t]*\n.*?\n\+\+\+)[ \t]*(?:\n|\Z)", re.DOTALL)
# Two spaces or a backslash at the end of a line keep its line break.
_HARD_BREAK = re.compile(r"(?: {2,}|\\)$")
# Lines for other programs that CommonMark takes for text: alerts, containers and admonitions, templates, attributes.
_COMMAND = re.compile(
    r"\[![\w-]+\].*|:::.*|(?:!!!|\?\?\?\+?) .*"
    r'|=== ".*|(?:(?:\{%[^{}]*%\}|\{\{[^{}]*\}\}|\{:[^{}]*\})\s*)+'
)
_CELL = re.compile(r"(?:[^|\\]|\\.)+")


def read(content: bytes, options: Options) -> TextDocument:
    """Reads Markdown: CommonMark with tables and strikethrough."""
    text, encoding = decoded(content, options.name)
    newline = next((end for end in ("\r\n", "\n", "\r") if end in text), "\n")
    layout = list(_layout(re.sub(r"\r\n?", "\n", text), options.name))
    return _WithLineEnds(layout, encoding, newline=newline)


@dataclass
class _WithLineEnds(TextDocument):
    """A text whose lines end as they did, with a line feed, a carriage return, or both."""

    newline: str = "\n"

    def write(self, translations: Sequence[Sequence[Part]]) -> bytes:
        """See `FileDocument.write`."""
        mark, name = self.encoding.mark, self.encoding.name
        text = super().write(translations)[len(mark) :].decode(name)
        return self.encoding.encoded(text.replace("\n", self.newline))


def _layout(text: str, name: str) -> Iterator[str | Slot]:
    from markdown_it import MarkdownIt

    matter = _FRONT_MATTER.match(text)
    front = matter[0] if matter else ""
    yield front
    body = text[len(front) :]
    lines = [line + "\n" for line in body.split("\n")]
    lines[-1] = lines[-1][:-1]
    environment: dict[str, Any] = {}
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body, environment)
    parser = InlineParser(environment.get("references", {}))
    place = 0
    for start, end, kind, content in _blocks(tokens):
        if start < place:
            continue
        yield "".join(lines[place:start])
        place = end
        if kind == "html_block":
            own = "".join(lines[start:end])
            yield from [own] if own.lstrip().startswith(">") else html_layout(own)
        elif kind == "tr_open":
            yield from _row(lines[start], parser)
        else:
            found = _paragraph(lines[start:end], content.split("\n"), parser)
            if found is None:
                line = front.count("\n") + start + 1
                raise UserError(
                    f"{name}, line {line:,}: this paragraph cannot be parsed; replace the tabs before it with spaces"
                )
            yield from found
    yield "".join(lines[place:])


def _blocks(tokens: Sequence[Any]) -> Iterator[tuple[int, int, str, str]]:
    """The first line, the line after, the kind and the content of each block with text."""
    in_table = False
    for token in tokens:
        in_table = (in_table or token.type == "table_open") and token.type != "table_close"
        wanted = ("tr_open",) if in_table else ("inline", "html_block")
        if token.type in wanted and token.map:
            yield token.map[0], token.map[1], token.type, token.content


def _paragraph(lines: list[str], contents: list[str], parser: InlineParser) -> list[str | Slot] | None:
    """The slots of a paragraph; None if its text is not found in its lines.

    Args:
        lines: as they are in the file; more than `contents` for an underlined heading.
        contents: the text of each line, without the marks of lists and quotes.
    """
    pieces = []  # for each line: what comes before its text, the text, and what follows it
    for line, content in zip(lines, contents, strict=False):
        bare = content.strip()
        start = line.find(bare)
        if start < 0:
            return None
        pieces.append((line[:start], bare, line[start + len(bare) :]))
    rest = "".join(lines[len(contents) :])
    layout: list[str | Slot] = []
    group: list[tuple[str, str, str]] = []
    for number, (before, text, after) in enumerate(pieces, start=1):
        following = pieces[number][1] if number < len(pieces) else None
        if _COMMAND.fullmatch(text):
            layout += [before, text, after]
            continue
        group.append((before, text, after))
        hard = _HARD_BREAK.search(text + after.rstrip("\n")) if following is not None else None
        if hard or following is None or _COMMAND.fullmatch(following):
            slash = "\\" if hard and hard[0] == "\\" else ""
            layout += [
                group[0][0],
                *_slot([one for _, one, _ in group], group[1:] or group, parser, slash),
                slash + after,
            ]
            group = []
    return [*layout, rest]


def _slot(
    texts: list[str], following: Sequence[tuple[str, str, str]], parser: InlineParser, slash: str
) -> list[str | Slot]:
    """The slot of some lines of a paragraph; `following` are the pieces of the lines after the first."""
    raw = "\n".join(texts).removesuffix(slash) if slash else "\n".join(texts)
    found = parser.parse(raw)
    if not found.piece:
        first, *others = raw.split("\n")
        return ["\n".join([first, *(one[0] + line for one, line in zip(following, others, strict=False))])]
    prefix = "\n" + following[0][0]
    write = found.write
    return [found.before, Slot(found.piece, lambda parts: write(parts).replace("\n", prefix)), found.after]


def _row(line: str, parser: InlineParser) -> Iterator[str | Slot]:
    """The cells of a row."""
    place = 0
    for match in _CELL.finditer(line):
        bare = match[0].strip()
        found = parser.parse(bare, cell=True)
        if found.piece:
            start = match.start() + match[0].index(bare)
            yield from (line[place:start], found.before, Slot(found.piece, found.write), found.after)
            place = start + len(bare)
    yield line[place:]
