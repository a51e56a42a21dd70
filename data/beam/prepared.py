"""A corpus that a pipeline has prepared: Parquet files in reading order, and a report that names them."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from data.corpora.folder import SPLITS
from data.errors import UserError
from data.files import checksum, read_json
from data.pairs import Pair, consecutive

FORMAT = 1
REPORT = "report.json"
_BATCH = 20_000


def is_prepared(path: Path | str) -> bool:
    """Whether a folder holds a prepared corpus, complete or not."""
    return (Path(path) / REPORT).is_file() or any(Path(path).glob("*-*-*.parquet"))


class PreparedCorpus:
    """Reads what `weitblick corpora prepare` has written, one shard after the other, in reading order.

    Args:
        path: the folder of the corpus, which holds its report.
        source: language of the source side.
        target: language of the target side.

    Raises:
        UserError: the folder is incomplete, or of another version or other languages.
    """

    description = "prepared by a pipeline: cleaned Parquet files"
    licence = "as the text's owner says"
    obtain = "weitblick corpora prepare"

    def __init__(self, path: Path | str, source: str = "en", target: str = "de"):
        self.path, self.source, self.target = Path(path), source, target
        self.name = self.path.resolve().name
        self.report = self._read_report()
        languages = {self.report["source"], self.report["target"]}
        if languages != {source, target}:
            raise UserError(f"{self.path}: holds {' and '.join(sorted(languages))}, not {source} and {target}")
        self._documents: bool | None = None

    @property
    def has_documents(self) -> bool:
        """Whether any pair carries the id of its document."""
        if self._documents is None:
            self._documents = any(pair.doc for split in self.splits() for pair in self.pairs(split))
        return self._documents

    def prepare(self, report: Callable[[str], None] | None = None) -> None:
        """Nothing to fetch."""

    def splits(self) -> tuple[str, ...]:
        """Those of "train", "validation" and "test" that have any pairs left."""
        there = {shard["split"] for shard in self.report["shards"]}
        return tuple(split for split in SPLITS if split in there)

    def size(self, split: str) -> int | None:
        """The number of pairs, or None for a split that does not exist."""
        return sum(shard["rows"] for shard in self._shards(split)) if split in self.splits() else None

    def fingerprint(self, split: str) -> str:
        """A hash of the split's files and the direction."""
        digest = hashlib.blake2b(f"{self.source}-{self.target}".encode(), digest_size=16)
        for shard in self._shards(split):
            digest.update(bytes.fromhex(checksum(self.path / shard["file"], 32)))
        return digest.hexdigest()

    def pairs(self, split: str) -> Iterator[Pair]:
        """Streams the pairs of a split in reading order.

        Raises:
            UserError: there is no such split; a shard is missing, damaged, or not the one that the report names.
        """
        if split not in self.splits():
            raise UserError(f"{self.path}: has no {split} split; it has {', '.join(self.splits()) or 'no pair'}")
        return consecutive(self._stream(split), lambda number: f"{self.path}, pair {number:,} of {split}")

    def _stream(self, split: str) -> Iterator[Pair]:
        import pyarrow
        import pyarrow.parquet

        for shard in self._shards(split):
            path = self.path / shard["file"]
            try:
                with pyarrow.parquet.ParquetFile(path) as file:
                    if file.metadata.num_rows != shard["rows"]:
                        raise UserError(
                            f"{path}: has {file.metadata.num_rows:,} rows, but the report says "
                            f"{shard['rows']:,}; prepare the corpus again"
                        )
                    for batch in file.iter_batches(_BATCH, columns=[self.source, self.target, "doc"]):
                        columns = (batch.column(name).to_pylist() for name in (self.source, self.target, "doc"))
                        for source, target, doc in zip(*columns, strict=True):
                            yield Pair(source, target, doc or "")
            except FileNotFoundError:
                raise UserError(f"{path}: is missing; prepare the corpus again") from None
            except pyarrow.ArrowException as error:
                message = str(error).splitlines()[0]
                raise UserError(f"{path}: damaged or cut short ({message}); prepare the corpus again") from error

    def _shards(self, split: str) -> list[dict]:
        return [shard for shard in self.report["shards"] if shard["split"] == split]

    def _read_report(self) -> dict:
        path = self.path / REPORT
        again = "prepare the corpus again into another folder"
        try:
            report = read_json(path)
        except UserError as error:
            if not path.exists():
                raise UserError(f"{self.path}: has no {REPORT}, so it was not prepared completely; {again}") from None
            raise UserError(f"{error}; {again}") from None
        if report.get("format") != FORMAT:
            raise UserError(f"{path}: is not the report of a prepared corpus of format {FORMAT}; {again}")
        return report
