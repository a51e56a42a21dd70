"""Word documents, .docx: all paragraphs, including those in tables, notes, text boxes, headers and footers.

Comments, deleted text, charts and pictures are left alone. Neighbouring runs of the same format count as one text.
"""

import copy
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from app.formats.base import Options
from app.formats.paragraphs import Break, Mark, Numbers, PackedDocument, Token, owners, with_pairs
from app.formats.safety import Archive
from app.translation.pieces import Tag
from data.bitexts.languages import primary
from data.errors import UserError

if TYPE_CHECKING:
    from lxml import etree

_TYPES = "[Content_Types].xml"
_MAIN = "document.main+xml"
# The parts that have paragraphs, in reading order.
_PARTS = (_MAIN, "footnotes+xml", "endnotes+xml", "header+xml", "footer+xml")
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"
# Elements that enclose runs and whose text belongs to the sentence.
_AROUND = frozenset(("hyperlink", "ins", "moveTo", "smartTag", "customXml", "fldSimple", "dir", "bdo", "sdt"))
_BREAKS = frozenset(("tab", "ptab", "br", "cr"))
# What holds no text: Word's own notes (page ends, spelling), optional hyphens, and formats.
_DROPPED = frozenset(("lastRenderedPageBreak", "proofErr", "softHyphen", "rPr", "pPr"))
# Ranges of text that must stay the same. A comment's range may grow, so it is not one of them.
_RANGES = frozenset(("bookmark", "perm", "moveFromRange", "moveToRange"))
_MARKS = frozenset(f"{name}{side}" for name in (*_RANGES, "commentRange") for side in ("Start", "End")) | {
    "commentReference",
    "del",
    "moveFrom",
}
# The parts of a format that do not change how the text looks.
_INVISIBLE = ("lang", "noProof", "rsid")


class _Text(NamedTuple):
    """A text, its format (an element `rPr` or None), and the element that it was read from."""

    text: str
    format: Any
    child: Any


class _Field(NamedTuple):
    """A part of a field: "begin", "separate", "end", or "" for the text of its instruction."""

    kind: str
    run: "_Run"


class _Format(NamedTuple):
    """The content of a tag that begins text in another format than most of the paragraph; the class itself ends it."""

    format: Any


class _Run(NamedTuple):
    """An element of a run, such as a picture; it gets its own run when it is put back."""

    child: Any
    format: Any


_Raw = Token | _Text | _Field


def read(content: bytes, options: Options) -> PackedDocument:
    """Reads a Word document.

    Raises:
        UserError: it is damaged, or not a Word document.
    """
    archive = Archive(content, options.name)
    parts = _parts(archive, options.name)
    document = PackedDocument(archive)
    for part in parts:
        file = archive.xml(part)
        _rename_language(file.root, options)
        namespace = file.root.tag[: file.root.tag.index("}") + 1]
        document.add(part, file)
        document.add_paragraphs(file.root.iter(namespace + "p"), DocxParagraphs(namespace))
    styles = parts[0].rpartition("/")[0] + "/styles.xml"
    if styles in archive.names:
        file = archive.xml(styles)
        _rename_language(file.root, options)
        document.add(styles, file)
    return document


def _parts(archive: Archive, name: str) -> list[str]:
    """The files with paragraphs."""
    if _TYPES not in archive.names:
        raise UserError(f"{name}: not a Word document; save it again as .docx")
    found: dict[str, list[str]] = {}
    for override in archive.xml(_TYPES).root.iter("{*}Override"):
        kind = (override.get("ContentType") or "").rpartition(".wordprocessingml.")[2]
        found.setdefault(kind, []).append((override.get("PartName") or "").lstrip("/"))
    if len(found.get(_MAIN, [])) != 1:
        raise UserError(f"{name}: not a Word document, or one with macros or a template; save it again as .docx")
    return [part for kind in _PARTS for part in sorted(found.get(kind, []))]


def _rename_language(root: "etree._Element", options: Options) -> None:
    from app.formats.languages import country

    for element in root.iter("{*}lang"):
        for key, value in element.attrib.items():
            if key.endswith("}val") and primary(value) == options.source:
                element.set(key, f"{options.target}-{country(options.target)}")


