"""Word documents, written in short: `{instruction|result}` is a field, `*bold*`, `<link>`."""

import re
import time
from xml.etree import ElementTree

import pytest

from tests.app.formats.samples import Capitals, docx, packed, translated, unpacked

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_SIGNS = re.compile(r"[{|}*<>]|[^{|}*<>]+")
_PARTS = {"{": "begin", "|": "separate", "}": "end"}


def word(*paragraphs: str) -> bytes:
    """A document of these paragraphs."""
    own = unpacked(docx("BODY"))
    body = "".join(f"<w:p>{''.join(_xml(text))}</w:p>" for text in paragraphs)
    own["word/document.xml"] = own["word/document.xml"].replace(b"<w:p><w:r><w:t>BODY</w:t></w:r></w:p>", body.encode())
    return packed(own)


def _xml(text: str):
    bold, fields = False, []
    for sign in _SIGNS.findall(text):
        if sign in _PARTS:
            yield f'<w:r><w:fldChar w:fldCharType="{_PARTS[sign]}"/></w:r>'
            fields = [*fields, True] if sign == "{" else fields[:-1] + [False] * (sign == "|")
        elif sign == "*":
            bold = not bold
        elif sign in "<>":
            yield '<w:hyperlink w:anchor="a">' if sign == "<" else "</w:hyperlink>"
        else:
            kind = "instrText" if fields and fields[-1] else "t"
            format = "<w:rPr><w:b/></w:rPr>" * bold
            yield f'<w:r>{format}<w:{kind} xml:space="preserve">{sign}</w:{kind}></w:r>'


def short(content: bytes) -> list[str]:
    """The paragraphs of a document."""
    body = ElementTree.fromstring(unpacked(content)["word/document.xml"])
    return ["".join(_signs(paragraph)) for paragraph in body.iter(_W + "p")]


def _signs(element):
    name = element.tag.removeprefix(_W)
    if name == "fldChar":
        yield next(sign for sign, kind in _PARTS.items() if kind == element.get(_W + "fldCharType"))
    around = "<>" if name == "hyperlink" else "**" if element.find(f"{_W}rPr/{_W}b") is not None else ("", "")
    yield around[0]
    yield element.text or ""
    for child in element:
        yield from _signs(child)
    yield around[1]


def in_capitals(*paragraphs: str, copies: bool = False) -> list[str]:
    """The paragraphs after their translation into capitals."""
    return short(translated("a.docx", word(*paragraphs), Capitals(copies)))


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize(
    "before, after",
    [
        ("See {REF a|this} now.", "SEE {REF a|THIS} NOW."),
        ("Dear {IF {MERGEFIELD Sex|m} = m Mr|Mr} customer.", "DEAR {IF {MERGEFIELD Sex|m} = m Mr|MR} CUSTOMER."),
        ("Page {= {PAGE} - 1} is *last*.", "PAGE {= {PAGE} - 1} IS *LAST*."),
        ("A {X|b {Y|c} d} e", "A {X|B {Y|C} D} E"),
        ("A {X <{Y|c}> z|d} e", "A {X <{Y|c}> z|D} E"),
        ("A {X|b <c} d> e", "A {X|B <C} D> E"),
        ("A <b {X|c> d} e", "A <B {X|C> D} E"),
        ("A {X|", "A {X|"),
        ("x {X {Y|a} b", "X {X {Y|a} b"),
        ("{Y|a} b| c} d", "{Y|a} b| C} D"),
        ("A {IF {X|*all of this is bold*} = 1|c} d", "A {IF {X|*all of this is bold*} = 1|C} D"),
    ],
)
def test_fields_stay_whole(before, after, copies):
    assert in_capitals(before, copies=copies) == [after]


def test_a_field_may_go_on_in_the_next_paragraph():
    assert in_capitals("At {TOC|the top", "the end} of it") == ["AT {TOC|THE TOP", "THE END} OF IT"]


@pytest.mark.parametrize(
    "hostile", ["{" * 20_000, "{X|" * 6_000, "{X|" * 3_000 + "a" + "}" * 3_000, "|" * 20_000, "}" * 20_000]
)
def test_fields_are_read_in_linear_time(hostile):
    content, began = word("go", hostile), time.process_time()
    assert translated("a.docx", content)
    assert time.process_time() - began < 4
