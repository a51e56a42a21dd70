"""The corpus `software`: messages of free programs in English and German, from pinned PyPI wheels."""

import fnmatch
import hashlib
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from data.corpora import catalogues
from data.corpora.folder import SPLITS, FolderCorpus
from data.errors import UserError
from data.files import (
    atomic_write,
    cache_folder,
    new_folder,
    read_manifest,
    remove_folder,
    scratch_folder,
    sweep,
    write_manifest,
)
from data.pairs import Pair

SOURCES = Path(__file__).with_name("software.toml")
HELD_OUT = 0.045  # of each project's pairs that are in one document only, for validation and again for test
_RECIPE = 1  # raise it when the same wheels should give different text
COUNTS = "counts.json"


class Wheel(NamedTuple):
    """One entry of software.toml."""

    name: str
    version: str
    file: str
    sha256: str
    licence: str
    homepage: str
    catalogues: list[str]
    sources: list[str] = []


class Document(NamedTuple):
    """The segments of one source file of one project."""

    project: str
    id: str
    pairs: list[tuple[str, str]]


class SoftwareCorpus:
    """Interface texts and messages of free software, split by document; fetched with pip when first used.

    The wheels are kept in the cache folder under `wheels/` (put them there by hand if there is no network), and the
    text in `software-HASH/` in the layout of a folder corpus.

    Args:
        source: "en" or "de".
        target: the other one.
        sources: the list of wheels.

    Raises:
        UserError: the languages are others.
    """

    name = "software"
    description = "interface texts and messages of nine free programs"
    licence = "free software licences (MIT, Apache, GPL, AGPL), see docs/corpora.md"
    obtain = "fetched from PyPI when first used (about 157 MB)"
    has_documents = True

    def __init__(self, source: str = "en", target: str = "de", sources: Path | str = SOURCES):
        if {source, target} != {"en", "de"}:
            raise UserError(f"corpus software is English and German; it has no {source}-{target}")
        self.source = source
        self.target = target
        self._recipe = Path(sources).read_bytes()
        self.wheels = [Wheel(**entry) for entry in tomllib.loads(self._recipe.decode())["wheel"]]
        self._folder: FolderCorpus | None = None
        self._whole = False  # checked, or just written

    @property
    def path(self) -> Path:
        """The folder of the text, which may not exist yet."""
        digest = hashlib.blake2b(self._recipe + b"%d" % _RECIPE, digest_size=6).hexdigest()
        return cache_folder() / f"software-{digest}"

    def prepare(self, report: Callable[[str], None] | None = None) -> None:
        """Fetches and parses the wheels, unless that was done before and the text is undamaged.

        Args:
            report: called with lines about the progress; they go to standard error by default.

        Raises:
            UserError: pip cannot fetch a wheel; the message gives the reason and what to do.
        """
        if self._whole:
            return
        report = report or (lambda line: print(line, file=sys.stderr, flush=True))
        self._whole = self.path.is_dir() and self._check(report)
        if self._whole:
            return
        fetch(self.wheels, cache_folder() / "wheels", report)
        documents = []
        for wheel in self.wheels:
            found = read_wheel(cache_folder() / "wheels" / wheel.file, wheel)
            report(f"software: {wheel.name} {wheel.version}: {sum(len(d.pairs) for d in found):,} pairs")
            documents += found
        write(split(documents), self.path)
        report(f"software: text is in {self.path}")
        self._whole = True

    def _check(self, report: Callable[[str], None]) -> bool:
        """Whether the text that was written before is unchanged; removes it if not."""
        try:
            read_manifest(self.path / COUNTS)
        except UserError as error:
            report(f"software: {error}; making the text again from the wheels")
            remove_folder(self.path)
            return False
        return True

    def splits(self) -> tuple[str, ...]:
        """All three."""
        return SPLITS

    def pairs(self, split: str) -> Iterator[Pair]:
        """Streams the pairs of a split in document order, see `FolderCorpus.pairs`."""
        return self._text().pairs(split)

    def size(self, split: str) -> int | None:
        """The number of pairs, or None before the first use."""
        return self._text().size(split) if self.path.is_dir() else None

    def fingerprint(self, split: str) -> str:
        """See `FolderCorpus.fingerprint`."""
        return self._text().fingerprint(split)

    def _text(self) -> FolderCorpus:
        if self._folder is None:
            self.prepare()
            self._folder = FolderCorpus(self.path, self.source, self.target, "software", self.description, self.licence)
        return self._folder


