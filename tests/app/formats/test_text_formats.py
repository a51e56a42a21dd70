"""Formats that are text: what is translated in them, and that all else stays to the letter."""

import csv
import html
import io
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from app.formats.base import Options
from app.formats.opening import ENDINGS, open_document
from data.errors import UserError
from tests.app.formats.samples import Capitals, translated, unchanged

MARKDOWN = """---
title: left alone
---
# A *big* heading #

Some **bold** text and `code`. A [link](http://x.y "t") and
a line that goes on.
Another sentence. See [ref] or [ref][] or [some][ref]; 5 * 3, snake_case, \\*none\\* <br> x

> quoted text\\
> goes on

* item one
  goes on
* [ ] task **with bold words**

1. number

| head | b \\| c |
|---|:--|
| `x` cell | **z** |

    code block

```python
print("hello")
```

Title
=====
<div class="x">html <b>text</b></div>

![an image](a.png) <https://example.com>

[ref]: http://example.com
"""
MARKDOWN_IN_CAPITALS = """---
title: left alone
---
# A *BIG* HEADING #

SOME **BOLD** TEXT AND `code`. A [LINK](http://x.y "t") AND A LINE THAT GOES ON.
ANOTHER SENTENCE. SEE [REF][ref] OR [REF][ref] OR [SOME][ref]; 5 * 3, SNAKE_CASE, \\*NONE\\* <br> X

> QUOTED TEXT\\
> GOES ON

* ITEM ONE GOES ON
* [ ] TASK **WITH BOLD WORDS**

1. NUMBER

| HEAD | B \\| C |
|---|:--|
| `x` CELL | **Z** |

    code block

```python
print("hello")
```

TITLE
=====
<div class="x">HTML <b>TEXT</b></div>

![AN IMAGE](a.png) <https://example.com>

[ref]: http://example.com
"""
SUBTITLES = """1
00:00:01,000 --> 00:00:02,000
Hello <i>my dear
friend</i>, how are you?

2
00:00:03,000 --> 00:00:04,000
- Fine.
- Good!

3
00:00:05,000 --> 00:00:06,000
{\\an8}♪♪
"""
WEBVTT = """WEBVTT - Title

NOTE a comment
goes on

STYLE
::cue {}

intro
00:01.000 --> 00:02.000 align:start
<v Mary Ann>Hello world
"""
MESSAGES = """# left alone
en:
  a: Hello world # left alone
  b: "Quoted \\n text"
  c: 'it''s'
  d: |
    Line one
    line two

  e: >-
    Folded text
    goes on
  f: &x anchored
  g: *x
  n: 12
  y: yes
  u: https://example.com/a
  l:
    - one: deep
"""


def test_markdown():
    found = translated("a.md", MARKDOWN.encode(), Capitals(copies=True)).decode()
    assert found == MARKDOWN_IN_CAPITALS
    windows = translated("a.md", MARKDOWN.replace("\n", "\r\n").encode(), Capitals(copies=True)).decode()
    assert windows == MARKDOWN_IN_CAPITALS.replace("\n", "\r\n")


@pytest.mark.parametrize(
    "line",
    ["[!NOTE]", "[!tip]- An own title", "::: warning", ":::", '!!! note "Own"', "??? info", '=== "Tab"', "{: .class }",
     "{% include foo.html %}", '{{< figure src="a.png" >}}', "{% raw %}{{ a }} {% endraw %}"],
)  # fmt: skip
@pytest.mark.parametrize("before", ["", "> ", "    "])
def test_lines_for_other_programs_stay_in_markdown(line, before):
    text = f"One two\n{before}{line}\n{before}some words\n{before}go on.\n{before}{line}\n"
    expected = f"ONE TWO\n{before}{line}\n{before}SOME WORDS GO ON.\n{before}{line}\n"
    assert translated("a.md", text.encode(), Capitals(copies=True)).decode() == expected


def test_signs_of_other_programs_within_a_line_are_text():
    text = "Use {{ name }} here\nand ::: there.\n[![a badge](x.svg)](y)\n"
    expected = "USE {{ NAME }} HERE AND ::: THERE.\n[![A BADGE](x.svg)](y)\n"
    assert translated("a.md", text.encode(), Capitals(copies=True)).decode() == expected


