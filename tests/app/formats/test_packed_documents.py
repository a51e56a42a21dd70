"""Word documents, OpenDocument and books: all text is translated, all else stays, and the file opens."""

import io
import re
import shutil
import subprocess
import zipfile
from xml.etree import ElementTree

import pytest

from app.formats.base import Options
from app.formats.opening import open_document
from tests.app.formats.samples import Capitals, docx, epub, odt, packed, translated, unchanged, unpacked

TEXTS = {"A heading", "Name", "In a cell", "A note", "At the top"}
SENTENCE = re.compile(r"Some <g\d+>bold</g\d+> words and a <g\d+>(<g\d+>)?link(</g\d+>)?</g\d+>\.")


def text_of(content: bytes) -> str:
    """All text of a file, without its markup."""
    parts = [
        "".join(ElementTree.fromstring(part).itertext())
        for name, part in unpacked(content).items()
        if name.endswith("xml") and not name.startswith(("[", "META-INF", "_rels"))
    ]
    return "\n".join(parts)


@pytest.mark.parametrize("name, make", [("a.docx", docx), ("a.odt", odt)])
def test_paragraphs_are_whole_and_tags_stand_for_what_is_in_them(name, make):
    shown = [piece.shown.strip() for piece in open_document(make(), Options(name)).pieces]
    assert set(shown) >= TEXTS and any(SENTENCE.fullmatch(text) for text in shown)
    assert not any("2026" in text or "gone" in text for text in shown)