class DocxParagraphs:
    """Reads and writes paragraphs, see `Paragraphs`.

    Args:
        namespace: the namespace of WordprocessingML elements, in braces.
    """

    def __init__(self, namespace: str):
        self._w = namespace

    def read(self, paragraph: "etree._Element") -> list[Token]:
        """See `Paragraphs.read`."""
        numbers = Numbers()
        return list(_formatted(self._raw(paragraph, numbers), numbers))

    def write(self, paragraph: "etree._Element", tokens: Sequence[Token]) -> None:
        """See `Paragraphs.write`."""
        base = _base(self._raw(paragraph, Numbers()))
        for child in list(paragraph):
            if child.tag != self._w + "pPr":
                paragraph.remove(child)
        around, formats = [paragraph], [base]
        for token in tokens:
            if isinstance(token, str):
                around[-1].append(self._text_run(token, formats[-1]))
            elif isinstance(token.content, _Format):
                formats.append(token.content.format)
            elif token.content is _Format:
                formats.pop()
            elif isinstance(token.content, list):
                around[-1].extend([self._placed(item) for item in token.content])
            elif token.content is None:
                around.pop()
            else:
                around[-1].append(token.content)
                around.append(self._inside(token.content))

    def _raw(self, paragraph: "etree._Element", numbers: Numbers) -> list[_Raw]:
        tokens = _with_fields(list(self._inner(paragraph, numbers)), numbers)
        return _with_spaces(with_pairs(tokens, numbers))

    def _text_run(self, text: str, format: Any) -> "etree._Element":
        run = self._new_run(format)
        element = run.makeelement(self._w + "t", {_SPACE: "preserve"})
        element.text = text
        run.append(element)
        return run

    def _placed(self, item: Any) -> "etree._Element":
        """An element to put back, without the text after it."""
        element = item.child if isinstance(item, _Run) else item
        element.tail = None
        if not isinstance(item, _Run):
            return element
        run = self._new_run(item.format)
        run.append(element)
        return run

    def _new_run(self, format: Any) -> "etree._Element":
        from lxml import etree

        run = etree.Element(self._w + "r", nsmap={"w": self._w[1:-1]})
        if format is not None:
            run.append(copy.deepcopy(format))
        return run

    def _name(self, element: "etree._Element") -> str:
        tag = element.tag
        return tag.removeprefix(self._w) if isinstance(tag, str) and tag.startswith(self._w) else ""

    def _inside(self, shell: "etree._Element") -> "etree._Element":
        """The element that holds the content of an element around runs."""
        found = shell.find(self._w + "sdtContent")
        return shell if found is None else found

    def _inner(self, element: "etree._Element", numbers: Numbers) -> Iterator[_Raw]:
        for child in element:
            name = self._name(child)
            if name == "r":
                yield from self._run(child, numbers)
            elif name in _AROUND and not (name == "sdt" and self._inside(child) is child):
                shell = copy.deepcopy(child)
                inside = self._inside(shell)
                for own in list(inside):
                    if not self._name(own).endswith("Pr"):
                        inside.remove(own)
                opening, closing = numbers.around(shell)
                yield opening
                yield from self._inner(self._inside(child), numbers)
                yield closing
            elif name in _MARKS:
                kind = name.removesuffix("Start").removesuffix("End")
                pair = (kind, child.get(self._w + "id")) if kind in _RANGES else None
                yield Mark([child], before=name.endswith("Start"), pair=pair)
            elif name not in _DROPPED and not name.endswith("Pr"):
                yield numbers.alone([child])

    def _run(self, run: "etree._Element", numbers: Numbers) -> Iterator[_Raw]:
        format = run.find(self._w + "rPr")
        for child in run:
            name = self._name(child)
            if name in ("t", "noBreakHyphen"):
                yield _Text("\u2011" if name == "noBreakHyphen" else child.text or "", format, child)
            elif name in _BREAKS:
                yield Break([_Run(child, format)])
            elif name == "fldChar":
                yield _Field(child.get(self._w + "fldCharType") or "", _Run(child, format))
            elif name == "instrText":
                yield _Field("", _Run(child, format))
            elif name in _MARKS:
                yield Mark([_Run(child, format)], before=False)
            elif name not in _DROPPED:
                yield numbers.alone([_Run(child, format)])


