"""Corpora in single files (bilingual formats and Parquet), to be loaded into a warehouse."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from data.bitexts.opening import ENDINGS, open_bitext
from data.corpora.corpora import Corpora, Corpus
from data.corpora.folder import SPLITS
from data.errors import UserError
from data.files import checksum, refuse_long
from data.pairs import Pair, consecutive

BATCH = 20_000
_ENDING = "|".join(f"{re.escape(ending)}$" for ending in (*ENDINGS, ".parquet"))


def open_source(
    name: str, split: str = "train", folders: Iterable[Path | str] = ()
) -> "Corpus | BitextFile | ParquetFile":
    """Opens what can be loaded: a file of `data.bitexts`, a .parquet file, or else a corpus of `data.corpora.corpora`.

    Args:
        name: a path, or the name of a corpus.
        split: the split of a file's pairs, if the file does not name one.
        folders: where to look for folder corpora.

    Raises:
        UserError: there is no such file or corpus.
    """
    if name.lower().endswith(ENDINGS):
        return BitextFile(Path(name).expanduser(), split)
    if name.endswith(".parquet"):
        return ParquetFile(Path(name).expanduser(), split)
    return Corpora(folders).open(name)


class _File:
    """A file with the pairs of one corpus."""

    def __init__(self, path: Path, split: str):
        self.path, self.split = Path(path), split
        self.name = re.sub(_ENDING, "", self.path.name, flags=re.IGNORECASE)
        if not self.path.is_file():
            raise UserError(f"{self.path}: there is no such file")

    def prepare(self, report: Callable[[str], None] | None = None) -> None:
        """Nothing to fetch."""

    def splits(self) -> tuple[str, ...]:
        """The split that was given."""
        return (self.split,)

    def size(self, split: str) -> int | None:
        """None: unknown until the file is read."""

    def fingerprint(self, split: str) -> str:
        """A hash of the file."""
        return checksum(self.path, 32)


class BitextFile(_File):
    """A file of `data.bitexts`, in English and German.

    Args:
        path: the file.
        split: the split of its pairs.
    """

    def __init__(self, path: Path, split: str):
        super().__init__(path, split)
        self._bitext = open_bitext(path)

    def pairs(self, split: str) -> Iterator[Pair]:
        """Streams the pairs.

        Raises:
            UserError: the file is damaged, has no pair in both languages, or has documents whose pairs are not
                consecutive; the message names the line if it can.
        """
        return consecutive(self._bitext.pairs(), lambda number: f"{self.path}, unit {number:,} in both languages")


class ParquetFile(_File):
    """A Parquet file with the columns `en` and `de`, or a column `translation` with both, like data sets on the web.

    The columns `doc` and `split` are used if it has them.

    Args:
        path: the file.
        split: the split of its pairs, if it has no column `split`.

    Raises:
        UserError: it is not a Parquet file, lacks these columns, or they do not hold text.
    """

    def __init__(self, path: Path, split: str):
        super().__init__(path, split)
        self._schema = self._open().schema_arrow
        self._columns = self._check()

    def splits(self) -> tuple[str, ...]:
        """The splits that the file names, or the one that was given."""
        if "split" not in self._schema.names:
            return (self.split,)
        import pyarrow.compute as pc

        found = set()
        for batch in self._open().iter_batches(BATCH, columns=["split"]):
            found |= set(pc.unique(batch.column(0)).to_pylist())
        for split in found:
            if split not in SPLITS:
                raise UserError(f"{self.path}: column 'split' has {split!r}; expected one of {', '.join(SPLITS)}")
        return tuple(split for split in SPLITS if split in found)

    def size(self, split: str) -> int | None:
        """The number of pairs; None if the file has a column `split`."""
        return None if "split" in self._schema.names else self._open().metadata.num_rows

    def pairs(self, split: str) -> Iterator[Pair]:
        """Streams the pairs of a split; missing text becomes ""."""
        return consecutive(self._pairs(split), lambda number: f"{self.path}, pair {number:,} of {split}")

    def _pairs(self, split: str) -> Iterator[Pair]:
        import pyarrow

        try:
            for batch in self._open().iter_batches(BATCH, columns=self._columns):
                columns = {name: batch.column(name).to_pylist() for name in self._columns}
                if "translation" in columns:
                    columns |= {key: [(row or {}).get(key) for row in columns["translation"]] for key in ("en", "de")}
                docs = columns.get("doc", [None] * batch.num_rows)
                wanted = columns.get("split", [split] * batch.num_rows)
                for en, de, doc, own in zip(columns["en"], columns["de"], docs, wanted, strict=True):
                    if own == split:
                        source, target = (refuse_long(text or "", str(self.path)) for text in (en, de))
                        yield Pair(source, target, "" if doc is None else str(doc))
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"{self.path}: damaged or cut short ({str(error).splitlines()[0]})") from error

    def _open(self):
        import pyarrow
        import pyarrow.parquet

        try:
            return pyarrow.parquet.ParquetFile(self.path)
        except pyarrow.ArrowException as error:
            raise UserError(f"{self.path}: not a Parquet file, or cut short ({str(error).splitlines()[0]})") from error

    def _check(self) -> list[str]:
        """The columns to read."""
        names = self._schema.names
        if "translation" in names and "en" not in names:
            kind = self._schema.field("translation").type
            inner = [kind.field(i) for i in range(kind.num_fields)] if str(kind).startswith("struct") else []
            sides, columns = {field.name: field.type for field in inner}, ["translation"]
        else:
            sides, columns = {name: self._schema.field(name).type for name in names}, ["en", "de"]
        for side in ("en", "de"):
            if side not in sides:
                raise UserError(f"{self.path}: no column {side!r}; it has {', '.join(names)}; expected en and de")
            if str(sides[side]) not in ("string", "large_string", "string_view"):
                raise UserError(f"{self.path}: column {side!r} is of type {sides[side]}, expected text")
        return columns + [name for name in ("doc", "split") if name in names]
