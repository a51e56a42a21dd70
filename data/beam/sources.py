"""What a pipeline reads, cut into parts for one worker each; uses Beam's file systems, not its pipelines."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from data.corpora.corpora import BUILT_IN, WAREHOUSE, Corpora, Corpus
from data.corpora.folder import SPLITS, decoded_lines
from data.errors import UserError
from data.pairs import Pair, consecutive
from data.warehouse.files import ParquetFile

_TEXT = (".txt", ".txt.gz", ".txt.bz2")
_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class Part:
    """Consecutive pairs of one split of a corpus; the parts of a split are read in the order in which they are listed.

    Args:
        corpus: the name of the corpus in the output.
        split: "train", "validation" or "test".
        reader: streams raw `Pair`s when called without arguments, in any process.
    """

    corpus: str
    split: str
    reader: "CorpusReader | TextReader | ParquetReader"


@dataclass(frozen=True)
class CorpusReader:
    """Reads a split of a corpus of `data.corpora.corpora`; a worker must find it under the same name."""

    name: str
    split: str
    source: str
    target: str
    folders: tuple[str, ...] = ()

    def __call__(self) -> Iterator[Pair]:
        return self._open().pairs(self.split)

    def local_paths(self) -> list[str]:
        """The folder of a folder corpus; other corpora are fetched by the machine that reads them."""
        if self.name in BUILT_IN or self.name.startswith(WAREHOUSE):
            return []
        return [str(self._open().path)]  # type: ignore[attr-defined]

    def _open(self) -> Corpus:
        return Corpora(self.folders, source=self.source, target=self.target).open(self.name)


@dataclass(frozen=True)
class TextReader:
    """Reads parallel text files from any file system that Beam supports; `doc` is "" if there is none."""

    source: str
    target: str
    doc: str = ""

    @property
    def name(self) -> str:
        """The document file or, if there is none, the source file, for messages."""
        return self.doc or self.source

    def __call__(self) -> Iterator[Pair]:
        return consecutive(self._pairs(), lambda number: f"{self.doc or self.source}, line {number:,}")

    def _pairs(self) -> Iterator[Pair]:
        files = [path for path in (self.source, self.target, self.doc) if path]
        with contextlib.ExitStack() as stack:
            columns = [decoded_lines(stack.enter_context(_open(path)), path) for path in files]
            for number, texts in enumerate(zip_longest(*columns), start=1):
                if None in texts:
                    short = files[texts.index(None)]
                    raise UserError(
                        f"{short} ends before line {number:,}, and {files[texts.index(None) - 1]} does not; line n of "
                        "one must belong to line n of the other"
                    )
                yield Pair(*texts)

    def local_paths(self) -> list[str]:
        """The source file, if it is on this machine; the other files are next to it."""
        return [self.source] if is_local(self.source) else []


@dataclass(frozen=True)
class ParquetReader:
    """Reads one split of a Parquet file from any file system that Beam supports."""

    path: str
    split: str

    @property
    def name(self) -> str:
        """The file, for messages."""
        return self.path

    def __call__(self) -> Iterator[Pair]:
        return _RemoteParquet(self.path, self.split).pairs(self.split)

    def local_paths(self) -> list[str]:
        """The file, if it is on this machine."""
        return [self.path] if is_local(self.path) else []


class _RemoteParquet(ParquetFile):
    """A Parquet file that Beam opens."""

    def __init__(self, path: str, split: str):
        self.path, self.split = path, split
        self._schema = self._open().schema_arrow
        self._columns = self._check()

    def _open(self):
        import pyarrow
        import pyarrow.parquet

        try:
            return pyarrow.parquet.ParquetFile(_open(self.path))
        except pyarrow.ArrowException as error:
            raise UserError(f"{self.path}: not a Parquet file, or cut short ({str(error).splitlines()[0]})") from error


def is_local(path: str) -> bool:
    """Whether a path is on this machine rather than an address."""
    return "://" not in path


def find_parts(
    names: Iterable[str],
    source: str = "en",
    target: str = "de",
    split: str = "train",
    folders: Iterable[Path | str] = (),
    corpus: str = "",
    report: Callable[[str], None] | None = None,
) -> list[Part]:
    """Cuts sources into parts. It fetches what corpora need but reads no text.

    Args:
        names: for each source a corpus of `data.corpora.corpora`, or a pattern of files such as
            `gs://bucket/crawl/*.parquet` or `crawl/en.*.txt`, in any file system that Beam supports. Next to a text
            file `en.REST` there must be `de.REST` and, if documents are known, `doc.REST`. The files of a pattern are
            read in the order of their names.
        source: language of the source side.
        target: language of the target side.
        split: the split of a file's pairs, if neither a column `split` nor the name (`en.test.txt`) gives it.
        folders: where to look for folder corpora.
        corpus: what the corpus is called in the output; by default a corpus keeps its name, a Parquet file without
            wildcards gives its own, and text files and patterns give the name of their folder.
        report: called with lines about the progress of fetching.

    Returns:
        The parts.

    Raises:
        UserError: no such corpus or file, a file of another kind, or two corpora of the same name.
    """
    if corpus and len(names) > 1:
        raise UserError("--name names one corpus; prepare them one by one")
    parts, owners = [], {}
    for name in names:
        found = _file_parts(name, source, target, split) if _is_pattern(name) else None
        found = found or _corpus_parts(name, source, target, folders, report)
        called = corpus or found[0].corpus
        if not _NAME.fullmatch(called):
            raise UserError(f"{name}: {called!r} cannot be the name of a folder; give the corpus one with --name")
        if called in owners:
            raise UserError(f"{owners[called]} and {name} are both called {called!r}; prepare one with another --name")
        owners[called] = name
        parts += [Part(called, part.split, part.reader) for part in found]
    return parts


def _is_pattern(name: str) -> bool:
    return not is_local(name) or any(sign in name for sign in "*?") or name.endswith((".parquet", *_TEXT))


def _corpus_parts(name: str, source: str, target: str, folders, report) -> list[Part]:
    corpus = Corpora(folders, source=source, target=target).open(name)
    corpus.prepare(report)
    folders = tuple(map(str, folders))
    readers = [CorpusReader(name, split, source, target, folders) for split in corpus.splits()]
    return [Part(corpus.name, reader.split, reader) for reader in readers]


def _file_parts(pattern: str, source: str, target: str, split: str) -> list[Part] | None:
    """The parts of the files of a pattern; None for a corpus whose name looks like one, as a query does."""
    if pattern.startswith(WAREHOUSE):
        return None
    files = _matching(pattern)
    if not files:
        raise UserError(f"{pattern}: there is no such file")
    wild = any(sign in pattern for sign in "*?[")
    first = PurePosixPath(files[0])
    parts = []
    for path in files:
        if path.endswith(".parquet"):
            if (source, target) != ("en", "de"):
                raise UserError(f"{path}: Parquet files have the columns en and de; the preset asks for others")
            own = _RemoteParquet(path, split).splits()
            name = first.parent.name if wild else first.name.partition(".")[0]
            parts += [Part(name, one, ParquetReader(path, one)) for one in own]
        elif path.endswith(_TEXT):
            parts.append(Part(first.parent.name, *_text_part(path, source, target, split)))
        else:
            raise UserError(f"{path}: expected a name that ends in .parquet, {', '.join(_TEXT)}")
    return parts


def _text_part(path: str, source: str, target: str, split: str) -> tuple[str, TextReader]:
    """The split and the reader of a text file and of those next to it."""
    folder, slash, name = path.rpartition("/")
    language, _, rest = name.partition(".")
    if language != source:
        raise UserError(f"{path}: expected {source}.REST, with {target}.REST next to it; name only the {source} files")
    beside = {column: f"{folder}{slash}{column}.{rest}" for column in (target, "doc")}
    if not _matching(beside[target]):
        raise UserError(f"{path} exists, but {beside[target]} is missing; each needs the other")
    doc = beside["doc"] if _matching(beside["doc"]) else ""
    named = rest.partition(".")[0]
    return named if named in SPLITS else split, TextReader(path, beside[target], doc)


def _matching(pattern: str) -> list[str]:
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    try:
        [found] = FileSystems.match([pattern])
    except (BeamIOError, ValueError, ImportError) as error:
        raise UserError(f"{pattern}: cannot be searched for ({_first_line(error)})") from error
    return sorted(entry.path for entry in found.metadata_list)


def _open(path: str):
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    try:
        return FileSystems.open(path)
    except BeamIOError as error:
        raise UserError(f"{path}: cannot be read ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
