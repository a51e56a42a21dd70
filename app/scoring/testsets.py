"""What to score on: a split of a corpus, an official test set, or a pair of files."""

import contextlib
import hashlib
import itertools
import shutil
import socket
import threading
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from app.translation.lines import read_text
from data.corpora.corpora import DEFAULT_CORPORA, Corpora
from data.corpora.wmt14 import OFFICIAL
from data.errors import UserError
from data.pairs import Pair, by_document

T = TypeVar("T")

CONNECT_SECONDS = 5
STALL_SECONDS = 30


@dataclass(frozen=True)
class TestSet:
    """Segments with their references, and the documents that they form.

    Args:
        name: the name of the results files: the corpus and the split.
        sources, references: one for each segment; `sources` is None if only references are known.
        origin: where the text is from, for the record.
        documents: the number of segments of each document, in order; empty if no boundaries are known.
        test, pair: for a test set of sacreBLEU, its name there and "en-de"; otherwise "".
        first: the number of lines if these are the first ones of a larger set; otherwise 0.

    Example:
        >>> test = load_test_set("europarl", corpora=Corpora(["../corpora"]))
        >>> len(test.documents), test.segments
        (356, 5061)
    """

    name: str
    sources: tuple[str, ...] | None
    references: tuple[str, ...]
    origin: str
    documents: tuple[int, ...] = ()
    test: str = ""
    pair: str = ""
    first: int = 0

    __test__ = False  # so that pytest does not collect it

    @classmethod
    def of_documents(
        cls, name: str, sources: Sequence[Sequence[str]], references: Sequence[Sequence[str]], origin: str
    ) -> "TestSet":
        """A test set of documents, given as the segments of each."""
        left, right = (tuple(itertools.chain.from_iterable(side)) for side in (sources, references))
        return cls(name, left, right, origin, tuple(map(len, sources)))

    @property
    def segments(self) -> int:
        """The total number of segments."""
        return len(self.references)

    @property
    def fingerprint(self) -> str:
        """A hash of the text and its document boundaries: equal for equal test sets, wherever they come from."""
        digest = hashlib.sha256()
        for side in (self.sources or (), self.references):
            for document in self.cut(side) if self.documents and side else [side]:
                digest.update(f"{len(document)}\n".encode())
                for line in document:
                    digest.update(line.encode() + b"\n")
        return digest.hexdigest()[:16]

    def cut(self, lines: Sequence[T]) -> list[list[T]]:
        """Groups one item for each segment, such as a translation, into one list for each document.

        If no boundaries are known, each segment is a document of its own.
        """
        every = iter(lines)
        return [list(itertools.islice(every, size)) for size in self.documents or (1,) * self.segments]

    def pairs(self) -> list[list[tuple[str, str]]]:
        """The segments of each document with their references."""
        return self.cut(list(zip(self.sources, self.references, strict=True)))

    def head(self, lines: int) -> "TestSet":
        """The first lines of the set, which is then no longer the official one; 0 means all."""
        if not lines or lines >= self.segments:
            return self
        ends = list(itertools.accumulate(self.documents))
        documents = [min(size, lines - end + size) for size, end in zip(self.documents, ends, strict=True)]
        return TestSet(
            f"{self.name}-first{lines}",
            self.sources and self.sources[:lines],
            self.references[:lines],
            self.origin,
            tuple(size for size in documents if size > 0),
            first=lines,
        )

    def of_sizes(self, low: int, high: int) -> "TestSet":
        """Only the documents of `low` to `high` segments."""
        kept = [document for document in self.pairs() if low <= len(document) <= high]
        sources, references = ([[pair[side] for pair in document] for document in kept] for side in (0, 1))
        return TestSet.of_documents(f"{self.name}-{low}to{high}", sources, references, self.origin)

    def summary(self) -> dict:
        """The description of the set in results."""
        sizes = {"segments": self.segments, "documents": len(self.documents)}
        return {"name": self.name, "origin": self.origin, **sizes, "fingerprint": self.fingerprint}


def load_test_set(name: str, split: str = "test", corpora: Corpora = DEFAULT_CORPORA) -> TestSet:
    """Reads a split of a corpus.

    The test splits of `wmt14` (newstest2014 as it is usually scored, 2,737 segments) and `wmt14/full` (all 3,003) are
    sacreBLEU's: from its cache or the network or, failing both, from the folder corpora `newstest` and `newstest-docs`.

    Args:
        name: name or path of the corpus, see `data.corpora.corpora.Corpora.open`; or an official set.
        split: "train", "validation" or "test".
        corpora: where to look for it.

    Returns:
        A `TestSet`. In a corpus with documents, a segment without a document id is a document of its own.

    Raises:
        UserError: there is no such corpus or split, it is empty, or it cannot be fetched.
    """
    if name in OFFICIAL and (split == "test" or name == "wmt14/full"):
        if split != "test":
            raise UserError(f'"{name}" has no split "{split}", only "test"')
        return _official(name, corpora)
    corpus = corpora.open(name)
    pairs = list(corpus.pairs(split))
    if not pairs:
        raise UserError(f'the split "{split}" of {name} is empty; there is nothing to score')
    sides = tuple(p.source for p in pairs), tuple(p.target for p in pairs)
    return TestSet(f"{Path(corpus.name).name}-{split}", *sides, f"{corpus.name}, {split}", _documents(pairs))


def load_documents(name: str, split: str = "test", corpora: Corpora = DEFAULT_CORPORA) -> TestSet:
    """Like `load_test_set`, for a corpus that must have documents.

    Raises:
        UserError: the corpus does not name the document that a segment belongs to.
    """
    test = load_test_set(name, split, corpora)
    if not test.documents:
        raise UserError(
            f'the split "{split}" of {name} has no documents (a folder corpus names them in doc.{split}.txt); '
            "score it with `weitblick evaluate`"
        )
    return test


