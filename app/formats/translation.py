"""The translation of a file that was read."""

from collections.abc import Callable

from app.formats.base import FileDocument
from app.translation.pieces import PieceTranslator
from app.translation.translator import Translator
from data.errors import UserError


def translate_document(
    document: FileDocument, name: str, translator: Translator, progress: Callable[[int, int], None] | None = None
) -> bytes:
    """Translates a file as one document; a model that reads documents remembers what it has read of it.

    Args:
        document: the file.
        name: of the file, for messages.
        translator: the model.
        progress: see `PieceTranslator`.

    Returns:
        The file with its text translated.

    Raises:
        UserError: there is no text in it.
    """
    if not document.pieces:
        raise UserError(f"{name}: there is no text to translate in it")
    (translations,) = PieceTranslator(translator, lines=document.lines, progress=progress).translate([document.pieces])
    return document.write(translations)