@pytest.mark.parametrize("copies, loses", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("name, make", [("a.docx", docx), ("a.odt", odt)])
def test_all_text_of_a_document_is_translated_and_all_else_stays(name, make, copies, loses):
    before, after = make(), translated(name, make(), Capitals(copies, loses=loses))
    assert zipfile.ZipFile(io.BytesIO(after)).testzip() is None
    assert list(unpacked(before)) == list(unpacked(after))
    shorter = [re.sub(r"\s+", "", text_of(content)).replace("gone", "") for content in (before, after)]
    assert shorter[1] == shorter[0].upper()
    for part, content in unpacked(before).items():
        if part.endswith((".bin", ".rels", "mimetype", "manifest.xml")) or part.startswith("["):
            assert unpacked(after)[part] == content
    whole = unpacked(after)["word/document.xml" if name == "a.docx" else "content.xml"].decode()
    kept = ("<w:b/>", 'r:id="rId9"', "footnoteReference", " PAGE ", 'w:name="top"', "<w:tab/>", "gone", "<w:gridCol")
    kept = (
        kept
        if name == "a.docx"
        else (' text:style-name="T2"', "xlink:href", "<text:note ", "<text:page-number", '"b"', "<text:tab/>")
    )
    assert all(whole.count(one) == 1 for one in kept)


def test_formats_stay_with_their_words():
    body = unpacked(translated("a.docx", docx(), Capitals(copies=True)))["word/document.xml"].decode()
    assert re.search(r"<w:rPr><w:b/></w:rPr><w:t[^>]*>BOLD</w:t>", body)
    assert re.search(
        r'<w:hyperlink[^>]*r:id="rId9"[^>]*>.*<w:i/>\s*</w:rPr><w:t[^>]*>LINK</w:t></w:r></w:hyperlink>', body
    )
    assert re.search(r"begin.*PAGE.*separate.*>3<.*end", body, re.DOTALL)
    assert "proofErr" not in body and re.search(r">A HEADING</w:t>", body)
    content = unpacked(translated("a.odt", odt(), Capitals(copies=True)))["content.xml"].decode()
    assert '<text:span text:style-name="T2">BOLD</text:span>' in content and 'text:c="3"' in content
    assert ">LINK</text:a>" in content and "<text:p>A NOTE</text:p>" in content and ">A HEADING<" in content


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("kind", ["bookmark", "reference-mark", "toc-mark"])
def test_marks_of_opendocument_stay_around_their_text(kind, copies):
    own, name = unpacked(odt()), "id" if kind == "toc-mark" else "name"
    start, end = (f'<text:{kind}-{side} text:{name}="m"/>' for side in ("start", "end"))
    point = "<text:bookmark-start text:name='p'/><text:bookmark-end text:name='p'/>"
    paragraph = f"<text:p>{start}Figure <text:page-number>1</text:page-number>{end}: Over{point}view</text:p>"
    own["content.xml"] = own["content.xml"].replace(b"<text:p>2026", paragraph.encode() + b"<text:p>2026")
    model = Capitals(copies)
    found = unpacked(translated("a.odt", packed(own), model))["content.xml"].decode()
    place = found.index(f"text:{kind}-start text:{name}=")
    found = re.sub(r" ?<text:page-number>1</text:page-number>", " 1", found[place : place + 300])
    assert f"/>FIGURE 1{end}: " in found and "OVERVIEW</text:p>" in found


def test_a_document_says_that_it_is_in_the_other_language():
    assert b'fo:language="de" fo:country="DE"' in unpacked(translated("a.odt", odt()))["styles.xml"]
    book = unpacked(translated("a.epub", epub()))
    assert b"<dc:language>de<" in book["OEBPS/book.opf"] and b'xml:lang="de"' in book["OEBPS/text/page 1.xhtml"]


def test_a_book_keeps_its_pages_but_for_their_text():
    before, after = unpacked(epub()), unpacked(translated("a.epub", epub()))
    assert list(after)[0] == "mimetype" and after["mimetype"] == before["mimetype"]
    page = after["OEBPS/text/page 1.xhtml"].decode()
    assert '<h1 id="a">A HEADING</h1><p class="x">SOME <b>BOLD</b> WORDS\xa0&amp; MORE.<br/>2026 <img src' in page
    assert "<title>ONE</title><style>p { color: red }</style>" in page
    assert b"<dc:title>A BOOK</dc:title>" in after["OEBPS/book.opf"]
    assert b"<text>A HEADING</text>" in after["OEBPS/toc.ncx"]
    for name, content in after.items():
        if name != "mimetype":
            ElementTree.fromstring(content)
    with zipfile.ZipFile(io.BytesIO(translated("a.epub", epub()))) as book:
        assert book.infolist()[0].compress_type == zipfile.ZIP_STORED


def test_labels_of_a_book_stand_behind_tags_with_any_attributes():
    own = unpacked(epub())
    own["OEBPS/toc.ncx"] = own["OEBPS/toc.ncx"].replace(b"<text>A heading", b'<text class="a>b">A heading')
    found = unpacked(translated("a.epub", packed(own)))
    assert b'<text class="a>b">A HEADING</text>' in found["OEBPS/toc.ncx"]


def text_in_office(tmp_path, name: str, content: bytes) -> str:
    """The text of a document as LibreOffice reads it, and a PDF made of it."""
    (tmp_path / name).write_bytes(content)
    home = f"-env:UserInstallation=file://{tmp_path}/office"
    for kind in ("txt:Text (encoded):UTF8", "pdf"):
        command = ["soffice", home, "--headless", "--convert-to", kind, "--outdir", tmp_path, tmp_path / name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / name).with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    return (tmp_path / name).with_suffix(".txt").read_text(encoding="utf-8-sig")


@pytest.mark.parametrize("name, make", [("a.docx", docx), ("a.odt", odt)])
def test_libreoffice_opens_what_comes_out(tmp_path, name, make):
    if not shutil.which("soffice"):
        pytest.skip(
            "THAT LIBREOFFICE OPENS DOCUMENTS IS NOT TESTED: needs the program soffice (libreoffice-writer-nogui)"
        )
    before = text_in_office(tmp_path, name, make())
    assert "Some bold words and a link." in before
    assert text_in_office(tmp_path, name, unchanged(name, make())) == before
    assert text_in_office(tmp_path, name, translated(name, make())) == before.upper().replace("GONE", "gone")
