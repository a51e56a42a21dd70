"""What to score on: a split of a corpus, an official test set, or a pair of files."""

import contextlib
import hashlib
import shutil
import socket
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from app.translation.lines import read_text
from data.corpora.corpora import DEFAULT_CORPORA, Corpora
from data.errors import UserError

# Official sets of sacreBLEU: their number of segments, and the folder corpus that has the same text.
OFFICIAL = {"wmt14": (2737, "newstest"), "wmt14/full": (3003, "newstest-docs")}
CONNECT_SECONDS = 5
STALL_SECONDS = 30


@dataclass(frozen=True)
class TestSet:
    """Segments with their references.

    Args:
        name: names the files of results: the corpus and the split.
        sources, references: one for each segment; `sources` is None where only references are known.
        origin: where the text is from, for the record.
        test, pair: sacreBLEU's name of the set and "en-de" where the text is sacreBLEU's own, else "".
        first: how many lines were taken, where these are the first ones of a larger set; else 0.
    """

    name: str
    sources: tuple[str, ...] | None
    references: tuple[str, ...]
    origin: str
    test: str = ""
    pair: str = ""
    first: int = 0

    __test__ = False  # not a test of pytest's

    @property
    def fingerprint(self) -> str:
        """A hash of the text: equal for equal test sets, wherever they came from."""
        digest = hashlib.sha256()
        for side in (self.sources or (), self.references):
            digest.update(f"{len(side)}\n".encode())
            for line in side:
                digest.update(line.encode() + b"\n")
        return digest.hexdigest()[:16]

    def head(self, lines: int) -> "TestSet":
        """The first lines of the set, which is not the official one any more; 0 means all."""
        if not lines or lines >= len(self.references):
            return self
        sources = self.sources and self.sources[:lines]
        return TestSet(f"{self.name}-first{lines}", sources, self.references[:lines], self.origin, first=lines)


def load_test_set(name: str, split: str = "test", corpora: Corpora = DEFAULT_CORPORA) -> TestSet:
    """Reads a split of a corpus.

    The test splits of `wmt14` (newstest2014 as it is usually scored, 2,737 segments) and `wmt14/full` (all 3,003) are
    sacreBLEU's: from its cache or the network and, where neither has them, from the folder corpora `newstest` and
    `newstest-docs`.

    Args:
        name: of the corpus, or its path, see `data.corpora.corpora.Corpora.open`; or an official set.
        split: "train", "validation" or "test".
        corpora: where it is looked for.

    Returns:
        A `TestSet`.

    Raises:
        UserError: there is no such corpus or split, it is empty, or it cannot be fetched.
    """
    if name in OFFICIAL and (split == "test" or name == "wmt14/full"):
        if split != "test":
            raise UserError(f'"{name}" has no split "{split}", only "test"')
        return _official(name, corpora)
    found = corpora.open(name)
    pairs = list(found.pairs(split))
    if not pairs:
        raise UserError(f'the split "{split}" of {name} is empty; there is nothing to score')
    label = f"{Path(found.name).name}-{split}"
    return TestSet(label, tuple(p.source for p in pairs), tuple(p.target for p in pairs), f"{found.name}, {split}")


def read_test_files(reference, source=None) -> TestSet:
    """Reads references, and their sources if there are any, from text files.

    Raises:
        UserError: a file cannot be read, is not UTF-8, is empty, or has another number of lines.
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
        return TestSet(label, tuple(sources), tuple(references), f"sacreBLEU, {name}", name, pair)
    except UserError as error:
        reason = str(error)
    try:
        pairs = list(corpora.open(folder).pairs("test"))
    except UserError:
        raise UserError(
            f"{reason}, and there is no corpus folder {folder} to stand in for it; connect to the network, or name "
            f"the folder that holds {folder} by --corpora or WEITBLICK_CORPORA"
        ) from None
    if len(pairs) != lines:
        raise UserError(f"{reason}, and the test split of {folder} has {len(pairs):,} segments instead of {lines:,}")
    return TestSet(label, tuple(p.source for p in pairs), tuple(p.target for p in pairs), f"{folder}, test")


def _from_sacrebleu(name: str, pair: str, lines: int) -> tuple[list[str], list[str]]:
    """Sources and references of an official set, fetched if need be."""
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
        raise UserError(f"{folder} is damaged: {name} has {lines:,} segments and not {len(sides[0]):,}; delete it")
    return sides


def _fetch(dataset, pair: str, folder: Path) -> None:
    """Has sacreBLEU download a set; leaves nothing half-done behind, as it would take that for whole."""
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
    """Why an address gives no answer within some seconds, or "". A look-up of a name can hang, hence the thread."""
    answers: list[str] = []

    def ask():
        try:
            with contextlib.closing(urllib.request.build_opener().open(url, timeout=CONNECT_SECONDS)):
                answers.append("")
        except Exception as error:  # whatever it is, it is an answer
            answers.append(str(getattr(error, "reason", error)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS + 1)
    return answers[0] if answers else f"no answer within {CONNECT_SECONDS} seconds"