def kinds(text: str) -> list[str]:
    """The kinds of all blocks, and of what is in them but for text."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    inner = [child.type for token in tokens for child in token.children or []]
    return [token.type for token in tokens] + [one for one in inner if one not in ("text", "softbreak")]


WORDS = [
    "a",
    "b c",
    " *a* ",
    " **b** ",
    " _c_ ",
    "snake_case",
    "5 * 3",
    " `d` ",
    "[e](x)",
    "![f](y)",
    "<b>",
    "</b>",
    "\\*",
]
WORDS += ["&amp;", "|", "\n", "\n\n", "# ", "> ", "- ", "1. ", "  ", "    ", "---", "é.", "!", " [g] ", " ***h*** "]


@given(st.lists(st.sampled_from(WORDS), max_size=12).map("".join))
def test_markdown_keeps_its_blocks_and_its_emphasis(text):
    found = unchanged("a.md", text.encode()).decode()
    assert kinds(found) == kinds(text)


@pytest.mark.parametrize(
    "text", ["1. x", "- x", "# x", "> x", "a *b* c", "[a](b)", "<b>", "```", "a | b", "&lt;", "___"]
)
def test_a_translation_brings_no_markup_into_markdown(text):
    document = open_document(b"some words", Options("a.md"))
    found = document.write([(text,)]).decode()
    html = MarkdownIt("commonmark").render(found)
    assert html.startswith("<p>") and html.count("<") == 2, found


def test_emphasis_stays_emphasis_where_a_translation_moves_white_space():
    document = open_document(b"some **bold** words", Options("a.md"))
    opening, closing = document.pieces[0].tags
    assert document.write([("x", opening, " y ", closing, "z")]) == b"x **y** z"


def test_web_pages():
    page = (
        '<!DOCTYPE html>\n<html lang="en-US"><head><title>Hello</title><style>p {}</style></head><body class="en">'
        '<p>One <b>two</b> &amp; three<br>four</p><pre>left alone</pre><img alt="x"><p>12</p></body></html>'
    )
    expected = (
        '<!DOCTYPE html>\n<html lang="de-US"><head><title>HELLO</title><style>p {}</style></head><body class="en">'
        '<p>ONE <b>TWO</b> &amp; THREE<br>FOUR</p><pre>left alone</pre><img alt="x"><p>12</p></body></html>'
    )
    for copies in (False, True):
        assert translated("a.html", page.encode(), Capitals(copies)).decode() == expected
    old = b'<meta charset="iso-8859-1"><p>caf\xe9 \x26euro;'
    assert translated("a.htm", old) == b'<meta charset="iso-8859-1"><p>CAF\xc9 &#8364;'


def test_attributes_with_signs_of_tags_are_left_alone():
    page = """<html x-data="{ a: 1 > 0 }" lang="en"><p>Some <b title='<i>no</i>'>words</b></p>"""
    expected = """<html x-data="{ a: 1 > 0 }" lang="de"><p>SOME <b title='<i>no</i>'>WORDS</b></p>"""
    for copies in (False, True):
        assert translated("a.html", page.encode(), Capitals(copies)).decode() == expected
        found = translated("a.md", b"Go <a x=\"a > b\" y='<i>no</i>'>on</a>", Capitals(copies))
        assert found == b"GO <a x=\"a > b\" y='<i>no</i>'>ON</a>"


def test_subtitles():
    found = translated("a.srt", SUBTITLES.replace("\n", "\r\n").encode(), Capitals(copies=True)).decode()
    expected = SUBTITLES.replace(
        "Hello <i>my dear\nfriend</i>, how are you?", "HELLO <i>MY DEAR\nFRIEND</i>, HOW ARE YOU?"
    )
    expected = expected.replace("Fine.", "FINE.").replace("Good!", "GOOD!")
    assert found == expected.replace("\n", "\r\n")
    found = translated("a.vtt", WEBVTT.encode()).decode()
    assert found == WEBVTT.replace("Hello world", "HELLO WORLD")


def test_subtitles_may_follow_each_other_without_an_empty_line():
    for newline in ("\n", "\r\n"):
        text = "1\n00:00:01,000 --> 00:00:02,000\nHello.\n2\n00:00:03,000 --> 00:00:04,000\n\n"
        text += "WEBVTT\n\n00:01.000 --> 00:02.000\nGood\nday 7.\n00:02.000 --> 00:03.000\nWorld.\n"
        text = text.replace("\n", newline)
        expected = text
        for word in ("Hello", "Good", "day", "World"):
            expected = expected.replace(word, word.upper())
        assert translated("a.srt", text.encode()).decode() == expected


@pytest.mark.parametrize("newline", ["\r", "\r\n", "\n"])
def test_markdown_keeps_its_line_ends(newline):
    text = "# One\n\nTwo words.\n\n| a | b |\n|---|---|\n| c | d |\n\nThree.\n".replace("\n", newline)
    assert translated("a.md", text.encode()).decode() == text.upper()
    assert translated("a.md", b"One.\rTwo.\n\nThree.\n") == b"ONE.\nTWO.\n\nTHREE.\n"


def test_what_looks_like_an_escaped_sign_stays_what_it_was():
    page = b"<p>Write <b>exactly</b> &amp;lt; here, and &lt; there.</p>"
    for copies in (False, True):
        found = translated("a.html", page, Capitals(copies)).decode()
        assert html.unescape(found).replace("&LT;", "&lt;") == "<p>WRITE <b>EXACTLY</b> &lt; HERE, AND < THERE.</p>"


def test_catalogues_in_yaml():
    found = translated("a.yml", MESSAGES.encode()).decode()
    lines = found.split("\n")
    assert lines[:5] == [
        "# left alone",
        "de:",
        "  a: HELLO WORLD # left alone",
        '  b: "QUOTED \\n TEXT"',
        "  c: 'IT''S'",
    ]
    content = yaml.safe_load(found)["de"]
    assert content == {
        "a": "HELLO WORLD",
        "b": "QUOTED \n TEXT",
        "c": "IT'S",
        "d": "LINE ONE\nLINE TWO\n",
        "e": "FOLDED TEXT GOES ON",
        "f": "ANCHORED",
        "g": "ANCHORED",
        "n": 12,
        "y": True,
        "u": "https://example.com/a",
        "l": [{"one": "DEEP"}],
    }


FOLDED = """a: >
  Steps:
    - one

    - two
  Done.
