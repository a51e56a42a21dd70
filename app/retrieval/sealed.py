"""Folders that record the size and checksum of their files, not all of which are read when a folder is opened."""

import os
from collections.abc import Iterable
from pathlib import Path

from data.errors import UserError
from data.files import checksum, checksum_of, read_json, write_json

MANIFEST = "manifest.json"
SMALL = 1 << 20  # bytes of the largest file that is read to open a folder


def seal(folder: Path, names: Iterable[str], content: dict) -> None:
    """Writes a folder's manifest, its last file: `content`, and size and checksum of each file; flushes all to disk."""
    files = {}
    for name in sorted(names):
        with open(folder / name, "rb") as file:
            os.fsync(file.fileno())
        files[name] = {"bytes": (folder / name).stat().st_size, "checksum": checksum(folder / name)}
    content = {**content, "files": files}
    write_json(folder / MANIFEST, {**content, "checksum": checksum_of(content)})


def read_sealed(folder: Path, verify: bool = False) -> dict:
    """Reads a folder's manifest, and compares its files with it.

    Args:
        folder: where the manifest is.
        verify: compare the checksums of all files. Otherwise those above `SMALL` bytes are compared by size alone.

    Raises:
        UserError: a file, or the manifest itself, cannot be read or is not as it was written; names the file.
    """
    content = read_json(folder / MANIFEST)
    if content.pop("checksum", None) != checksum_of(content) or not isinstance(content.get("files"), dict):
        raise UserError(f"{folder / MANIFEST}: the file is damaged")
    for name, expected in content["files"].items():
        path = folder / name
        try:
            size = path.stat().st_size
            whole = size == expected["bytes"] and (
                (size > SMALL and not verify) or checksum(path) == expected["checksum"]
            )
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        if not whole:
            raise UserError(f"{path}: the file is damaged")
    return content