def fetch(wheels: list[Wheel], folder: Path, report: Callable[[str], None]) -> None:
    """Downloads with pip the wheels that a folder lacks, and checks the hashes of all.

    Args:
        wheels: what to fetch.
        folder: where the wheels go; each appears there whole or not at all.
        report: called with lines about the progress.

    Raises:
        UserError: pip fails; nothing is left half-written.
    """
    sweep(folder)
    missing = [wheel for wheel in wheels if not _is_whole(folder / wheel.file, wheel)]
    if not missing:
        return
    report(f"software: fetching {len(missing)} wheels from the package index, once")
    with scratch_folder(folder / "wheels") as temporary:
        requirements = temporary / "requirements.txt"
        lines = [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in missing]
        requirements.write_text("".join(lines), encoding="utf-8")
        errors = _pip_download(requirements, temporary, report)
        for wheel in missing:
            file = temporary / wheel.file
            if errors is None and not file.is_file():
                errors = f"pip fetched no {wheel.file}"
            if file.is_file():
                os.replace(file, folder / wheel.file)
    if errors is not None:
        raise UserError(_fetch_failed(errors, folder))


def read_wheel(path: Path, wheel: Wheel) -> list[Document]:
    """The documents of one wheel. It is read in place; nothing is unpacked to disk.

    Args:
        path: the wheel file.
        wheel: its entry in the list.

    Returns:
        Documents in the order of the wheel's catalogues. A pair that the project repeats is kept where it comes first.

    Raises:
        UserError: a catalogue is missing or cannot be parsed.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if _matches(name, wheel.catalogues)]
        if not names:
            raise UserError(f"{path}: no catalogue that matches {', '.join(wheel.catalogues)} of software.toml")
        places = _places(archive, wheel.sources)
        groups: dict[str, list[catalogues.Message]] = {}
        for name in names:
            try:
                messages = catalogues.locate(_read_catalogue(archive, name), places)
            except (ValueError, KeyError) as error:
                raise UserError(f"{path}: cannot read {name}: {error}") from error
            whole = len(messages) if name.endswith(".json") else 100  # a JSON file belongs to a single component
            for file, members in catalogues.documents(messages, name, whole).items():
                groups.setdefault(file, []).extend(members)
    seen: set[tuple[str, str]] = set()
    documents = []
    for file, messages in groups.items():
        pairs = []
        for pair in (pair for message in messages for pair in catalogues.segments(message)):
            if pair not in seen:
                seen.add(pair)
                pairs.append(pair)
        if pairs:
            documents.append(Document(wheel.name, "_".join(f"{wheel.name}:{file}".split()), pairs))
    return documents


def split(documents: list[Document], held_out: float = HELD_OUT) -> dict[str, list[Document]]:
    """Splits documents into train, validation and test, by hash of their ids, each project in the same proportion.

    Lines of validation whose English is also in train or test are removed, as are lines of test whose English is in
    train.

    Args:
        documents: all documents.
        held_out: about the share of each project's pairs that validation and test each get. Only pairs that are in a
            single document count, as the others are mostly removed again.

    Returns:
        Documents by split, in the given order.
    """
    uses: dict[str, int] = {}
    for document in documents:
        for english in {_key(english) for english, _ in document.pairs}:
            uses[english] = uses.get(english, 0) + 1
    place = {}
    for project in dict.fromkeys(document.project for document in documents):
        own = {d.id: sum(uses[_key(e)] == 1 for e, _ in d.pairs) for d in documents if d.project == project}
        place.update(_assign(own, held_out))
    parts = {name: [document for document in documents if place[document.id] == name] for name in SPLITS}
    train, test = _sources(parts["train"]), _sources(parts["test"])
    return {
        "train": parts["train"],
        "validation": _without(parts["validation"], train | test),
        "test": _without(parts["test"], train),
    }


def write(parts: dict[str, list[Document]], folder: Path) -> None:
    """Writes split documents as a folder corpus that appears whole or not at all.

    Args:
        parts: documents by split.
        folder: where to write it; an existing one is left as it is.
    """
    with new_folder(folder, keep=True) as temporary:
        for name, documents in parts.items():
            rows = [(*pair, document.id) for document in documents for pair in document.pairs]
            for i, column in enumerate(("en", "de", "doc")):
                with atomic_write(temporary / f"{column}.{name}.txt", "w") as file:
                    file.writelines(f"{row[i]}\n" for row in rows)
        counts = {name: _count_by_project(documents) for name, documents in parts.items()}
        write_manifest(temporary / COUNTS, counts)


def _is_whole(path: Path, wheel: Wheel) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == wheel.sha256


def _pip_download(requirements: Path, folder: Path, report: Callable[[str], None]) -> str | None:
    """Runs pip; returns its output if it failed, else None."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--ignore-requires-python", "--only-binary=:all:"]
    command += ["--require-hashes", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    output = []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, text=True, encoding="utf-8", errors="replace") as process:
        try:
            for line in map(str.strip, process.stdout):
                output.append(line)
                if line.startswith(("Downloading", "Using cached")):
                    report(f"software: {line}")
        except BaseException:
            process.terminate()  # at Ctrl-C pip must end before its folder is removed
            raise
    return None if process.returncode == 0 else "\n".join(output)


