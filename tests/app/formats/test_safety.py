"""Hostile files are refused before they can do harm."""
# ruff: noqa: E501 (the table of files)

import io
import time
import zipfile

import pytest

from data.errors import UserError
from tests.app.formats.samples import docx, epub, odt, packed, translated, unpacked
from tests.app.formats.test_bilingual import PO, TMX, XLIFF_1

BOMB = "<w:p/>" * 1_000_000
LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


def changed(files: dict, **changes) -> bytes:
    return packed({name: changes.get(name.rpartition("/")[2].partition(".")[0], own) for name, own in files.items()})


def with_entry(name: str, attributes: int = 0, flags: int = 0) -> bytes:
    """A Word document with one more file."""
    target = io.BytesIO(docx())
    with zipfile.ZipFile(target, "a") as file:
        info = zipfile.ZipInfo(name)
        info.external_attr = attributes
        file.writestr(info, b"x")
    return target.getvalue()


HOSTILE = {
    "a bomb": ("a.docx", lambda: changed(unpacked(docx()), document=BOMB), "bytes when unpacked"),
    "a page with entities": ("a.epub", lambda: changed(unpacked(epub()), **{"page 1": LAUGHS}), "declares entities"),
    "entities in a document": ("a.odt", lambda: changed(unpacked(odt()), content=LAUGHS + "<a>&b;</a>"), "declares ent"),
    "entities": ("a.xlf", lambda: XLIFF_1.replace("<xliff", LAUGHS + "<xliff").replace("Two", "&b;").encode(), "entities"),
    "a file from outside": ("a.tmx", lambda: TMX.replace('<!DOCTYPE tmx SYSTEM "tmx14.dtd">', OUTSIDE).encode(), "entities"),
    "an entity nobody declares": ("a.tmx", lambda: TMX.replace("Hello", "&a;").encode(), "entity|Entity"),
    "deep nesting": ("a.xlf", lambda: b"<a>" * 100_000, "not valid XML"),
    "a path": ("a.docx", lambda: with_entry("../../evil"), "leads out of the archive"),
    "a path of Windows": ("a.docx", lambda: with_entry("C:\\evil"), "leads out of the archive"),
    "an absolute path": ("a.docx", lambda: with_entry("/etc/evil"), "leads out of the archive"),
    "a link": ("a.docx", lambda: with_entry("link", 0o120777 << 16), "link"),
    "the same name twice": ("a.docx", lambda: with_entry("word/document.xml"), "same name"),
    "many files": ("a.docx", lambda: packed({str(n): "" for n in range(5001)}), "files in it"),
    "no document": ("a.docx", lambda: packed({"a": "b"}), "not a Word document"),
    "another document": ("a.docx", odt, "not a Word document"),
    "damage": ("a.docx", lambda: docx().replace(b"PK\x03\x04", b"PK\x03\x05"), "damaged"),
    "half of it": ("a.odt", lambda: odt()[:-100], "not a zip archive"),
    "brackets": ("a.md", lambda: b"[" * 50_000 + b"](x) y" * 10, ""),
    "stars": ("a.md", lambda: b"*a **b " * 20_000, ""),
    "nested tags": ("a.html", lambda: b"<p>" + b"<b>" * 4_000 + b"x" + b"</b>" * 4_000, ""),
    "nested emphasis": ("a.md", lambda: b"_**" * 5_000 + b"x" + b"**_" * 5_000, ""),
    "no charset": ("a.html", lambda: b"<meta charset=undefined><p>Hello", "cannot be read as undefined"),
    "a charset of names": ("a.html", lambda: b"<meta charset=idna><p>Hello", "cannot be read as idna"),
    "another": ("a.html", lambda: b"<meta charset=punycode><p>Hello", "cannot be read as punycode"),
    "a catalogue without": ("a.po", lambda: PO.replace("=CHARSET", "=undefined").encode(), "charset that its header names"),
    "a catalogue of names": ("a.po", lambda: PO.replace("=CHARSET", "=idna").encode(), ""),
    "quotes": ("a.csv", lambda: b'a\n"' + b'""' * 100_000, "quote"),
    "braces": ("a.json", lambda: b"[" * 100_000 + b"]" * 100_000, "not valid JSON"),
    "deep YAML": ("a.yaml", lambda: b"[" * 20_000, "not valid YAML"),
    "YAML that grows": ("a.yaml", lambda: b"a: &a [x, y]\n" + b"".join(b"b%d: &b%d [*a, *a]\n" % (n, n) for n in range(99)), ""),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line_and_soon(name):
    file, make, message = HOSTILE[name]
    content, began = make(), time.process_time()
    if message:
        with pytest.raises(UserError, match=message) as caught:
            translated(file, content, columns=["a"] if file == "a.csv" else ())
        assert "\n" not in str(caught.value) and "passwd" not in str(caught.value)
    else:
        translated(file, content)
    assert time.process_time() - began < 5


def test_an_encrypted_document_is_refused():
    content = bytearray(docx())
    place = content.rfind(b"PK\x01\x02")
    content[place + 8] |= 1
    with pytest.raises(UserError, match="encrypted"):
        translated("a.docx", bytes(content))
    manifest = unpacked(odt())["META-INF/manifest.xml"].replace(b"</manifest", b"<manifest:encryption-data/></manifest")
    with pytest.raises(UserError, match="encrypted"):
        translated("a.odt", changed(unpacked(odt()), manifest=manifest))
    locked = {**unpacked(epub()), "META-INF/encryption.xml": '<a><EncryptionMethod Algorithm="aes"/></a>'}
    with pytest.raises(UserError, match="locked"):
        translated("a.epub", packed(locked))