def has_documents(name: str, split: str, corpora: Corpora) -> bool:
    """Whether a corpus names the documents of this split; False if there is no such corpus or split."""
    try:
        corpus = corpora.open(name)
        return corpus.has_documents and any(pair.doc for pair in corpus.pairs(split))
    except UserError:
        return False


def shuffled(segments: int, seed: int = 0) -> list[int]:
    """A permutation of the segments in which none keeps its place or follows its true predecessor.

    Args:
        segments: how many there are. Fewer than four are reversed; of three, one keeps its place, since no such
            permutation exists.
        seed: equal seeds give equal orders.

    Returns:
        For each place, the index of the segment there.
    """
    if segments < 4:
        return list(range(segments))[::-1]
    random = np.random.default_rng(seed)
    while True:  # about one draw in seven succeeds
        order = random.permutation(segments)
        if (order != np.arange(segments)).all() and (np.diff(order) != 1).all():
            return order.tolist()


def in_order(lines: Sequence[T], order: Sequence[int]) -> list[T]:
    """Undoes `shuffled`: `lines[n]` goes to place `order[n]`."""
    found = list(lines)
    for place, line in zip(order, lines, strict=True):
        found[place] = line
    return found


def _documents(pairs: Sequence[Pair]) -> tuple[int, ...]:
    """The number of segments of each document; empty if no segment names its document."""
    if not any(pair.doc for pair in pairs):
        return ()
    return tuple(map(len, by_document(pairs)))


def read_test_files(reference: Path | str, source: Path | str | None = None) -> TestSet:
    """Reads references, and their sources if given, from text files.

    Raises:
        UserError: a file cannot be read, is not UTF-8, or is empty, or the numbers of lines differ.
    """
    references = read_text(reference)
    sources = read_text(source) if source else None
    if sources is not None and len(sources) != len(references):
        raise UserError(
            f"{source} has {len(sources):,} lines and {reference} has {len(references):,}; "
            "line n of one must belong to line n of the other"
        )
    if not references:
        raise UserError(f"{reference} is empty; there is nothing to score")
    return TestSet(Path(reference).name, sources and tuple(sources), tuple(references), str(reference))


def _official(name: str, corpora: Corpora) -> TestSet:
    lines, folder = OFFICIAL[name]
    label, pair = f"{name.replace('/', '-')}-test", f"{corpora.source}-{corpora.target}"
    try:
        sources, references = _from_sacrebleu(name, pair, lines)
        return TestSet(label, tuple(sources), tuple(references), f"sacreBLEU, {name}", test=name, pair=pair)
    except UserError as error:
        reason = str(error)
    try:
        pairs = list(corpora.open(folder).pairs("test"))
    except UserError:
        raise UserError(
            f"{reason}, and there is no corpus folder {folder} to use instead; connect to the network, or name "
            f"the folder that holds {folder} with --corpora or WEITBLICK_CORPORA"
        ) from None
    if len(pairs) != lines:
        raise UserError(f"{reason}, and the test split of {folder} has {len(pairs):,} segments instead of {lines:,}")
    return TestSet(label, tuple(p.source for p in pairs), tuple(p.target for p in pairs), f"{folder}, test")


def _from_sacrebleu(name: str, pair: str, lines: int) -> tuple[list[str], list[str]]:
    """Sources and references of an official set, downloaded if necessary."""
    from sacrebleu.dataset import DATASETS
    from sacrebleu.utils import SACREBLEU_DIR

    dataset = DATASETS[name]
    if pair not in dataset.langpairs:
        raise UserError(f"sacreBLEU has no {name} for {pair}")
    folder = Path(SACREBLEU_DIR, name)
    base = f"{name.replace('/', '_')}.{pair}"
    paths = [folder / f"{base}.{side}" for side in ("src", "ref")]
    if not all(path.is_file() for path in paths):
        _fetch(dataset, pair, folder)
    sides = read_text(paths[0]), read_text(paths[1])
    if any(len(side) != lines for side in sides):
        raise UserError(f"{folder} is damaged: {name} has {lines:,} segments, not {len(sides[0]):,}; delete it")
    return sides


def _fetch(dataset, pair: str, folder: Path) -> None:
    """Downloads a set with sacreBLEU; removes partial files, which sacreBLEU would mistake for complete ones."""
    from sacrebleu.utils import get_source_file

    url = dataset.data[0]
    problem = _unreachable(url)
    if problem:
        raise UserError(f"{url} cannot be reached ({problem})")
    before = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(STALL_SECONDS)
        get_source_file(dataset.name, pair)
    except BaseException as error:
        for path in folder.glob("*.*"):
            path.unlink()
        shutil.rmtree(folder / "raw", ignore_errors=True)
        if isinstance(error, Exception | SystemExit):
            raise UserError(f"{dataset.name} could not be fetched from {url} ({error})") from error
        raise
    finally:
        socket.setdefaulttimeout(before)


def _unreachable(url: str) -> str:
    """Why an address does not answer within a few seconds, or "". Uses a thread, since a DNS lookup can hang."""
    answers: list[str] = []

    def ask():
        try:
            with contextlib.closing(urllib.request.build_opener().open(url, timeout=CONNECT_SECONDS)):
                answers.append("")
        except Exception as error:  # any error is an answer
            answers.append(str(getattr(error, "reason", error)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS + 1)
    return answers[0] if answers else f"no answer within {CONNECT_SECONDS} seconds"
