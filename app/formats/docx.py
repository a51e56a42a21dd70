"""Word documents, .docx: all paragraphs, in tables, notes, text boxes, headers and footers too.

Comments, deleted text, charts and pictures are left alone. Neighbouring runs of the same format are one text.
"""

import copy
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from app.formats.base import Options
from app.formats.paragraphs import Break, Mark, Numbers, PackedDocument, Token
from app.formats.safety import Archive
from app.translation.pieces import Tag
from data.bitexts.languages import primary
from data.errors import UserError

if TYPE_CHECKING:
    from lxml import etree

_TYPES = "[Content_Types].xml"
_MAIN = "document.main+xml"
# What else has paragraphs, in reading order.
_PARTS = (_MAIN, "footnotes+xml", "endnotes+xml", "header+xml", "footer+xml")
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"
# Elements around runs, whose texts belong to the sentence.
_AROUND = frozenset(("hyperlink", "ins", "moveTo", "smartTag", "customXml", "fldSimple", "dir", "bdo", "sdt"))
_BREAKS = frozenset(("tab", "ptab", "br", "cr"))
# What Word only notes for itself: where pages ended and what it thought of the spelling.
_DROPPED = frozenset(("lastRenderedPageBreak", "proofErr", "softHyphen", "rPr", "pPr"))
_MARKS = frozenset(f"{name}Range{side}" for name in ("comment", "moveFrom", "moveTo") for side in ("Start", "End")) | {
    "bookmarkStart",
    "bookmarkEnd",
    "permStart",
    "permEnd",
    "commentReference",
    "del",
    "moveFrom",
}
# Of a format: what says nothing about how the text looks.
_INVISIBLE = ("lang", "noProof", "rsid")


class _Text(NamedTuple):
    """A text of one format, an element `rPr` or None."""

    text: str
    format: Any


class _Field(NamedTuple):
    """A part of a field: "begin", "separate", "end", or "" for its instruction."""

    kind: str
    run: "_Run"


class _Format(NamedTuple):
    """The content of a tag that begins text of another format than most of the paragraph; the class itself ends it."""

    format: Any


class _Run(NamedTuple):
    """An element of a run, such as a picture, which gets a run of its own where it is put back."""

    child: Any
    format: Any


_Raw = Token | _Text | _Field


def read(content: bytes, options: Options) -> PackedDocument:
    """Reads a Word document.

    Raises:
        UserError: it is damaged, or no Word document.
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
        namespace: of the elements of WordprocessingML, in braces.
    """

    def __init__(self, namespace: str):
        self._w = namespace

    def read(self, paragraph: "etree._Element") -> list[Token]:
        """See `Paragraphs.read`."""
        numbers = Numbers()
        raw = _with_fields(list(self._inner(paragraph, numbers)), numbers)
        return list(_formatted(_with_spaces(raw), numbers))

    def write(self, paragraph: "etree._Element", tokens: Sequence[Token]) -> None:
        """See `Paragraphs.write`."""
        base = _base([token for token in self._inner(paragraph, Numbers()) if isinstance(token, _Text)])
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

    def _text_run(self, text: str, format: Any) -> "etree._Element":
        run = self._new_run(format)
        element = run.makeelement(self._w + "t", {_SPACE: "preserve"})
        element.text = text
        run.append(element)
        return run

    def _placed(self, item: Any) -> "etree._Element":
        """An element that is put back, without the text behind it."""
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
        """Where the content of an element around runs belongs."""
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
                yield Mark([child], before=name.endswith("Start"))
            elif name not in _DROPPED and not name.endswith("Pr"):
                yield numbers.alone([child])

    def _run(self, run: "etree._Element", numbers: Numbers) -> Iterator[_Raw]:
        format = run.find(self._w + "rPr")
        for child in run:
            name = self._name(child)
            if name in ("t", "noBreakHyphen"):
                yield _Text("\u2011" if name == "noBreakHyphen" else child.text or "", format)
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


def _with_fields(tokens: list[_Raw], numbers: Numbers) -> list[_Raw]:
    """Fields become pairs of tags around their results; one that does not end in this paragraph becomes marks."""
    found: list[_Raw] = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        whole = _field(tokens, place) if isinstance(token, _Field) and token.kind == "begin" else None
        if whole:
            separator, end = whole
            head = [one.run for one in tokens[place : separator + 1] if isinstance(one, _Field)]
            opening, closing = numbers.around(
                head, [one.run for one in tokens[end : end + 1] if isinstance(one, _Field)]
            )
            found += [opening, *_with_fields(tokens[separator + 1 : end], numbers), closing]
            place = end
        elif isinstance(token, _Field):
            found.append(Mark([token.run], before=token.kind != "end"))
        else:
            found.append(token)
        place += 1
    return found


def _field(tokens: Sequence[_Raw], start: int) -> tuple[int, int] | None:
    """Where a field that begins here has its separator, or ends its instruction, and where it ends."""
    depth, separator = 0, None
    for place in range(start, len(tokens)):
        token = tokens[place]
        kind = token.kind if isinstance(token, _Field) else None
        depth += {"begin": 1, "end": -1}.get(kind or "", 0)
        if kind == "separate" and depth == 1:
            separator = place
        if not depth:
            separator = place - 1 if separator is None else separator
            simple = all(isinstance(one, _Field) for one in tokens[start : separator + 1])
            inner = [one for one in tokens[start:place] if isinstance(one, Tag)]
            balanced = sum(tag.shown.startswith("</") for tag in inner) == sum(
                not tag.shown.startswith("</") and not tag.shown.endswith("/>") for tag in inner
            )
            return (separator, place) if simple and balanced else None
    return None


def _with_spaces(tokens: Sequence[_Raw]) -> list[_Raw]:
    """White space gets the format of the text beside it."""
    found = list(tokens)
    for place, token in enumerate(found):
        if isinstance(token, _Text) and not token.text.strip():
            beside = [*found[max(place - 1, 0) : place], *found[place + 1 : place + 2]]
            format = next((one.format for one in beside if isinstance(one, _Text)), token.format)
            found[place] = token._replace(format=format)
    return found


def _formatted(tokens: Sequence[_Raw], numbers: Numbers) -> Iterator[Token]:
    """Texts of the same format are one; those of another than most of the paragraph stand between tags."""
    base = _key(_base([token for token in tokens if isinstance(token, _Text)]))
    for key, group in itertools.groupby(tokens, lambda one: _key(one.format) if isinstance(one, _Text) else None):
        own = list(group)
        if key is None:
            yield from (token for token in own if not isinstance(token, _Text | _Field))
            continue
        texts = [token for token in own if isinstance(token, _Text)]
        text = "".join(token.text for token in texts)
        if key == base or not text:
            yield text
        else:
            opening, closing = numbers.around(_Format(texts[0].format), _Format)
            yield from (opening, text, closing)


def _base(texts: Sequence[_Text]) -> Any:
    """The format of most of a paragraph."""
    counts: Counter[bytes] = Counter()
    formats: dict[bytes, Any] = {}
    for text in texts:
        counts[_key(text.format)] += len(text.text)
        formats.setdefault(_key(text.format), text.format)
    return formats[counts.most_common(1)[0][0]] if counts else None


def _key(format: Any) -> bytes:
    """What a format looks like: equal for formats that look the same."""
    from lxml import etree

    if format is None:
        return b""
    shown = [etree.tostring(child) for child in format if etree.QName(child).localname not in _INVISIBLE]
    return b"".join(sorted(shown))
