"""XLIFF 1.2 and 2.x: what counts as translated, segments within units, inline codes, languages."""

import pytest

from data.bitexts.opening import open_bitext
from data.errors import UserError
from data.pairs import Pair

OLD = """<?xml version="1.0"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2" xmlns:x="urn:x"><file original="a.html"
source-language="en-US" target-language="de-DE" datatype="html"><header><skl><internal-file>...</internal-file></skl>
</header><body>%s</body></file></xliff>"""
NEW = """<xliff xmlns="urn:oasis:names:tc:xliff:document:2.0" xmlns:mtc="urn:oasis:names:tc:xliff:matches:2.0"
version="2.1" srcLang="en" trgLang="de_AT"><file id="f" original="b.html">%s</file></xliff>"""


def read(folder, content, name="file.xlf", **languages):
    """The pairs of an XLIFF file."""
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return list(open_bitext(path, **languages).pairs())


def old(unit="", target="", text="Hund"):
    """A unit of XLIFF 1.2, with attributes of its own and of its target."""
    return f'<trans-unit id="1" {unit}><source>dog</source><target {target}>{text}</target></trans-unit>'


def new(segment="", text="<target>Hund</target>"):
    return f'<unit id="1"><segment {segment}><source>dog</source>{text}</segment></unit>'


@pytest.mark.parametrize(
    ("unit", "counts"),
    [
        (old(), True),
        (old('approved="yes"'), True),
        (old('approved="no"'), False),
        (old("", 'state="translated"'), True),
        (old('approved="no"', 'state="translated"'), True),
        (old("", 'state="final"'), True),
        (old("", 'state="signed-off"'), True),
        (old("", 'state="new"'), False),
        (old("", 'state="needs-translation"'), False),
        (old('approved="yes"', 'state="needs-review-translation"'), False),
        (old("", 'state="x-done"'), True),
        (old("", 'state-qualifier="leveraged-mt"'), False),
        (old("", 'state-qualifier="exact-match"'), True),
        (old("", 'state="translated" state-qualifier="mt-suggestion"'), True),
        (old("", 'state-qualifier="rejected-grammar"'), False),
        (old(text=""), False),
        (old(text=" "), False),
        (old('restype="x-gettext-domain-header"', 'state="translated"'), False),
        ('<trans-unit id="1"><source>dog</source></trans-unit>', False),
        (
            '<trans-unit id="1"><source>dog</source><alt-trans match-quality="90"><source>dogs</source>'
            "<target>Hunde</target></alt-trans></trans-unit>",
            False,
        ),
    ],
)
def test_what_counts_as_translated_in_1_2(tmp_path, unit, counts):
    other = '<trans-unit id="9"><source>cat</source><target>Katze</target></trans-unit>'
    found = read(tmp_path, OLD % (unit + other))
    assert found == [Pair("dog", "Hund", "a.html")] * counts + [Pair("cat", "Katze", "a.html")]


@pytest.mark.parametrize(
    ("unit", "counts"),
    [
        (new(), True),
        (new('state="initial"'), False),
        (new('state="translated"'), True),
        (new('state="reviewed"'), True),
        (new('state="final"'), True),
        (new('state="final"', ""), False),
        (new('state="final"', "<target/>"), False),
        (
            new(text="").replace(
                "<segment",
                '<mtc:matches><mtc:match ref="#1"><source>dog</source><target>Hund</target></mtc:match></mtc:matches>'
                "<segment",
            ),
            False,
        ),
    ],
)
def test_what_counts_as_translated_in_2_x(tmp_path, unit, counts):
    other = '<unit id="9"><segment state="final"><source>cat</source><target>Katze</target></segment></unit>'
    found = read(tmp_path, NEW % (unit + other), "file.xliff")
    assert found == [Pair("dog", "Hund", "b.html")] * counts + [Pair("cat", "Katze", "b.html")]


def test_groups_and_several_files(tmp_path):
    nested = f"<group><group>{old()}</group>{old(text='Köter')}</group>"
    second = '</body></file><file original="c" source-language="EN" target-language="DE"><body>'
    assert read(tmp_path, OLD % (nested + second + old())) == [
        Pair("dog", "Hund", "a.html"),
        Pair("dog", "Köter", "a.html"),
        Pair("dog", "Hund", "c"),
    ]
    assert read(tmp_path, NEW % f"<group id='g'>{new()}</group>{new()}") == [Pair("dog", "Hund", "b.html")] * 2