b: >-
  Some text
  goes on.

  And on.


  The end.
c: |
  Two
  lines.
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_blocks_of_yaml_read_back_as_what_was_translated(newline):
    text = FOLDED.replace("\n", newline).encode()
    found = translated("a.yaml", text)
    wanted = {key: value.upper() for key, value in yaml.safe_load(text).items()}
    assert {key: " ".join(value.split()) for key, value in yaml.safe_load(found).items()} == {
        key: " ".join(value.split()) for key, value in wanted.items()
    }
    assert yaml.safe_load(unchanged("a.yaml", text)) == yaml.safe_load(text)
    assert found.count(b"\n") == found.count(newline.encode())


@given(st.text(st.sampled_from("ab: #'\"\\{}[]&*!|>%@`-,?\n\té1~=")).map(lambda text: "x" + text + "y"))
def test_any_translation_can_be_written_into_yaml_and_json(text):
    for source in ("k: some words\nl: 1", "k: 'some words'\nl: 1", 'k: "some words"\nl: 1', "k: |\n  some words\nl: 1"):
        document = open_document(source.encode(), Options("a.yaml"))
        found = yaml.safe_load(document.write([(text,)]))
        assert found["l"] == 1 and found["k"].rstrip("\n") == text.rstrip("\n")
    document = open_document(b'{"k": "some words", "l": 1}', Options("a.json"))
    assert json.loads(document.write([(text,)])) == {"k": text, "l": 1}


def test_catalogues_in_json():
    catalogue = (
        b'{"a": "Hello \\u00e9",\n  "@a": {"about": "no"}, "b": ["x", {"c": "Two\\nlines"}], "n": 1, "u": "/a/b"}'
    )
    expected = (
        catalogue.replace(b"Hello \\u00e9", b"HELLO \\u00c9")
        .replace(b'"x"', b'"X"')
        .replace(b"Two\\nlines", b"TWO\\nLINES")
    )
    assert translated("a.json", catalogue) == expected


def test_tables():
    table = b'id;text;"note"\n1;"Hello; ""you""";x\n2;World;y\n'
    assert translated("a.csv", table, columns=["text", "note"]) == b'id;text;"note"\n1;"HELLO; ""YOU""";X\n2;WORLD;Y\n'
    assert translated("a.tsv", b'1\tHello\r\n2\tsay "x"\r\n', columns=["2"]) == b'1\tHELLO\r\n2\tSAY "X"\r\n'
    for wrong in ([], ["none"], ["0"], ["9"]):
        with pytest.raises(UserError, match=r"a\.csv: .*column|text"):
            translated("a.csv", table, columns=wrong)
    with pytest.raises(UserError, match="line 2: a quote"):
        translated("a.csv", b'a,b\n1,"x\n', columns=["b"])


CELLS = st.lists(st.lists(st.text(st.sampled_from('ab,"\n ;é')), min_size=2, max_size=2), min_size=1, max_size=4)


@given(CELLS)
def test_tables_keep_their_cells(rows):
    file = io.StringIO()
    csv.writer(file).writerows([["x", "y"], *rows])
    found = translated("a.csv", file.getvalue().encode(), columns=["y"]) if any(
        any(map(str.isalpha, row[1])) for row in rows
    ) else file.getvalue().encode()  # fmt: skip
    expected = [["x", "y"], *([one, other.upper()] for one, other in rows)]
    assert list(csv.reader(io.StringIO(found.decode(), newline=""))) == expected


def test_text_keeps_its_lines():
    text = "One.  Two!\r\n\r\n  Three\n12\n"
    assert translated("a.txt", text.encode()) == text.upper().encode()
    assert translated("a.txt", b"\xff\xfe" + "Zw\u00f6lf".encode("utf-16-le")).decode("utf-16") == "ZWÖLF"


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.pdf", b"%PDF", r"end in \.pdf cannot be translated; these can: \.txt"),
        ("a", b"x", "without an ending"),
        ("a.txt", b"x\n\xff", "line 2: not valid UTF-8"),
        ("a.md", b"a\0b", "binary"),
        ("a.srt", b"Hello", "no times"),
        ("a.json", b'{"a": }', "not valid JSON"),
        ("a.yaml", b"a: [", "not valid YAML"),
        ("a.html", b"<p>12</p>", "no text to translate"),
        ("a.docx", b"PK\x03\x04", "not a zip archive"),
        ("a.xlf", b"<a/>", "expected <xliff>"),
        ("a.tmx", b"<a/>", "expected <tmx>"),
    ],
)
def test_what_cannot_be_translated_is_refused_in_one_line(name, content, message):
    with pytest.raises(UserError, match=message) as caught:
        translated(name, content)
    assert "\n" not in str(caught.value) and len(ENDINGS) > 15
