"""What files from elsewhere may not do: declare entities, name paths, or be much larger when unpacked."""

import io
import re
import stat
import zipfile
import zlib

from app.formats.base import MOST_BYTES
from data.errors import UserError

_MOST_ENTRIES = 5000
_MOST_UNPACKED = 256 << 20
# How many times larger an archive may be when unpacked. Documents of a few repeated words reach 100.
_MOST_RATIO = 200
_SMALL = 1 << 20
_HEAD = re.compile(rb"(?:\xef\xbb\xbf)?<\?xml[^>]*\?>\s*")
_TAIL = re.compile(rb"\s*\Z")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def refuse_entities(content: bytes, name: str) -> None:
    """Refuses a page that declares entities, which can grow when it is shown."""
    if b"<!ENTITY" in content:
        raise UserError(f"{name}: declares entities in its document type, which may do harm; remove the declarations")


class XmlFile:
    """An XML file. Nothing outside it is read, and no entity is replaced.

    Args:
        content: the file.
        name: the file's name, for messages.

    Attributes:
        root: its outermost element.

    Raises:
        UserError: it is not XML, declares entities, or is nested too deeply.
    """

    def __init__(self, content: bytes, name: str):
        from lxml import etree

        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, strip_cdata=False
        )
        try:
            self._tree = etree.parse(io.BytesIO(content), parser)
        except etree.XMLSyntaxError as error:
            raise UserError(f"{name}: not valid XML ({' '.join(str(error.msg).split())[:200]}); fix it") from None
        declared = self._tree.docinfo.internalDTD
        if declared is not None and (any(declared.iterentities()) or any(declared.iterelements())):
            raise UserError(
                f"{name}: declares entities in its document type, which may do harm; remove the declarations"
            )
        if next(self._tree.iter(etree.Entity), None) is not None:
            raise UserError(f"{name}: uses an entity that only a document type declares; write the character itself")
        self.root: etree._Element = self._tree.getroot()
        head, tail = _HEAD.match(content), _TAIL.search(content)
        self._head, self._tail = (head[0] if head else b""), (tail[0] if tail else b"")
        body = content[len(self._head) : len(content) - len(self._tail)]
        # XML readers turn the two characters that end a line into one; in UTF-16 a zero is between the two.
        self._windows = b"\r\n" in body or b"\r\0\n" in body

    def written(self) -> bytes:
        """The file as it is now, with its original declaration and line ends."""
        from lxml import etree

        encoding = self._tree.docinfo.encoding or "UTF-8"
        wide = encoding.upper().startswith("UTF-16")
        body = etree.tostring(self._tree, xml_declaration=wide, encoding=encoding)
        if self._windows and wide:
            body = body.decode(encoding).replace("\n", "\r\n").encode(encoding)
        elif self._windows:
            body = body.replace(b"\n", b"\r\n")
        return body if wide else self._head + body + self._tail


class Archive:
    """The files in a zip archive, checked before any is unpacked.

    Args:
        content: the archive.
        name: the archive's name, for messages.

    Raises:
        UserError: it is damaged or encrypted, has too many files or too much in them, or holds links or path names.
    """

    def __init__(self, content: bytes, name: str):
        self._name = name
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise UserError(f"{name}: not a zip archive, or a damaged one ({error}); save it again") from None
        self._check(len(content))

    @property
    def names(self) -> list[str]:
        """The names of the files."""
        return self._zip.namelist()

    def read(self, part: str) -> bytes:
        """The whole content of a file of the archive.

        Raises:
            UserError: it is not there, damaged or too large.
        """
        try:
            info = self._zip.getinfo(part)
        except KeyError:
            raise UserError(f"{self._name}: {part} in it is missing; save it again") from None
        if info.file_size > MOST_BYTES:
            raise UserError(
                f"{self._name}: {part} has {info.file_size:,} bytes, more than {MOST_BYTES:,}; split the file"
            )
        return self._unpacked(info)

    def xml(self, part: str) -> XmlFile:
        """An XML file of the archive."""
        return XmlFile(self.read(part), f"{self._name}, {part}")

    def written(self, parts: dict[str, bytes]) -> bytes:
        """The archive with new content for some files; everything else, and the order, is unchanged."""
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as file:
            for info in self._zip.infolist():
                content = parts.get(info.filename)
                own = zipfile.ZipInfo(info.filename, info.date_time)
                own.compress_type, own.external_attr, own.create_system = (
                    info.compress_type,
                    info.external_attr,
                    info.create_system,
                )
                own.comment = info.comment
                file.writestr(own, self._unpacked(info) if content is None else content)
            file.comment = self._zip.comment
        return target.getvalue()

    def _unpacked(self, info: zipfile.ZipInfo) -> bytes:
        try:
            return self._zip.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise UserError(f"{self._name}: {info.filename} in it is damaged ({error}); save it again") from None

    def _check(self, size: int) -> None:
        infos = self._zip.infolist()
        if len(infos) > _MOST_ENTRIES:
            raise UserError(f"{self._name}: has {len(infos):,} files in it, more than {_MOST_ENTRIES:,}; split it")
        total = sum(info.file_size for info in infos)
        if total > _MOST_UNPACKED or total > max(_MOST_RATIO * size, _SMALL):
            raise UserError(
                f"{self._name}: {total:,} bytes when unpacked, from {size:,}; not a document, or has to be split"
            )
        if len({info.filename for info in infos}) < len(infos):
            raise UserError(f"{self._name}: has several files of the same name in it; save it again")
        for info in infos:
            self._check_entry(info)

    def _check_entry(self, info: zipfile.ZipInfo) -> None:
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise UserError(f"{self._name}: holds a file whose name leads out of the archive; save it again")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise UserError(f"{self._name}: holds a link to another file; save it again")
        if info.flag_bits & 1:
            raise UserError(f"{self._name}: is encrypted; save it without a password")
        if info.compress_type not in _METHODS:
            raise UserError(f"{self._name}: is packed in an unusual way; save it again")
