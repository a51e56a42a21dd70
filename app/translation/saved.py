"""Unfinished documents, saved in a file with a checksum, for one model's vocabulary."""

from pathlib import Path
from typing import Any

from data.errors import UserError
from data.files import checksum_of, read_json, write_json
from data.tokenizer import Tokenizer


def write_saved(path: Path | str, tokenizer: Tokenizer, version: int, what: str, content: dict[str, Any]) -> None:
    """Writes what `read_saved` reads.

    Args:
        path: the file.
        tokenizer: the model's.
        version: of the format.
        what: what messages call it, such as "session".
        content: JSON values, among them "lines".
    """
    content = {"kind": what, "format": version, "vocabulary": _vocabulary(tokenizer), **content}
    write_json(path, {**content, "checksum": checksum_of(content)})


def read_saved(path: Path | str, tokenizer: Tokenizer, version: int, what: str, maker: str) -> dict[str, Any]:
    """Reads a saved document.

    Args:
        path, tokenizer, version, what: as for `write_saved`.
        maker: what writes it, for messages.

    Raises:
        UserError: there is no such file, it is damaged, or it is of another kind, version or vocabulary.
    """
    content = read_json(path)
    noted = content.pop("checksum", None)
    # Files of earlier versions have no kind.
    if (content.get("kind", what), content.get("format")) != (what, version) or "lines" not in content:
        raise UserError(f"{path}: not a {what} of this version; expected what {maker} writes")
    if noted != checksum_of(content):
        raise UserError(f"{path}: the file was edited or damaged (wrong checksum)")
    if content["vocabulary"] != _vocabulary(tokenizer):
        raise UserError(f"{path}: the {what} belongs to a model with another vocabulary; load it with that model")
    return content


def _vocabulary(tokenizer: Tokenizer) -> str:
    return checksum_of([tokenizer.piece(number) for number in range(tokenizer.vocabulary_size)])
