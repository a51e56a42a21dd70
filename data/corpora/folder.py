"""A corpus in a folder of plain text files, in the layout of `tfds.TranslateFolder`."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

from data.errors import UserError
from data.files import atomic_write, checksum, limited_lines, new_folder, write_json
from data.pairs import Pair, consecutive

SPLITS = ("train", "validation", "test")
_CHUNK = 1 << 20


def read_lines(path: Path | str) -> Iterator[str]:
    """Streams the lines of a UTF-8 file; "\\n" alone ends a line.

    Other characters that `str.splitlines` would break at (U+2028, U+0085, form feed ...) stay inside their line, so
    that two parallel files never drift apart. A byte order mark at the start and a "\\r" before "\\n" are dropped.

    Args:
        path: the file.

    Yields:
        One string a line, without its line end.

    Raises:
        UserError: the bytes are not UTF-8, or a line is longer than `data.files.LONGEST`; the message names file and
            line.
    """
    path = Path(path)
    with path.open("rb") as file:
        yield from decoded_lines(file, path)


def decoded_lines(file: IO[bytes], name: str) -> Iterator[str]:
    """The lines of an open file, as `read_lines` gives them; `name` is for the message of its `UserError`."""
    for number, raw in enumerate(limited_lines(file, name), start=1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{name}, line {number}: not valid UTF-8 (byte 0x{raw[error.start]:02x} at byte {error.start + 1} "
                "of the line); convert the file to UTF-8"
            ) from None
        if number == 1:
            line = line.removeprefix("\ufeff")
        yield line.removesuffix("\r")


def count_lines(path: Path | str) -> int:
    """The number of lines that `read_lines` yields, without decoding them."""
    lines, last = 0, b"\n"
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return lines + (last != b"\n")


def write_folder(folder: Path | str, pairs: Iterable[Pair], source: str, target: str, made: dict[str, Any]) -> None:
    """Writes a corpus folder with a training split, and a `made.json` that says how it was made.

    Args:
        folder: the folder to create.
        pairs: the segments; documents are written if any segment has one.
        source, target: the languages.
        made: the content of `made.json`.

    Raises:
        UserError: the folder exists already and is not empty.
    """
    pairs = list(pairs)
    columns = {source: "source", target: "target", **({"doc": "doc"} if any(pair.doc for pair in pairs) else {})}
    with new_folder(folder) as place:
        for name, field in columns.items():
            with atomic_write(place / f"{name}.train.txt", "w") as file:
                file.writelines(f"{getattr(pair, field)}\n" for pair in pairs)
        write_json(place / "made.json", made)


class FolderCorpus:
    """Parallel text in `{source}.{split}.txt`, `{target}.{split}.txt` and, for documents, `doc.{split}.txt`.

    Line n of one file is the translation of line n of the other, and line n of the `doc` file is the id of its
    document; the lines of a document are consecutive and in reading order. Nothing is read before it is needed, and
    nothing is held in memory.

    Args:
        path: the folder.
        source: language of the source side, the first part of its files' names, such as "en".
        target: language of the target side.
        name: what the corpus is called; the folder's name by default.
        description: one line about what it is.
        licence: one line about what may be done with it.

    Raises:
        UserError: the folder is missing or has no split in both languages.

    Example:
        >>> corpus = FolderCorpus("corpora/ted", "en", "de")
        >>> corpus.splits()
        ('train', 'validation')
        >>> next(corpus.pairs("train"))
        Pair(source='Good evening.', target='Guten Abend.', doc='talk-1')
    """

    obtain = "files of yours: {en,de,doc}.{train,validation,test}.txt in a folder"

    def __init__(
        self,
        path: Path | str,
        source: str = "en",
        target: str = "de",
        name: str | None = None,
        description: str = "a folder of text files",
        licence: str = "as the files' owner says",
    ):
        self.path = Path(path)
        self.source = source
        self.target = target
        self.name = name or self.path.resolve().name
        self.description = description
        self.licence = licence
        self._sizes: dict[str, int] = {}
        self._fingerprints: dict[str, str] = {}
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such folder; a corpus is a folder of files such as {source}.train.txt")
        if not self.splits():
            raise UserError(self._no_splits())

    def prepare(self, report: Callable[[str], None] | None = None) -> None:
        """Nothing to fetch.

        Args:
            report: called with lines about the progress.
        """

    def splits(self) -> tuple[str, ...]:
        """Those of "train", "validation" and "test" that exist in both languages."""
        return tuple(s for s in SPLITS if self._file(self.source, s).is_file() and self._file(self.target, s).is_file())

    @property
    def has_documents(self) -> bool:
        """Whether any split names the documents of its lines."""
        return any(self._file("doc", split).is_file() for split in self.splits())

    def pairs(self, split: str) -> Iterator[Pair]:
        """Streams the pairs of a split in the order of its files.

        Args:
            split: "train", "validation" or "test".

        Yields:
            `Pair`s of raw text; `doc` is "" if the split has no `doc` file.

        Raises:
            UserError: the split does not exist, it is empty, its files have different lengths, the lines of a document
                are not consecutive, a line is too long, or bytes are not UTF-8. The first is raised at the call, the
                others when reading reaches them.
        """
        pairs = self._stream(self._files(split))
        return consecutive(pairs, lambda number: f"{self._file('doc', split)}, line {number:,}")

    def size(self, split: str) -> int | None:
        """The number of pairs in a split (lines of its source file), or None for a split that does not exist."""
        if split not in self.splits():
            return None
        if split not in self._sizes:
            self._sizes[split] = count_lines(self._file(self.source, split))
        return self._sizes[split]

    def fingerprint(self, split: str) -> str:
        """A hash of the split's text, the same on every machine; changes when text, direction or documents change.

        Args:
            split: "train", "validation" or "test".

        Returns:
            32 hexadecimal digits.

        Raises:
            UserError: the split does not exist.
        """
        if split not in self._fingerprints:
            digest = hashlib.blake2b(digest_size=16)
            for path in self._files(split):
                digest.update(bytes.fromhex(checksum(path, 32)))
            self._fingerprints[split] = digest.hexdigest()
        return self._fingerprints[split]

    def _file(self, column: str, split: str) -> Path:
        return self.path / f"{column}.{split}.txt"

    def _files(self, split: str) -> list[Path]:
        """The split's source, target and, if it has one, doc file."""
        if split not in self.splits():
            raise UserError(self._no_split(split))
        doc = self._file("doc", split)
        return [self._file(self.source, split), self._file(self.target, split), *([doc] if doc.is_file() else [])]

    def _stream(self, files: list[Path]) -> Iterator[Pair]:
        count = 0
        for columns in zip_longest(*(read_lines(path) for path in files)):
            if None in columns:
                raise UserError(self._different_lengths(files))
            count += 1
            yield Pair(*columns)
        if not count:
            raise UserError(f"{files[0]} and {files[1]} are empty; put one segment on each line")

    def _different_lengths(self, files: list[Path]) -> str:
        counts = [count_lines(path) for path in files]
        other = next(i for i, count in enumerate(counts) if count != counts[0])
        return (
            f"{files[0]} has {counts[0]:,} lines and {files[other].name} has {counts[other]:,}; "
            "line n of one must belong to line n of the other"
        )

    def _no_split(self, split: str) -> str:
        there = ", ".join(self.splits())
        for column, other in ((self.source, self.target), (self.target, self.source)):
            if self._file(column, split).is_file():
                missing = self._file(other, split).name
                return f"{self._file(column, split)} exists, but {missing} is missing; splits in both: {there}"
        return f"corpus {self.name!r} has no split {split!r}; it has: {there} (in {self.path})"

    def _no_splits(self) -> str:
        there = sorted(file.name for file in self.path.glob("*.*.txt"))
        found = f"it has {', '.join(there[:6])}{' ...' if len(there) > 6 else ''}" if there else "it has no such files"
        wanted = f"{self.source}.SPLIT.txt and {self.target}.SPLIT.txt, SPLIT being one of {', '.join(SPLITS)}"
        return f"{self.path}: no parallel text; {found}, expected {wanted}"
