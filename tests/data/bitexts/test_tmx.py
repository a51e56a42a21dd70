"""TMX: variants, tags, encodings, damage, and how much memory a large file takes."""

import gzip
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.bitexts.opening import open_bitext
from data.errors import UserError
from data.pairs import Pair
from data.warehouse.exporting import export

UNIT = b'<tu><tuv xml:lang="en"><seg>%s</seg></tuv><tuv xml:lang="de"><seg>Hund</seg></tuv></tu>'
DOG = b'<tmx version="1.4"><body>' + UNIT % b"dog" + b"</body></tmx>"


def read(folder, content, name="memory.tmx", **languages):
    """The pairs of a TMX file."""
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return list(open_bitext(path, **languages).pairs())


def units(*units):
    """A file of units, each given as variants `(attributes, segment)`."""
    body = "".join(
        "<tu>" + "".join(f"<tuv {attributes}><seg>{text}</seg></tuv>" for attributes, text in variants) + "</tu>\n"
        for variants in units
    )
    return f'<tmx version="1.4"><header srclang="*all*"/><body>{body}</body></tmx>'.encode()


def test_codes_of_languages_may_be_mixed(tmp_path):
    codes = [("EN", "de_DE"), ("en-US", "DE"), ("En_gb", "de-Latn-AT"), ("en", "de")]
    content = units(*[[(f'xml:lang="{en}"', f"dog {en}"), (f'lang="{de}"', f"Hund {de}")] for en, de in codes])
    assert read(tmp_path, content) == [Pair(f"dog {en}", f"Hund {de}") for en, de in codes]


def test_either_direction_and_any_two_languages(tmp_path):
    content = units([('xml:lang="en"', "dog"), ('xml:lang="de"', "Hund"), ('xml:lang="fr-CA"', "chien")])
    assert read(tmp_path, content, source="de", target="en") == [Pair("Hund", "dog")]
    assert read(tmp_path, content, source="fr", target="de-AT") == [Pair("chien", "Hund")]


def test_of_several_variants_the_last_changed_one_counts(tmp_path):
    old, new = 'changedate="20190301T000000Z"', 'changedate="20230501T000000Z"'
    created = 'creationdate="20210101T000000Z"'
    content = units(
        [('xml:lang="en"', "a"), (f'xml:lang="de-DE" {old}', "alt"), (f'xml:lang="de-AT" {new}', "neu")],
        [('xml:lang="en"', "b"), (f'xml:lang="de" {new}', "neu"), (f'xml:lang="de" {old}', "alt")],
        [('xml:lang="en"', "c"), (f'xml:lang="de" {old} {created}', "alt"), (f'xml:lang="de" {created}', "neu")],
        [('xml:lang="en"', "d"), ('xml:lang="de"', "erste"), ('xml:lang="de"', "zweite")],
        [('xml:lang="en"', "e"), (f'xml:lang="de" {old}', "alt"), (f'xml:lang="de" {new}', " ")],
        [('xml:lang="en"', "f"), ('xml:lang="de"', ""), ('xml:lang="de"', "voll")],
    )
    expected = [("a", "neu"), ("b", "neu"), ("c", "neu"), ("d", "erste"), ("e", "alt"), ("f", "voll")]
    assert read(tmp_path, content) == [Pair(*pair) for pair in expected]


def test_units_without_text_in_both_languages_are_left_out(tmp_path):
    content = units(
        [('xml:lang="en"', "alone")],
        [('xml:lang="en"', "empty"), ('xml:lang="de"', " \n")],
        [('xml:lang="fr"', "oui"), ('xml:lang="de"', "ja")],
        [('xml:lang="en"', "yes"), ('xml:lang="de"', "ja")],
    )
    no_segment = b'<tu><tuv xml:lang="en"><seg>x</seg></tuv><tuv xml:lang="de"/></tu><tu/></body>'
    assert read(tmp_path, content.replace(b"</body>", no_segment)) == [Pair("yes", "ja")]


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        ("Press <hi type='x'>the <hi>red</hi></hi> key", "Press the red key"),
        ("<bpt i='1'>&lt;b&gt;</bpt>Save<ept i='1'>&lt;/b&gt;</ept>d", "Saved"),
        ("a <it pos='begin'>[i]</it>b<ut>{\\i}</ut>", "a b"),
        ("See<ph>&lt;fn&gt;<sub>a <hi>foot</hi>note</sub>&lt;/fn&gt;</ph> here", "See here"),
        ("one<ph type='lb'/>two", "one two"),
        ("one<ph type='lb'>&lt;br&gt;</ph>two", "one two"),
        ("one\n    two\r\nthree", "one     two three"),
        ("a &lt; b &amp;amp; &#x2028;c &#9731;", "a < b &amp;  c ☃"),
        ("<![CDATA[<b>x</b>]]>", "<b>x</b>"),
        ("<!-- note -->x<?pi y?>", "x"),
    ],
)
def test_segments(tmp_path, segment, text):
    assert read(tmp_path, DOG.replace(b"dog", segment.encode())) == [Pair(text, "Hund")]


