"""Files that grow together part by part; writing resumes after the last whole part, wherever it stopped."""

import contextlib
import os
from hashlib import blake2b
from pathlib import Path
from typing import IO

from data.errors import UserError
from data.files import checksum_of, named_errors, read_json, sweep, write_json

PROGRESS = "progress.json"


class Columns:
    """Growing files in a folder, whose whole parts are listed in `progress.json`.

    Content written under another key is removed, and so is everything after the last whole part, or from the first
    damaged part on. Use as a context manager.

    Args:
        folder: created if missing.
        names: of the files.
        key: what determines the content, in plain JSON values.
    """

    def __init__(self, folder: Path, names: tuple[str, ...], key: dict):
        self._folder, self._names, self._key = folder, names, key
        self._files: dict[str, IO[bytes]] = {}
        self._parts = self._whole_parts()

    @property
    def notes(self) -> list[dict]:
        """The note on each whole part."""
        return [part["note"] for part in self._parts]

    @property
    def ends(self) -> dict[str, int]:
        """The number of bytes in each file."""
        return dict(self._parts[-1]["ends"]) if self._parts else dict.fromkeys(self._names, 0)

    def __enter__(self) -> "Columns":
        self._folder.mkdir(parents=True, exist_ok=True)
        sweep(self._folder)
        ends = self.ends
        for name in self._names:
            file = open(self._folder / name, "ab")  # noqa: SIM115 - closed by __exit__
            self._files[name] = file
            file.truncate(ends[name])
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            # A full disk was reported by the write; what is still buffered belongs to the same part.
            with contextlib.suppress(OSError):
                file.close()

    def append(self, data: dict[str, bytes], note: dict) -> None:
        """Writes a part to disk.

        Args:
            data: what to append to each file, or to some of them.
            note: what to note on the part, in plain JSON values.
        """
        ends, checksums = self.ends, {}
        for name, content in data.items():
            with named_errors(self._folder / name):
                self._files[name].write(content)
                self._files[name].flush()
                os.fsync(self._files[name].fileno())
            ends[name] += len(content)
            checksums[name] = _checksum(content)
        self._parts.append({"note": note, "ends": ends, "checksums": checksums})
        progress = {"key": self._key, "parts": self._parts}
        try:
            write_json(self._folder / PROGRESS, {**progress, "checksum": checksum_of(progress)})
        except BaseException:
            self._parts.pop()
            raise

    def forget(self, folder: Path) -> None:
        """Removes the list of parts from `folder`, to which the files were moved."""
        (folder / PROGRESS).unlink(missing_ok=True)

    def _whole_parts(self) -> list[dict]:
        try:
            progress = read_json(self._folder / PROGRESS)
        except UserError:
            progress = {}
        if progress.pop("checksum", None) != checksum_of(progress) or progress["key"] != self._key:
            return []
        starts = dict.fromkeys(self._names, 0)
        for number, part in enumerate(progress["parts"]):
            for name, expected in part["checksums"].items():
                if not self._is_whole(name, starts[name], part["ends"][name], expected):
                    return progress["parts"][:number]
            starts = part["ends"]
        return progress["parts"]

    def _is_whole(self, name: str, start: int, end: int, expected: str) -> bool:
        try:
            with open(self._folder / name, "rb") as file:
                file.seek(start)
                return _checksum(file.read(end - start)) == expected
        except OSError:
            return False


def _checksum(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
