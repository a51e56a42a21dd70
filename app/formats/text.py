"""Plain text: each line is cut into sentences; white space and empty lines stay."""

from app.formats.base import Options, TextDocument, decoded, has_words, plain_slot


def read(content: bytes, options: Options) -> TextDocument:
    """Reads plain text."""
    text, encoding = decoded(content, options.name)
    return TextDocument([plain_slot(text) if has_words(text) else text], encoding, lines=True)