CUT = """<trans-unit id="1"><source>One dog. Two dogs.</source>
<seg-source><mrk mtype="seg" mid="1">One dog.</mrk> <g id="1"><mrk mtype="seg" mid="2">Two <g id="2">dogs</g>.</mrk></g>
</seg-source><target>%s</target></trans-unit>"""


def test_segments_that_a_tool_has_cut(tmp_path):
    target = '<mrk mtype="seg" mid="2">Zwei Hunde.</mrk> <mrk mtype="seg" mid="1">Ein Hund.</mrk>'
    pairs = [("One dog.", "Ein Hund."), ("Two dogs.", "Zwei Hunde.")]
    assert read(tmp_path, OLD % (CUT % target)) == [Pair(*pair, "a.html") for pair in pairs]
    joined = '<mrk mtype="seg" mid="1">Ein Hund, zwei Hunde.</mrk>'
    whole = Pair("One dog. Two dogs.", "Ein Hund, zwei Hunde.", "a.html")
    assert read(tmp_path, OLD % (CUT % joined)) == [whole]
    assert read(tmp_path, OLD % (CUT % "Ein Hund, zwei Hunde.")) == [whole]


def test_several_segments_of_a_unit_in_2_x(tmp_path):
    unit = (
        '<unit id="1"><originalData><data id="d">&lt;b&gt;</data></originalData><notes><note>n</note></notes>'
        '<segment id="s1" state="final"><source>One dog.</source><target>Ein Hund.</target></segment>'
        "<ignorable><source> </source></ignorable>"
        '<segment id="s2"><source>Two.</source></segment>'
        '<segment id="s3" state="reviewed"><source>Three.</source><target>Drei.</target></segment></unit>'
    )
    assert read(tmp_path, NEW % unit) == [Pair("One dog.", "Ein Hund.", "b.html"), Pair("Three.", "Drei.", "b.html")]


@pytest.mark.parametrize(
    ("form", "inline", "text"),
    [
        (OLD, 'Press <g id="1">the <mrk mtype="term">red</mrk></g> key<x id="2"/>', "Press the red key"),
        (OLD, '<bpt id="1">[b]</bpt>Save<ept id="1">[/b]</ept><ph id="3">[<sub>title</sub>]</ph>', "Save"),
        (OLD, 'one<x id="1" ctype="lb"/>two<bx id="2"/>', "one two"),
        (NEW, 'Press <pc id="1">the <mrk id="m" type="term">red</mrk></pc> key<ph id="2"/>', "Press the red key"),
        (
            NEW,
            'one<ph id="1" type="fmt" subType="xlf:lb"/>two<sc id="2"/><ec startRef="2"/><cp hex="001A"/>',
            "one two",
        ),
    ],
)
def test_inline_codes(tmp_path, form, inline, text):
    unit = (old() if form is OLD else new()).replace("dog", inline)
    assert [pair.source for pair in read(tmp_path, form % unit)] == [text]


def test_languages(tmp_path):
    content = OLD % old()
    assert read(tmp_path, content, source="de", target="en") == [Pair("Hund", "dog", "a.html")]
    unnamed = content.replace('target-language="de-DE"', "")
    assert read(tmp_path, unnamed) == [Pair("dog", "Hund", "a.html")]
    assert read(tmp_path, unnamed, target="fr") == [Pair("dog", "Hund", "a.html")], "nobody says that it is German"
    own = unnamed.replace("<target ", '<target xml:lang="de" ')
    with pytest.raises(UserError, match=r"file.xlf: no unit has both English \(en\) and French \(fr\); it has de, en"):
        read(tmp_path, own, target="fr")
    with pytest.raises(UserError, match="it has de, en"):
        read(tmp_path, NEW % new(), target="fr")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (OLD % old(text=""), "no unit has finished text in both English"),
        (OLD % "", "it has no unit at all"),
        ("<tmx/>", "not in XLIFF format: its outermost element is <tmx>, expected <xliff>"),
        (OLD % "\n\n<trans-unit>", "line 6, column .* not well-formed XML .*as XLIFF in UTF-8"),
        ('<!DOCTYPE xliff [<!ENTITY d "dog">]>' + NEW % new(), "declares entities"),
        (OLD % f"\n\n{old(text='x' * (2 << 20))}", "near line 6: a segment of 2,097,152 characters"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=f"file.xlf.*{message}"):
        read(tmp_path, content)


def test_a_large_skeleton_is_passed_over(tmp_path):
    assert read(tmp_path, (OLD % old()).replace("...", "aGVs\n" * (5 << 20))) == [Pair("dog", "Hund", "a.html")]