def test_documents_and_what_stands_around_units(tmp_path):
    head = b'<header><note>EN</note><prop type="x-document">none</prop><ude name="x"><map code="#xF8"/></ude></header>'
    unit = UNIT.replace(b"<tu>", b'<tu><note>n</note><prop type="x-document">manual</prop>') % b"dog"
    content = b'<!DOCTYPE tmx SYSTEM "tmx14.dtd"><tmx version="1.4">' + head + b"<body>" + unit + b"</body></tmx>"
    assert read(tmp_path, content) == [Pair("dog", "Hund", "manual")]


def test_a_namespace(tmp_path):
    assert read(tmp_path, DOG.replace(b"<tmx ", b'<tmx xmlns="http://www.lisa.org/tmx14" ')) == [Pair("dog", "Hund")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "iso-8859-1", "windows-1252"])
def test_encodings(tmp_path, encoding):
    content = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>' + DOG.decode().replace("dog", "dög")
    assert read(tmp_path, content.encode(encoding)) == [Pair("dög", "Hund")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'<?xml version="1.0" encoding="klingon"?>' + DOG, "cannot be decoded .*klingon|not well-formed.*encoding"),
        (b'<?xml version="1.0" encoding="big5"?>' + DOG, "cannot be decoded .*convert the file to UTF-8"),
        (DOG.replace(b"dog", b"\n\nd\xf6g"), r", line 3, column 2: not well-formed XML .*again as TMX in UTF-8"),
        (DOG.replace(b"dog", b"&nbsp;"), r"line 1, column \d+: not well-formed XML \(undefined entity"),
        (DOG.replace(b"dog", b"<hi>" * 5000 + b"dog" + b"</hi>" * 5000), "more than 100 nested elements"),
        (b"<tmx>" + b"<a>" * 200, "line 1: more than 100 nested elements"),
        (UNIT % b"dog", "not in TMX format: its outermost element is <tu>, expected <tmx>"),
        (b'<!DOCTYPE tmx [<!ENTITY d "dog">]>' + DOG.replace(b"dog", b"&d;"), "declares entities"),
        (
            b'<!DOCTYPE tmx [<!ENTITY d SYSTEM "file:///etc/x">]>' + DOG.replace(b"dog", b"&d;"),
            "declares entities",
        ),
        (DOG.replace(b"dog", b"<a/>" * 200_000), "line 1: more than 100,000 elements in one unit"),
        (b"\n\n" + DOG.replace(b"dog", b"x" * (2 << 20)), "near line 3: a segment of 2,097,152 characters"),
        (DOG[:-10], "not well-formed XML .*export the file again"),
        (
            DOG.replace(b'"de"', b'"nl-NL"'),
            r"no unit has both English \(en\) and German \(de\); it has en, nl; choose a file",
        ),
        (DOG.replace(b"Hund", b""), r"no unit has finished text in both English \(en\) and German \(de\)"),
        (DOG.replace(b"xml:lang", b"x"), "it has none; choose"),
        (b"<tmx><body/></tmx>", "it has no unit at all"),
        (b"", "not well-formed XML"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=f"memory.tmx.*({message})") as raised:
        read(tmp_path, content)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "endless",
    [
        DOG.replace(b"dog", b"x" * (64 << 20)),
        DOG.replace(b"<tu>", b'<tu a="' + b"x" * (64 << 20)),
    ],
    ids=["segment", "attribute"],
)
def test_a_packed_unit_without_an_end_is_refused_at_once(tmp_path, endless):
    with pytest.raises(UserError, match=r"memory.tmx.gz, near line 1: more than 16,777,216 bytes in one unit"):
        read(tmp_path, endless, "memory.tmx.gz")


def test_a_packed_file_that_is_damaged(tmp_path):
    path = tmp_path / "memory.tmx.gz"
    whole = gzip.compress(DOG.replace(UNIT % b"dog", b"\n".join(UNIT % b"%d" % n for n in range(3000))))
    for content in (whole[:-20], whole[: len(whole) // 2], b"no gzip", whole[:50] + b"\0" * 50 + whole[100:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="memory.tmx.gz: damaged or cut short .*get the file again"):
            list(open_bitext(path).pairs())


SCRIPT = """
import resource, sys
from data.bitexts.opening import open_bitext
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(1 for _ in open_bitext(sys.argv[1]).pairs())
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_large_file_takes_little_memory(tmp_path):
    path, count = tmp_path / "large.tmx", 40_000
    with path.open("wb") as file:
        file.write(DOG.removesuffix(b"</body></tmx>"))
        for number in range(1, count):
            file.write(b"\n" + UNIT % (b"A sentence of some length about a dog, number %d. " % number * 10))
        file.write(b"</body></tmx>")
    size = path.stat().st_size
    assert size > 20_000_000
    place = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", SCRIPT, path], cwd=place, capture_output=True, text=True, check=True)
    found, kilobytes = map(int, done.stdout.split())
    assert found == count
    assert kilobytes * 1024 < size / 2


_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff\u2028\u2029"), max_size=20
)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(_TEXT, _TEXT)))
def test_what_is_exported_is_read_as_it_was(tmp_path_factory, texts):
    texts.append(('a < b & "c" ]]> \'', "<seg>&amp;</seg>"))
    path = tmp_path_factory.mktemp("export") / "memory.tmx"
    export([pyarrow.RecordBatch.from_pydict({"en": [en for en, _ in texts], "de": [de for _, de in texts]})], path)
    assert list(open_bitext(path).pairs()) == [Pair(en, de) for en, de in texts if en.strip() and de.strip()]
