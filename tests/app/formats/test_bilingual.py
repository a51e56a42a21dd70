"""PO, XLIFF and TMX: what is translated stays and is remembered, the rest is translated, and tools read the file."""

import shutil
import subprocess

import polib
import pytest
from translate.storage import tmx, xliff

from app.formats.base import Options
from app.formats.opening import open_document
from data.errors import UserError
from tests.app.formats.samples import Capitals, translated

PO = """# Somebody, 2026.
#, fuzzy
msgid ""
msgstr ""
"Project-Id-Version: x\\n"
"Content-Type: text/plain; charset=CHARSET\\n"
"Plural-Forms: nplurals=INTEGER; plural=EXPRESSION;\\n"

#: a.c:1
#, c-format
msgid "%d file is open\\n"
msgid_plural "%d files are open\\n"
msgstr[0] ""
msgstr[1] ""

#, fuzzy
#| msgid "old"
msgid "new words"
msgstr "alt"

#. about it
msgctxt "menu"
msgid "done"
msgstr "fertig"

msgid "12"
msgstr ""

#~ msgid "gone"
#~ msgstr "weg"
"""
XLIFF_1 = """<?xml version="1.0" encoding="utf-8"?>
<xliff xmlns="urn:oasis:names:tc:xliff:document:1.2" version="1.2">
 <file original="a" source-language="en-US" datatype="plaintext"><body>
  <trans-unit id="1"><source>Hello <g id="1">big <x id="2"/></g> world</source></trans-unit>
  <trans-unit id="2"><source>Two</source><target state="translated">Zwei</target></trans-unit>
  <trans-unit id="3"><source>Three <bpt id="1">&lt;b></bpt>x<ept id="1">&lt;/b></ept></source>
   <target state="new"/><note>n</note></trans-unit>
  <trans-unit id="4" translate="no"><source>Four</source></trans-unit>
  <trans-unit id="5"><source>One. Two.</source><seg-source><mrk mtype="seg" mid="0">One.</mrk> <mrk mtype="seg" mid="1"
>Two.</mrk></seg-source></trans-unit>
 </body></file></xliff>
"""
XLIFF_2 = """<?xml version="1.0"?>
<xliff xmlns="urn:oasis:names:tc:xliff:document:2.0" version="2.1" srcLang="en">
 <file id="f"><unit id="1"><originalData><data id="d1">x</data></originalData>
  <segment id="s1"><source>Hello <pc id="1">big</pc> <ph id="2" dataRef="d1"/> world</source></segment>
  <segment id="s2" state="final"><source>Done</source><target>Fertig</target></segment>
 </unit></file></xliff>
"""
TMX = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header creationtool="x" creationtoolversion="1" segtype="sentence" o-tmf="x" adminlang="en"
 srclang="en" datatype="plaintext"/><body><tu><tuv xml:lang="en"><seg>Hello <ph>x</ph> there</seg></tuv></tu>