def _fetch_failed(output: str, folder: Path) -> str:
    errors = [line.removeprefix("ERROR: ") for line in output.split("\n") if line.startswith("ERROR: ")]
    reason = (errors or output.split("\n"))[-1][:200]
    if "No module named pip" in output:
        return f"{sys.executable} has no pip to fetch the corpus 'software' with; run: {sys.executable} -m ensurepip"
    if "DO NOT MATCH THE HASHES" in output:
        return (
            "the package index gave a file other than the one whose hash is in software.toml; it was not kept. "
            "Check which index pip uses (pip config list)"
        )
    return (
        f"pip could not fetch the corpus 'software' ({reason}). Check the network and pip's index (pip config list), "
        f"run it again, put the wheels that docs/corpora.md lists into {folder}, or choose another corpus"
    )


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _read_catalogue(archive: zipfile.ZipFile, name: str) -> list[catalogues.Message]:
    if name.endswith(".po"):
        return catalogues.read_po(archive.read(name).decode("utf-8"))
    if name.endswith(".mo"):
        return catalogues.read_mo(archive.read(name))
    return catalogues.read_json(archive.read(name.removesuffix("de.json") + "en.json"), archive.read(name))


def _places(archive: zipfile.ZipFile, patterns: list[str]) -> dict[str, tuple[str, int]]:
    """Where each string of two words or more first occurs in the program's sources."""
    places: dict[str, tuple[str, int]] = {}
    for name in archive.namelist():
        if _matches(name, patterns):
            source = archive.read(name).decode("utf-8", errors="replace")
            strings = catalogues.python_strings if name.endswith(".py") else catalogues.quoted_strings
            for text, line in strings(source):
                if " " in text.strip():
                    places.setdefault(text, (name, line))
    return places


def _key(english: str) -> str:
    """What two lines must share to count as the same: the text without case and white space."""
    return " ".join(english.casefold().split())


def _sources(documents: list[Document]) -> set[str]:
    return {_key(english) for document in documents for english, _ in document.pairs}


def _assign(sizes: dict[str, int], held_out: float) -> dict[str, str]:
    """Gives documents, in the order of their ids' hashes, to test and validation until each has its share."""
    quota = held_out * sum(sizes.values())
    left = {"test": quota, "validation": quota}
    place = dict.fromkeys(sizes, "train")
    for id in sorted(sizes, key=lambda id: hashlib.blake2b(id.encode(), digest_size=8).digest()):
        if sizes[id] > quota / 2:  # a large one stays in train, or it would make up much of a project's held-out share
            continue
        for part in left:
            if left[part] > 0 and sizes[id] <= left[part] + quota / 4:
                place[id] = part
                left[part] -= sizes[id]
                break
    return place


def _without(documents: list[Document], known: set[str]) -> list[Document]:
    kept = [
        document._replace(pairs=[(english, german) for english, german in document.pairs if _key(english) not in known])
        for document in documents
    ]
    return [document for document in kept if document.pairs]


def _count_by_project(documents: list[Document]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for document in documents:
        counts[document.project] = counts.get(document.project, 0) + len(document.pairs)
    return counts
