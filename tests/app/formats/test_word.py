"""Word documents, in short: `{instruction|result}` is a field, `*bold*`, `<link>`, `[1 bookmark]1`, `(2 comment)2`."""

import re
import time
from xml.etree import ElementTree

import pytest

from tests.app.formats.samples import Capitals, docx, packed, translated, unpacked

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_SIGNS = re.compile(r"[{|}*<>]|[][()]\d+|\n|[^]{|}*<>[()\n]+")
_PARTS = {"{": "begin", "|": "separate", "}": "end"}
_RANGES = {"[": "bookmarkStart", "]": "bookmarkEnd", "(": "commentRangeStart", ")": "commentRangeEnd"}


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
        elif sign[0] in _RANGES:
            yield f'<w:{_RANGES[sign[0]]} w:id="{sign[1:]}"/>'
        elif sign == "\n":
            yield "<w:r><w:br/></w:r>"
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
    elif name in _RANGES.values():
        yield next(sign for sign, kind in _RANGES.items() if kind == name) + element.get(_W + "id")
    elif name == "br":
        yield "\n"
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


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize(
    "before, after",
    [
        ("[1Figure {SEQ|1}]1: Overview of it", "[1FIGURE {SEQ|1}]1: OVERVIEW OF IT"),
        ("[1[2A heading]2]1", "[1[2A HEADING]2]1"),
        ("One [1two *three]1 four*", "ONE [1TWO *THREE*]1* FOUR*"),
        ("One [1two [2three]1 four]2.", "ONE [1TWO [2THREE]1 FOUR]2."),
        ("One [1two <three]1 four>.", "ONE [1TWO <THREE]1 FOUR>."),
        ("One [1two\nthree]1 four.", "ONE [1TWO\nTHREE]1 FOUR."),
        ("One t[1]1wo", "[1]1ONE TWO"),
        ("One two]1", "ONE TWO]1"),
        ("One (2two)2 three", "(2ONE TWO THREE)2"),
    ],
)
def test_bookmarks_stay_around_their_text(before, after, copies):
    assert in_capitals(before, copies=copies) == [after]


def test_marks_do_not_cut_words():
    model = Capitals()
    assert short(translated("a.docx", word("Hel[1]1lo (2to)2 *bo[3]3ld* you"), model))
    assert model.seen == ["Hello to", "bold", "you", "A note", "At the top"]


@pytest.mark.parametrize(
    "hostile",
    [
        "{" * 20_000,
        "{X|" * 6_000,
        "{X|" * 3_000 + "a" + "}" * 3_000,
        "|" * 20_000,
        "}" * 20_000,
        "".join(f"[{n}a" for n in range(2_000)) + "".join(f"]{n}" for n in range(2_000)),
    ],
)
def test_paragraphs_are_read_in_linear_time(hostile):
    content, began = word("go", hostile), time.process_time()
    assert translated("a.docx", content)
    assert time.process_time() - began < 4
