"""Small files with what makes their formats hard, and a translator with known answers."""
# ruff: noqa: E501 (lines of XML)

import io
import re
import zipfile
from types import SimpleNamespace

from app.formats.base import Options
from app.formats.opening import open_document
from app.formats.translation import translate_document

_TAG = re.compile(r"(<[^<>]*>|&[a-z]+;)")


class Capitals:
    """Translates into capitals; notes the lines that it was given, and the corrections that it could read.

    Args:
        copies: whether it copies tags.
        reads: whether it reads documents.
        loses: whether it loses tags all the same.
    """

    def __init__(self, copies: bool = False, reads: bool = False, loses: bool = False):
        self.form = SimpleNamespace(copy=("tags",) if copies else ())
        self.decoder = SimpleNamespace(first_memory={} if reads else None)
        self.reads, self._loses = False, loses
        self.seen, self.corrections = [], []

    def _one(self, line):
        self.seen.append(line)
        parts = _TAG.split(" ".join(line.split()) if self.form.copy else line)
        return "".join(part.upper() if n % 2 == 0 else "" if self._loses else part for n, part in enumerate(parts))

    def translate_all(self, lines):
        return [self._one(line) for line in lines]

    def translate_lines(self, lines, whole=False):
        for line in lines:
            if line.correction is not None:
                assert whole
                self.corrections.append((line.text, line.correction))
            yield SimpleNamespace(text=line.correction if line.correction is not None else self._one(line.text))


def translated(name: str, content: bytes, translator=None, columns=()) -> bytes:
    """A file translated into capitals."""
    document = open_document(content, Options(name, columns=tuple(columns)))
    return translate_document(document, name, translator or Capitals())


def unchanged(name: str, content: bytes, columns=()) -> bytes:
    """A file whose pieces are translated by themselves."""
    document = open_document(content, Options(name, columns=tuple(columns)))
    return document.write([piece.parts for piece in document.pieces])


def packed(files: dict[str, str | bytes], stored: str = "") -> bytes:
    """A zip archive; the file `stored` is not compressed."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content, zipfile.ZIP_STORED if name == stored else None)
    return target.getvalue()


def unpacked(content: bytes) -> dict[str, bytes]:
    """The files in a zip archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_R = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
_KIND = "application/vnd.openxmlformats-officedocument.wordprocessingml"
_LINK = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_PARAGRAPHS = """
<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:bookmarkStart w:id="0" w:name="top"/><w:r><w:t>A head</w:t></w:r><w:r
 w:rsidR="00AB"><w:rPr><w:lang w:val="en-US"/></w:rPr><w:t>ing</w:t></w:r><w:bookmarkEnd w:id="0"/></w:p>
<w:p><w:r><w:t xml:space="preserve">Some </w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t>bold</w:t></w:r><w:proofErr
 w:type="spellStart"/><w:r><w:t xml:space="preserve"> words and a </w:t></w:r><w:hyperlink r:id="rId9"><w:r><w:rPr><w:i/>
</w:rPr><w:t>link</w:t></w:r></w:hyperlink><w:r><w:t>.</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r></w:p>
<w:p><w:r><w:t>Name</w:t></w:r><w:r><w:tab/><w:t xml:space="preserve">Page </w:t></w:r><w:r><w:fldChar w:fldCharType="begin"/>
</w:r><w:r><w:instrText> PAGE </w:instrText></w:r><w:r><w:fldChar w:fldCharType="separate"/></w:r><w:r><w:t>3</w:t></w:r><w:r>
<w:fldChar w:fldCharType="end"/></w:r><w:del w:id="5" w:author="x"><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>
<w:p><w:r><w:t>2026</w:t></w:r></w:p>
<w:tbl><w:tblPr/><w:tblGrid><w:gridCol w:w="4000"/></w:tblGrid><w:tr><w:tc><w:tcPr/><w:p><w:r><w:t>In a cell</w:t></w:r></w:p>
</w:tc></w:tr></w:tbl>
"""


def docx(*lines: str) -> bytes:
    """A Word document with a header, a footnote, a field, a link, a table, and text in several runs; or with lines."""
    paragraphs = "".join(f"<w:p><w:r><w:t>{line}</w:t></w:r></w:p>" for line in lines) or _PARAGRAPHS.strip()
    parts = {"document": "document.main", "footnotes": "footnotes", "header1": "header"}
    types = "".join(
        f'<Override PartName="/word/{part}.xml" ContentType="{_KIND}.{kind}+xml"/>' for part, kind in parts.items()
    )
    links = "".join(
        f'<Relationship Id="rId{n}" Type="{_LINK}/{kind}" Target="{target}"{more}/>'
        for n, kind, target, more in (
            (1, "footnotes", "footnotes.xml", ""),
            (2, "header", "header1.xml", ""),
            (9, "hyperlink", "http://example.com/", ' TargetMode="External"'),
        )
    )
    package = "http://schemas.openxmlformats.org/package/2006"
    section = '<w:sectPr><w:headerReference w:type="default" r:id="rId2"/><w:pgSz w:w="11906" w:h="16838"/></w:sectPr>'
    notes = "".join(
        f"<w:footnote {attributes}><w:p><w:r>{content}</w:r></w:p></w:footnote>"
        for attributes, content in (
            ('w:type="separator" w:id="0"', "<w:separator/>"),
            ('w:type="continuationSeparator" w:id="1"', "<w:continuationSeparator/>"),
            ('w:id="2"', '<w:footnoteRef/></w:r><w:r><w:t xml:space="preserve"> A note</w:t>'),
        )
    )
    return packed(
        {
            "[Content_Types].xml": f'{_DECLARATION}<Types xmlns="{package}/content-types"><Default Extension="rels" '
            f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>{types}</Types>',
            "_rels/.rels": f'{_DECLARATION}<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
            f'Type="{_LINK}/officeDocument" Target="word/document.xml"/></Relationships>',
            "word/_rels/document.xml.rels": f'{_DECLARATION}<Relationships xmlns="{package}/relationships">{links}'
            "</Relationships>",
            "word/document.xml": f"{_DECLARATION}<w:document {_W} {_R}><w:body>{paragraphs}{section}</w:body>"
            "</w:document>",
            "word/footnotes.xml": f"{_DECLARATION}<w:footnotes {_W}>{notes}</w:footnotes>",
            "word/header1.xml": f"{_DECLARATION}<w:hdr {_W}><w:p><w:r><w:t>At the top</w:t></w:r></w:p></w:hdr>",
            "word/media/image.bin": bytes(range(256)),
        }
    )