<tu><tuv xml:lang="en-US"><seg>One</seg></tuv><tuv xml:lang="de-DE"><seg>Eins</seg></tuv></tu></body></tmx>
"""


def test_catalogues_of_gettext(tmp_path):
    model = Capitals(reads=True)
    (tmp_path / "a.po").write_bytes(translated("a.po", PO.encode(), model))
    found = {entry.msgid: entry for entry in polib.pofile(str(tmp_path / "a.po"))}
    assert model.corrections == [("done", "fertig")]
    assert found["done"].msgstr == "fertig" and found["done"].comment == "about it" and found["done"].msgctxt == "menu"
    assert found["new words"].msgstr == "NEW WORDS" and not found["new words"].fuzzy
    assert found["12"].msgstr == "" and found["gone"].obsolete
    # Capitals break %d: whoever compiles the catalogue is not to get that.
    plural = found["%d file is open\n"]
    assert plural.msgstr_plural == {0: "%D FILE IS OPEN\n", 1: "%D FILES ARE OPEN\n"} and plural.fuzzy
    text = (tmp_path / "a.po").read_text()
    assert "Language: de\\n" in text and "nplurals=2; plural=(n != 1);" in text and "charset=UTF-8" in text
    if not shutil.which("msgfmt"):
        pytest.skip("WHAT GETTEXT SAYS OF CATALOGUES IS NOT TESTED: needs the program msgfmt (gettext)")
    command = ["msgfmt", "--check-format", "--check-domain", "-o", tmp_path / "a.mo", tmp_path / "a.po"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_finished_catalogue_comes_out_to_the_letter():
    content = PO.split("\n\n")[0].replace("#, fuzzy\n", "").replace("CHARSET", "UTF-8").replace("INTEGER", "2")
    content = content.replace("EXPRESSION", "(n != 1)").replace('"Content-Type', '"Language: de\\n"\n"Content-Type')
    content = content.replace("UTF-8\\n", 'UTF-8\\n"\n"Content-Transfer-Encoding: 8bit\\n').replace(
        '"Content-Type', '"MIME-Version: 1.0\\n"\n"Content-Type'
    )
    content += '\n\n#. about it\n#: a.c:1\nmsgid "done"\nmsgstr "fertig"\n'
    assert translated("a.po", content.encode()).decode() == content


@pytest.mark.parametrize("copies, loses", [(False, False), (True, False), (True, True)])
def test_escapes_in_messages_stay(tmp_path, copies, loses):
    message = r"Hello \033[1m%s\033[0m \x1b[31mworld\x41 \a\101\42\134n\012"
    text = PO + f'\n#. a comment "with \\d"\nmsgid "{message}"\nmsgstr ""\n'
    found = translated("a.po", text.encode(), Capitals(copies, loses=loses)).decode()
    assert r'msgid "Hello \033[1m%s\033[0m \033[31mworldA \aA\"\\n\n"' in found and '"with \\d"' in found
    assert r'msgstr "HELLO \033[1m%S\033[0m \033[31mWORLDA \aA\"\\N\n"' in found
    if shutil.which("msgfmt"):
        ids = []
        for content in (text.removesuffix('""\n') + '"x\\n"\n', found):
            (tmp_path / "a.po").write_text(content.replace("CHARSET", "UTF-8"))
            subprocess.run(["msgfmt", "-f", "-o", tmp_path / "a.mo", tmp_path / "a.po"], check=True)
            ids.append({entry.msgid for entry in polib.mofile(str(tmp_path / "a.mo"))})
        assert ids[0] <= ids[1] and any("world" in one for one in ids[0])


@pytest.mark.parametrize("escape", [r"\303\244", r"\e", r"\x1c", r"\0", r"\x414243"])
def test_escapes_that_cannot_be_kept_are_refused(escape):
    with pytest.raises(UserError, match=r"a\.po, line 2: holds \\.*; write the character itself"):
        translated("a.po", f'msgid ""\n"a {escape}"\nmsgstr ""\n'.encode())


def test_what_an_obsolete_message_was_before_stays():
    previous = '#~| msgid ""\n#~| "older "\n#~| "words"\n'
    content = translated("a.po", PO.replace("#~ msgid", previous + "#~ msgid").encode()).decode()
    assert '#~| msgid "older words"\n#~ msgid "gone"\n#~ msgstr "weg"\n' in content


@pytest.mark.parametrize("copies, loses", [(False, False), (True, False), (True, True)])
def test_xliff(copies, loses):
    model = Capitals(copies, reads=True, loses=loses)
    found = translated("a.xlf", XLIFF_1.encode(), model).decode()
    assert model.corrections == [("Two", "Zwei")] and found.startswith(XLIFF_1[:110])
    state = '<target state="needs-review-translation">'
    assert f'{state}HELLO <g id="1">BIG <x id="2"/></g> WORLD</target>' in found
    assert f'{state}THREE <bpt id="1">&lt;b&gt;</bpt>X<ept id="1">&lt;/b&gt;</ept></target><note>n</note>' in found
    assert f'{state}<mrk mtype="seg" mid="0">ONE.</mrk> <mrk mtype="seg" mid="1">TWO.</mrk></target>' in found
    assert '<target state="translated">Zwei</target>' in found and "<source>Four</source></trans-unit>" in found
    assert found.count("<target") == 4 and 'target-language="de"' in found
    units = xliff.xlifffile.parsestring(found.encode()).units
    assert [str(unit.target) for unit in units][1] == "Zwei" and len(units) == 5


def test_xliff_of_version_2():
    found = translated("a.xliff", XLIFF_2.encode(), Capitals(copies=True)).decode()
    assert '<target>HELLO <pc id="1">BIG</pc> <ph id="2" dataRef="d1"/> WORLD</target>' in found
    assert 'trgLang="de"' in found and '<segment id="s1" state="translated">' in found
    assert '<segment id="s2" state="final"><source>Done</source><target>Fertig</target></segment>' in found


@pytest.mark.parametrize("outer, inner, count", [("no", "", 0), ("no", "yes", 1), ("yes", "no", 0), ("", "", 1)])
def test_the_nearest_element_says_whether_xliff_is_translated(outer, inner, count):
    own = [f'translate="{value}"' if value else "" for value in (outer, inner)]
    units = (
        XLIFF_1.replace("<body>", f"<body><group {own[0]}>").replace("</body>", "</group></body>"),
        XLIFF_2.replace('<file id="f"', f'<file id="f" {own[0]}'),
    )
    for text, name in zip(units, ('<trans-unit id="1"', '<unit id="1"'), strict=True):
        text = text.replace(name, f"{name} {own[1]}")
        text = text.replace('"4" translate="no"', '"4"') if count else text
        texts = [piece.shown for piece in open_document(text.encode(), Options("a.xlf")).pieces]
        assert sum(shown.startswith("Hello") for shown in texts) == count


def test_protected_words_of_xliff_stay():
    text = XLIFF_1.replace("big", 'big <mrk mtype="protected">ProductName</mrk>')
    found = translated("a.xlf", text.encode()).decode()
    assert found.count('<mrk mtype="protected">ProductName</mrk>') == 2  # in the source, and in the target


@pytest.mark.parametrize(
    "name, text, encoding",
    [
        ("a.po", PO, "utf-8"),
        ("a.xlf", XLIFF_1, "utf-8"),
        ("a.xlf", XLIFF_1.replace("utf-8", "utf-16"), "utf-16"),
        ("a.tmx", TMX.replace("One", "a&#13;"), "utf-8"),
    ],
)
def test_ends_of_lines_stay(name, text, encoding):
    plain, windows = (
        translated(name, content.encode(encoding)).decode(encoding) for content in (text, text.replace("\n", "\r\n"))
    )
    assert windows == plain.replace("\n", "\r\n") and "\n" in plain and "\r" not in plain


def test_translation_memories():
    model = Capitals(reads=True)
    found = translated("a.tmx", TMX.encode(), model)
    assert model.corrections == [("One", "Eins")]
    assert b'</tuv><tuv xml:lang="de"><seg>HELLO <ph>x</ph> THERE</seg></tuv></tu>' in found and b"<seg>Eins" in found
    assert found.startswith(TMX[:80].encode())
    units = tmx.tmxfile.parsestring(found, "en", "de").units
    assert len(units) == 2 and "THERE" in str(units[0].target)


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.po", PO.replace('"Project', '"Language: fr\\n"\n"Project')),
        ("a.xlf", XLIFF_1.replace("en-US", "fr")),
        ("a.xlf", XLIFF_2.replace('srcLang="en"', 'srcLang="en" trgLang="fr"')),
        ("a.tmx", TMX.replace('"en', '"fr')),
    ],
)
def test_other_languages_are_refused(name, content):
    with pytest.raises(UserError, match=r"says Language: fr|is in fr|no unit has text in en"):
        translated(name, content.encode())


def test_a_message_with_its_placeholders_is_no_longer_fuzzy():
    found = translated("a.po", PO.replace("%d", "%(n)s").replace("c-format", "python-format").encode(), Kept())
    assert '#, python-format\nmsgid "%(n)s file is open\\n"' in found.decode()


class Kept(Capitals):
    """Keeps everything as it is."""

    def _one(self, line):
        return line
