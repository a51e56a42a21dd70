"""The registry of corpora: by name, by path, mixed with weights."""

import difflib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from data.corpora.folder import FolderCorpus
from data.errors import UserError
from data.pairs import Pair

BUILT_IN = ("software", "wmt14")
WAREHOUSE = "warehouse:"


class Corpus(Protocol):
    """What every corpus offers, wherever its text comes from.

    `name`, `description`, `licence` and `obtain` are one line each: what it is called, what it is, what may be done
    with it, and how one gets it. `has_documents` says whether pairs carry document ids.
    """

    name: str
    description: str
    licence: str
    obtain: str

    @property
    def has_documents(self) -> bool:
        """Whether pairs carry the id of the document that they stand in."""

    def prepare(self, report: Callable[[str], None] | None = None) -> None:
        """Fetches what is missing; does nothing where all is there. The methods below call it as needed."""

    def splits(self) -> tuple[str, ...]:
        """Those of "train", "validation" and "test" that there are."""

    def pairs(self, split: str) -> Iterator[Pair]:
        """Streams raw pairs in document order."""

    def size(self, split: str) -> int | None:
        """The number of pairs, or None where it is not known before the corpus is fetched. Never fetches."""

    def fingerprint(self, split: str) -> str:
        """A hash of the split's content and direction, the same on every machine."""


def open_corpus(
    name: str, source: str = "en", target: str = "de", folders: Iterable = (), warehouse: str = ""
) -> Corpus:
    """Finds a corpus. Nothing is fetched or read before its pairs are asked for.

    Args:
        name: `software`, `wmt14`, the name of a folder in one of `folders` or of $WEITBLICK_CORPORA, or the path of a
            corpus folder, which is told by a slash in it; or `warehouse:` and the name of a table or a SELECT.
        source: language of the source side.
        target: language of the target side.
        folders: folders to look in first; each may hold several, separated like $PATH.
        warehouse: address of the warehouse, "" for $WEITBLICK_WAREHOUSE; see `data.warehouse.opening`.

    Returns:
        The corpus.

    Raises:
        UserError: for an unknown name; says what there is and where it looked. For a query that is no SELECT.

    Example:
        >>> corpus = open_corpus("multi30k", folders=["../corpora"])
        >>> for pair in corpus.pairs("train"):
        ...     print(pair.source, pair.target)
    """
    if name in BUILT_IN:
        return _open_built_in(name, source, target)
    if name.startswith(WAREHOUSE):
        return _open_query(name.removeprefix(WAREHOUSE), source, target, warehouse)
    if "/" in name or os.sep in name or name in (".", ".."):
        return _open_folder(Path(name).expanduser(), source, target)
    places = corpus_folders(folders)
    for place in places:
        if name and (place / name).is_dir():
            return _open_folder(place / name, source, target)
    raise UserError(_unknown(name, source, target, places))


def list_corpora(folders: Iterable = (), source: str = "en", target: str = "de") -> list[Corpus]:
    """All corpora that `open_corpus` would find by name, the built-in ones first.

    Args:
        folders: as in `open_corpus`.
        source: language of the source side; folders without it are left out.
        target: language of the target side.

    Returns:
        The corpora, folders in alphabetical order.
    """
    built_in = [_open_built_in(name, source, target) for name in BUILT_IN if {source, target} == {"en", "de"}]
    found: dict[str, Corpus] = {}
    for place in corpus_folders(folders):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.is_dir() and path.name not in BUILT_IN and path.name not in found:
                try:
                    found[path.name] = _open_folder(path, source, target)
                except UserError:
                    continue
    return built_in + [found[name] for name in sorted(found)]


def corpus_folders(folders: Iterable = ()) -> list[Path]:
    """The folders that corpora are looked for in: the given ones, then those of $WEITBLICK_CORPORA.

    Args:
        folders: strings or paths; each may hold several, separated like $PATH.

    Returns:
        Paths, each once, in the order in which they are searched; whether they exist is not checked.
    """
    given = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    parts = [part for entry in [*given, os.environ.get("WEITBLICK_CORPORA", "")] for part in _split_path(entry)]
    return list(dict.fromkeys(Path(part).expanduser() for part in parts))


def parse_mixture(entries: Iterable[str]) -> list[tuple[str, float]]:
    """Reads a list of corpora with weights, as presets hold it.

    A weight multiplies how often a pair of the corpus is drawn; it is 1 where none is given.

    Args:
        entries: strings `name` or `name:weight`, where a name may be `warehouse:` and a table or SELECT.

    Returns:
        `(name, weight)` for each.

    Raises:
        UserError: for an empty list, a weight that is not a positive number, or a corpus that is named twice.

    Example:
        >>> parse_mixture(["newstest", "europarl:0.5"])
        [('newstest', 1.0), ('europarl', 0.5)]
    """
    if isinstance(entries, str):
        entries = [entries]
    mixture = [_parse_entry(entry) for entry in entries]
    names = [name for name, _ in mixture]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"corpora: {name!r} is named twice; name it once and give it a weight, as in '{name}:2'")
    if not mixture:
        raise UserError('corpora: the list is empty; name at least one, as in corpora = ["software"]')
    return mixture


def _parse_entry(entry: str) -> tuple[str, float]:
    name, colon, weight = entry.strip().rpartition(":")
    if not colon or "/" in weight or (entry.strip().startswith(WAREHOUSE) and not _is_number(weight)):
        name, weight = entry.strip(), "1"
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not name or not 0 < value < math.inf:
        raise UserError(
            f"corpora: {entry!r} is not 'name' or 'name:weight' with a weight above 0, such as 'europarl:0.5'"
            + ("; to leave a corpus out, take it from the list" if value == 0 else "")
        )
    return name.strip(), value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _open_folder(path: Path, source: str, target: str) -> Corpus:
    from data.beam.prepared import PreparedCorpus, is_prepared

    return (PreparedCorpus if is_prepared(path) else FolderCorpus)(path, source, target)


def _open_query(query: str, source: str, target: str, warehouse: str) -> Corpus:
    from data.warehouse import check_installed

    check_installed()
    from data.warehouse.corpus import WarehouseCorpus

    return WarehouseCorpus(query, source, target, warehouse)


def _split_path(entry) -> list[str]:
    return [part for part in os.fspath(entry).split(os.pathsep) if part]


def _open_built_in(name: str, source: str, target: str) -> Corpus:
    if name == "software":
        from data.corpora.software import SoftwareCorpus

        return SoftwareCorpus(source, target)
    from data.corpora.wmt14 import Wmt14Corpus

    return Wmt14Corpus(source, target)


def _unknown(name: str, source: str, target: str, places: list[Path]) -> str:
    there = [corpus.name for corpus in list_corpora(places, source, target)]
    close = difflib.get_close_matches(name, there, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ";"
    looked = ", ".join(map(str, places)) or "no folder (set WEITBLICK_CORPORA or --corpora)"
    return f"no corpus {name!r}{hint} there is: {', '.join(there) or 'none'}; looked in {looked}"