_NAMES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{uri}:1.0"'
    for name, uri in (("office", "office"), ("text", "text"), ("style", "style"), ("table", "table"),
                      ("fo", "xsl-fo-compatible"))
) + ' xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:officeooo="http://openoffice.org/2009/office"'  # fmt: skip
_ODT_STYLES = """
<style:style style:name="T1" style:family="text"><style:text-properties officeooo:rsid="0012"/></style:style>
<style:style style:name="T2" style:family="text"><style:text-properties fo:font-weight="bold"/></style:style>
"""
_ODT_TEXT = """
<text:h text:outline-level="1">A head<text:span text:style-name="T1">ing</text:span></text:h>
<text:p>Some <text:span text:style-name="T2">bold</text:span><text:bookmark text:name="b"/> words and a <text:a
 xlink:type="simple" xlink:href="http://example.com/">link</text:a>.<text:note text:id="n" text:note-class="footnote"
><text:note-citation>1</text:note-citation><text:note-body><text:p>A note</text:p></text:note-body></text:note></text:p>
<text:p>Name<text:tab/>Page <text:page-number text:select-page="current">3</text:page-number> of<text:s text:c="3"/>it</text:p>
<text:p>2026<text:bookmark text:name="c"/>!</text:p>
<table:table><table:table-column/><table:table-row><table:table-cell><text:p>In a cell</text:p></table:table-cell>
</table:table-row></table:table>
"""


def odt() -> bytes:
    """A text document of OpenDocument with a header, a footnote, a field, a link, a table, and styles."""
    kind = "application/vnd.oasis.opendocument.text"
    entries = "".join(
        f'<manifest:file-entry manifest:full-path="{path}" manifest:media-type="{media}"/>'
        for path, media in (("/", kind), ("content.xml", "text/xml"), ("styles.xml", "text/xml"))
    )
    header = "<style:header><text:p>At the top</text:p></style:header>"
    return packed(
        {
            "mimetype": kind,
            "content.xml": f'{_DECLARATION}<office:document-content {_NAMES} office:version="1.2"><office:automatic-styles>'
            f"{_ODT_STYLES}</office:automatic-styles><office:body><office:text>{_ODT_TEXT}</office:text></office:body>"
            "</office:document-content>",
            "styles.xml": f'{_DECLARATION}<office:document-styles {_NAMES} office:version="1.2"><office:styles>'
            '<style:default-style style:family="paragraph"><style:text-properties fo:language="en" fo:country="US"/>'
            "</style:default-style></office:styles><office:automatic-styles><style:page-layout style:name='L'/>"
            "</office:automatic-styles><office:master-styles><style:master-page style:name='Standard' "
            f"style:page-layout-name='L'>{header}</style:master-page></office:master-styles></office:document-styles>",
            "META-INF/manifest.xml": f'{_DECLARATION}<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:'
            f'xmlns:manifest:1.0" manifest:version="1.2">{entries}</manifest:manifest>',
        },
        stored="mimetype",
    )


def epub() -> bytes:
    """A book of one page with a table of contents."""
    page = (
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en">'
        '<head><title>One</title><style>p { color: red }</style></head><body><h1 id="a">A heading</h1>'
        '<p class="x">Some <b>bold</b> words&#160;&amp; more.<br/>2026 <img src="i.png" alt=""/></p></body></html>'
    )
    package = (
        '<?xml version="1.0"?>\n<package xmlns="http://www.idpf.org/2007/opf" version="2.0" unique-identifier="i">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>A book</dc:title><dc:language>en-GB</dc:language>'
        '<dc:identifier id="i">urn:x</dc:identifier></metadata><manifest>'
        '<item id="p" href="text/page%201.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/></manifest>'
        '<spine toc="ncx"><itemref idref="p"/></spine></package>'
    )
    contents = (
        '<?xml version="1.0"?>\n<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/" version="2005-1"><head/><docTitle><text>A '
        'book</text></docTitle><navMap><navPoint id="n" playOrder="1"><navLabel><text>A heading</text></navLabel><content '
        'src="text/page%201.xhtml#a"/></navPoint></navMap></ncx>'
    )
    return packed(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<?xml version="1.0"?>\n<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:'
            'xmlns:container"><rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/>'
            "</rootfiles></container>",
            "OEBPS/book.opf": package,
            "OEBPS/toc.ncx": contents,
            "OEBPS/text/page 1.xhtml": page,
        },
        stored="mimetype",
    )