def _with_fields(tokens: Sequence[_Raw], numbers: Numbers) -> list[_Raw]:
    """Turns fields into pairs of tags around their results; the opening tag holds the whole instruction.

    If an end of a field is in another paragraph or in another element, the parts of the field become breaks: they stay
    where they are.
    """
    fields, instructions = _fields(tokens)
    inside = owners(tokens)
    found: list[_Raw] = []
    closings: dict[int, Tag] = {}
    place = 0
    while place < len(tokens):
        separator, end = fields.get(place, (place, place))
        head = _contents(tokens[place : separator + 1]) if place < end else None
        if place in closings:
            found.append(closings[place])
        elif head is not None and inside[place] == inside[end]:
            opening, closings[end] = numbers.around(head, _contents(tokens[end : end + 1]))
            found.append(opening)
            place = separator
        elif place in instructions or isinstance(tokens[place], _Field):
            contents = _contents(tokens[place : place + 1])
            found.append(tokens[place] if contents is None else Break(contents))
        else:
            found.append(tokens[place])
        place += 1
    return found


def _fields(tokens: Sequence[_Raw]) -> tuple[dict[int, tuple[int, int]], set[int]]:
    """Finds the fields that are not inside another's instruction, and all places in instructions.

    Returns:
        By where a field begins: where its instruction ends, and where the field ends. Then the places in instructions.
    """
    fields: dict[int, tuple[int, int]] = {}
    instructions: set[int] = set()
    opened: list[tuple[int, int | None]] = []  # where fields begin, and where their instructions end
    unfinished = start = 0  # instructions that have not ended; where one begun before this paragraph has ended
    for place, token in enumerate(tokens):
        kind = token.kind if isinstance(token, _Field) else ""
        if kind == "begin":
            opened.append((place, None))
            unfinished += 1
        if unfinished:
            instructions.add(place)
        if kind == "separate" and not opened:
            start = place + 1
        elif kind == "separate" and opened[-1][1] is None:
            opened[-1] = (opened[-1][0], place)
            unfinished -= 1
        elif kind == "end" and opened:
            begin, separator = opened.pop()
            unfinished -= separator is None
            if not unfinished:
                fields[begin] = (place - 1 if separator is None else separator, place)
    return {begin: own for begin, own in fields.items() if begin >= start}, instructions | set(range(start))


def _contents(tokens: Iterable[_Raw]) -> list[Any] | None:
    """What to put back for tokens that stay as they are; None if an enclosing element begins or ends among them."""
    contents: list[Any] = []
    for token in tokens:
        if isinstance(token, _Text):
            contents.append(_Run(token.child, token.format))
        elif isinstance(token, _Field):
            contents.append(token.run)
        elif isinstance(token, str) or (isinstance(token, Tag) and not token.shown.endswith("/>")):
            return None
        else:
            contents += token.content
    return contents


def _with_spaces(tokens: Sequence[_Raw]) -> list[_Raw]:
    """White space gets the format of the text next to it."""
    found = list(tokens)
    for place, token in enumerate(found):
        if isinstance(token, _Text) and not token.text.strip():
            beside = [*found[max(place - 1, 0) : place], *found[place + 1 : place + 2]]
            format = next((one.format for one in beside if isinstance(one, _Text)), token.format)
            found[place] = token._replace(format=format)
    return found


def _formatted(tokens: Sequence[_Raw], numbers: Numbers) -> Iterator[Token]:
    """Joins texts of the same format; those that differ from most of the paragraph are put between tags."""
    base = _key(_base(tokens))
    keys: list[bytes | None] = []
    for token in tokens:
        # A mark takes no room in a text.
        last = keys[-1] if keys and isinstance(token, Mark) else None
        keys.append(_key(token.format) if isinstance(token, _Text) else last)
    for key, group in itertools.groupby(zip(keys, tokens, strict=True), lambda pair: pair[0]):
        own = [token for _, token in group]
        others = [token for token in own if not isinstance(token, _Text | _Field)]
        if key is None:
            yield from others
            continue
        texts = [token for token in own if isinstance(token, _Text)]
        text = "".join(token.text for token in texts)
        if key == base or not text:
            yield text
        else:
            opening, closing = numbers.around(_Format(texts[0].format), _Format)
            yield from (opening, text, closing)
        yield from others


def _base(tokens: Iterable[_Raw]) -> Any:
    """The format of most of a paragraph."""
    counts: Counter[bytes] = Counter()
    formats: dict[bytes, Any] = {}
    for text in (token for token in tokens if isinstance(token, _Text)):
        counts[_key(text.format)] += len(text.text)
        formats.setdefault(_key(text.format), text.format)
    return formats[counts.most_common(1)[0][0]] if counts else None


def _key(format: Any) -> bytes:
    """A key for a format, equal for formats that look the same."""
    from lxml import etree

    if format is None:
        return b""
    shown = [etree.tostring(child) for child in format if etree.QName(child).localname not in _INVISIBLE]
    return b"".join(sorted(shown))
