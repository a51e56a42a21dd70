"""Catalogues of gettext as bilingual files; what counts as translated is tested with `data.corpora.catalogues`."""

import pytest

from data.bitexts.opening import open_bitext
from data.errors import UserError
from data.pairs import Pair

HEADER = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n%s\n'
DOG = 'msgid "A dog"\nmsgstr "Ein Hünd"\n'


def read(folder, content, encoding="utf-8", **languages):
    """The pairs of a catalogue."""
    path = folder / "de.po"
    path.write_bytes(content.encode(encoding))
    return list(open_bitext(path, **languages).pairs())


def test_finished_messages(tmp_path):
    content = HEADER % '"Language: de_DE\\n"\n' + (
        f'{DOG}\nmsgctxt "menu"\nmsgid ""\n"Two\\n"\n"lines"\nmsgstr "Zwei\\nZeilen"\n\n'
        '#, fuzzy\nmsgid "guess"\nmsgstr "Vermutung"\n\nmsgid "open"\nmsgstr ""\n\n#~ msgid "old"\n#~ msgstr "alt"\n\n'
        'msgid "%d file"\nmsgid_plural "%d files"\nmsgstr[0] "%d Datei"\nmsgstr[1] "%d Dateien"\n'
    )
    pairs = [("A dog", "Ein Hünd"), ("Two lines", "Zwei Zeilen"), ("%d file", "%d Datei"), ("%d files", "%d Dateien")]
    assert read(tmp_path, content) == [Pair(*pair) for pair in pairs]
    assert read(tmp_path, content, source="de", target="en")[0] == Pair("Ein Hünd", "A dog")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "iso-8859-1", "windows-1252"])
def test_encodings(tmp_path, encoding):
    charset = encoding.removesuffix("-sig").upper()
    assert read(tmp_path, HEADER.replace("UTF-8", charset) % "" + DOG, encoding) == [Pair("A dog", "Ein Hünd")]


def test_line_separators_within_a_message(tmp_path):
    assert read(tmp_path, HEADER % "" + DOG.replace("A dog", "A\u2028big\x0bdog")) == [Pair("A big dog", "Ein Hünd")]


def test_the_header_names_languages(tmp_path):
    with pytest.raises(UserError, match=r"de.po: no message has both English \(en\) and German \(de\); it has en, fr"):
        read(tmp_path, HEADER % '"Language: fr\\n"' + DOG)
    with pytest.raises(UserError, match="it has de, sv"):
        read(tmp_path, HEADER % '"Language: de\\n"\n"X-Source-Language: sv\\n"' + DOG)
    for unknown in ("", '"Language: \\n"', '"Language: German\\n"', '"Language: LANGUAGE\\n"'):
        assert read(tmp_path, HEADER % unknown + DOG) == [Pair("A dog", "Ein Hünd")]


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (HEADER % "" + "and no quotes\n", "utf-8", r"de.po: not a .po catalogue: .*line 5.*msgfmt --check"),
        (HEADER % "" + DOG, "iso-8859-1", r"de.po, line 6: not valid utf-8 \(byte 0xfc\); convert the file to UTF-8"),
        (HEADER.replace("UTF-8", "KLINGON-1") % "" + DOG, "utf-8", "unknown charset 'KLINGON-1'"),
        (HEADER.replace("UTF-8", "undefined") % "" + DOG, "utf-8", "charset that its header names, 'undefined'"),
        (HEADER % "" + DOG.replace("Ein Hünd", ""), "utf-8", "de.po: .*it has no message at all"),
        ("", "utf-8", "it has no message at all"),
        ("/etc/hostname", "utf-8", "not a .po catalogue"),
        (
            HEADER % "" + DOG.replace("A dog", "x" * (2 << 20)),
            "utf-8",
            "de.po, translated message 1: a segment of 2,097,152",
        ),
        (HEADER % "" + "#" * (33 << 20), "utf-8", r"a catalogue may have at most 33,554,432: split it"),
    ],
)
def test_what_is_refused(tmp_path, content, encoding, message):
    with pytest.raises(UserError, match=message) as raised:
        read(tmp_path, content, encoding)
    assert "\n" not in str(raised.value)
