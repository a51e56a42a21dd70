"""The registry of corpora: found by name or path, mixed with weights."""

import contextlib
import difflib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
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
    with it, and how to get it; `source` and `target` are its languages.
    """

    name: str
    description: str
    licence: str
    obtain: str
    source: str
    target: str

    @property
    def has_documents(self) -> bool:
        """Whether pairs carry the id of their document."""

    def prepare(self, report: Callable[[str], None] | None = None) -> None:
        """Fetches what is missing; does nothing if everything is there. The methods below call it as needed."""

    def splits(self) -> tuple[str, ...]:
        """Those of "train", "validation" and "test" that exist."""

    def pairs(self, split: str) -> Iterator[Pair]:
        """Streams raw pairs in document order."""

    def size(self, split: str) -> int | None:
        """The number of pairs, or None if it is not known until the corpus is fetched. Never fetches."""

    def fingerprint(self, split: str) -> str:
        """A hash of the split's content and direction, the same on every machine."""


@dataclass(frozen=True)
class Corpora:
    """Where to look for corpora, and the languages to read them in.

    Args:
        folders: folders to look in first, then those of $WEITBLICK_CORPORA; each may hold several, like $PATH.
        warehouse: address of the warehouse, "" for $WEITBLICK_WAREHOUSE; see `data.warehouse.opening`.
        source: language of the source side.
        target: language of the target side.

    Example:
        >>> corpus = Corpora(["../corpora"]).open("multi30k")
        >>> for pair in corpus.pairs("train"):
        ...     print(pair.source, pair.target)
    """

    folders: Iterable = ()
    warehouse: str = ""
    source: str = "en"
    target: str = "de"

    def open(self, name: str) -> Corpus:
        """Finds a corpus. Nothing is fetched or read before its pairs are needed.

        Args:
            name: `software`, `wmt14`, the name of a folder in one of the folders, or a path, which has a slash in it;
                or `warehouse:` and the name of a table or a SELECT.

        Returns:
            The corpus.

        Raises:
            UserError: the name is unknown (the message has the known names and the folders searched), or the query is
                not a SELECT.
        """
        if name in BUILT_IN:
            return self._built_in(name)
        if name.startswith(WAREHOUSE):
            return self._query(name.removeprefix(WAREHOUSE))
        if _is_path(name):
            return self._folder(Path(name).expanduser())
        for place in corpus_folders(self.folders):
            if name and (place / name).is_dir():
                return self._folder(place / name)
        raise UserError(self._unknown(name))

    def all(self) -> list[Corpus]:
        """All corpora that have a name: the built-in ones, then folders with both languages, sorted by name."""
        built_in = [self._built_in(name) for name in BUILT_IN if {self.source, self.target} == {"en", "de"}]
        found: dict[str, Corpus] = {}
        for place in corpus_folders(self.folders):
            for path in sorted(place.iterdir()) if place.is_dir() else ():
                if path.is_dir() and path.name not in BUILT_IN and path.name not in found:
                    with contextlib.suppress(UserError):
                        found[path.name] = self._folder(path)
        return built_in + [found[name] for name in sorted(found)]

    def _built_in(self, name: str) -> Corpus:
        if name == "software":
            from data.corpora.software import SoftwareCorpus

            return SoftwareCorpus(self.source, self.target)
        from data.corpora.wmt14 import Wmt14Corpus

        return Wmt14Corpus(self.source, self.target)

    def _folder(self, path: Path) -> Corpus:
        from data.beam.prepared import PreparedCorpus, is_prepared

        return (PreparedCorpus if is_prepared(path) else FolderCorpus)(path, self.source, self.target)

    def _query(self, query: str) -> Corpus:
        from data.warehouse import check_installed

        check_installed()
        from data.warehouse.corpus import WarehouseCorpus

        return WarehouseCorpus(query, self.source, self.target, self.warehouse)

    def _unknown(self, name: str) -> str:
        there = [corpus.name for corpus in self.all()]
        close = difflib.get_close_matches(name, there, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ";"
        looked = ", ".join(map(str, corpus_folders(self.folders))) or "no folder (set WEITBLICK_CORPORA or --corpora)"
        return f"no corpus {name!r}{hint} there is: {', '.join(there) or 'none'}; looked in {looked}"


DEFAULT_CORPORA = Corpora()


def corpus_folders(folders: Iterable = ()) -> list[Path]:
    """The folders in which to look for corpora: the given ones, then those of $WEITBLICK_CORPORA.

    Args:
        folders: strings or paths; each may hold several, like $PATH.

    Returns:
        Paths, each once, in the order in which they are searched; whether they exist is not checked.
    """
    given = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    parts = [part for entry in [*given, os.environ.get("WEITBLICK_CORPORA", "")] for part in _split_path(entry)]
    return list(dict.fromkeys(Path(part).expanduser() for part in parts))


def is_folder(name: str) -> bool:
    """Whether a corpus of this name is a folder to look for in `corpus_folders`."""
    return not (name in BUILT_IN or name.startswith(WAREHOUSE) or _is_path(name))


def parse_mixture(entries: Iterable[str]) -> list[tuple[str, float]]:
    """Reads a list of corpora with weights, as presets have it.

    A weight multiplies how often a pair of the corpus is drawn; it is 1 if none is given.

    Args:
        entries: strings `name` or `name:weight`, where a name may be `warehouse:` and a table or SELECT.

    Returns:
        `(name, weight)` for each.

    Raises:
        UserError: the list is empty, a weight is not a positive number, or a corpus is named twice.

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


def _is_path(name: str) -> bool:
    return "/" in name or os.sep in name or name in (".", "..")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _split_path(entry) -> list[str]:
    return [part for part in os.fspath(entry).split(os.pathsep) if part]
