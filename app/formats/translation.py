"""Translates a file that was read."""

import re
from collections.abc import Callable

from app.formats.base import FileDocument
from app.translation.pieces import Part, PieceTranslator
from app.translation.translator import Translator
from data.errors import UserError

_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def translate_document(
    document: FileDocument, name: str, translator: Translator, progress: Callable[[int, int], None] | None = None
) -> bytes:
    """Translates a file as one document; a model that reads documents remembers what it has read so far.

    Args:
        document: the file.
        name: the file's name, for messages.
        translator: the model.
        progress: see `PieceTranslator`.

    Returns:
        The file with its text translated.

    Raises:
        UserError: there is no text in it.
    """
    if not document.pieces:
        raise UserError(f"{name}: it has no text to translate")
    (translations,) = PieceTranslator(translator, lines=document.lines, progress=progress).translate([document.pieces])
    return document.write([tuple(map(_readable, parts)) for parts in translations])


def _readable(part: Part) -> Part:
    """A part without the characters that XML forbids, in case a model puts them out."""
    return _UNREADABLE.sub("", part) if isinstance(part, str) else part
