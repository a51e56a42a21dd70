"""A translation memory on disk: pairs of segments with the entries that a model made of them.

A folder of flat little-endian arrays (`keys`, `tokens`, `trust`, `offsets`, `text`, `text.offsets`), the files of a
`WordIndex`, and `manifest.json`. Everything large is memory-mapped, so a store may be larger than memory.
"""

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from app.retrieval.columns import Columns
from app.retrieval.entries import Entries, concatenated
from app.retrieval.sealed import MANIFEST, read_sealed, seal
from app.retrieval.words import FILES, WordIndex
from app.runs.lock import LOCK, SOFT_LOCK, locked
from data.errors import UserError
from data.files import named_errors, refuse_existing, remove_folder

FORMAT = 1
PART = 2048  # pairs that are written at once
_TYPES = {"keys": "<f2", "tokens": "<i4", "trust": "<f4", "offsets": "<i8", "text": "u1", "text.offsets": "<i8"}


class Store:
    """A finished store; use `build_store` to make one.

    Segments are numbered from 0. `keys` (N, D) float16, `tokens` (N,) int32 and `trust` (N,) float32 are the entries
    of all segments, those of segment i from `offsets[i]` to `offsets[i + 1]`.

    Args:
        path: the folder.
        verify: compare the checksums of all files, however large.

    Raises:
        UserError: there is no store, it has another format, or it is damaged.
    """

    def __init__(self, path: Path | str, verify: bool = False):
        self.path = Path(path)
        if not (self.path / MANIFEST).exists():
            begun = f" is not finished: repeat the command that builds it; {_unfinished(self.path)} has what was done"
            raise UserError(f"{path}:{begun if _unfinished(self.path).exists() else ' there is no such memory'}")
        try:
            manifest = read_sealed(self.path, verify)
        except UserError as error:
            raise UserError(f"{error}; build the memory again") from error
        if manifest.get("format") != FORMAT:
            raise UserError(
                f"{path}: the memory has format {manifest.get('format')}, this version reads {FORMAT}: build it again"
            )
        self.about: dict = manifest["about"]
        self.width: int = manifest["width"]
        columns = {name: _mapped(self.path / name, kind) for name, kind in _TYPES.items()}
        self.keys = columns["keys"].reshape(-1, self.width)
        self.tokens, self.trust, self.offsets = columns["tokens"], columns["trust"], columns["offsets"]
        self._text, self._text_offsets = columns["text"], columns["text.offsets"]
        self._words = WordIndex.load(self.path)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def size(self) -> int:
        """The number of entries, N."""
        return len(self.tokens)

    def pairs(self, numbers: Iterable[int]) -> list[tuple[int, str, str]]:
        """The number, source and target of some segments."""
        return [(number, self._piece(2 * number), self._piece(2 * number + 1)) for number in numbers]

    def _piece(self, place: int) -> str:
        return self._text[self._text_offsets[place] : self._text_offsets[place + 1]].tobytes().decode()

    def similar(self, source: str, count: int) -> list[int]:
        """The numbers of the segments most similar to a source by BM25, best first, at most `count`."""
        return self._words.similar(source, count)

    def entries(self, numbers: Sequence[int], most: int) -> Entries:
        """The entries of some segments, in this order; at most `most`, if need be with the last segment cut."""
        columns, parts = (self.keys, self.tokens, self.trust), []
        for number in numbers:
            start, end = self.offsets[number], self.offsets[number + 1]
            parts.append(Entries(*(column[start : min(end, start + most)] for column in columns)))
            most -= len(parts[-1].tokens)
            if not most:
                break
        return concatenated(parts)


def build_store(
    path: Path | str,
    pairs: Iterable[tuple[str, str]],
    make_entries: Callable[[list[tuple[str, str]]], list[Entries]],
    about: dict,
    progress: Callable[[int], None] | None = None,
) -> Store:
    """Builds a store, or resumes an unfinished one; opens it if it exists already.

    The store is written part by part in a folder next to `path`, and moved there when it is whole. A process that is
    killed loses only the current part.

    Args:
        path: its folder. A store of something else is replaced.
        pairs: sources and targets, read only if the store must be built. Pairs that repeat an earlier one are left
            out.
        make_entries: computes the entries of each pair, for some thousand pairs at once, with one width for all.
        about: what determines the content, in plain JSON values: the pairs, the model, which state is the key.
        progress: called with the number of pairs done so far.

    Raises:
        UserError: there is no pair; `path` holds something else; keys are too large for float16; or another process
            is building the same store.
        OSError: the disk is full, or the folder cannot be written; what was finished stays.
    """
    path, about = Path(os.path.realpath(path)), json.loads(json.dumps(about))
    if not (path / MANIFEST).exists() or not (path / "text.offsets").exists():
        refuse_existing(path)
    elif found := _opened(path, about):
        return found
    unfinished = _unfinished(path)
    with locked(unfinished):
        # Another process may have finished it in the meantime.
        if found := _opened(path, about):
            return found
        columns = Columns(unfinished, tuple(_TYPES), {"format": FORMAT, "about": about})
        with columns:
            _write(columns, iter(pairs), make_entries, progress)
        width = columns.notes[-1]["width"] if columns.notes else 0
        if not width:
            remove_folder(unfinished)
            raise UserError(f"{path}: there is no pair of segments to remember")
        _finish(unfinished, about, width)
        remove_folder(path)
        os.rename(unfinished, path)
        columns.forget(path)
        for name in (LOCK, SOFT_LOCK):
            (path / name).unlink(missing_ok=True)
    return Store(path)


def _opened(path: Path, about: dict) -> Store | None:
    """The store at `path`, if it is whole and was built for the same `about`."""
    try:
        found = Store(path)
    except UserError:
        return None
    return found if found.about == about else None


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.unfinished")


def _write(columns: Columns, pairs: Iterator[tuple[str, str]], make_entries, progress) -> None:
    """Reads all pairs, and writes those that are new."""
    seen: set[bytes] = set()
    for note in columns.notes:
        seen.update(map(_digest, itertools.islice(pairs, note["pairs"])))
    done = sum(note["pairs"] for note in columns.notes)
    if done and progress:
        progress(done)
    while drawn := list(itertools.islice(pairs, PART)):
        new = []
        for pair in drawn:
            digest = _digest(pair)
            if digest not in seen:
                seen.add(digest)
                new.append(pair)
        made = make_entries(new) if new else []
        width = columns.notes[-1]["width"] if columns.notes else 0
        columns.append(_encoded(new, made, columns.ends), {"pairs": len(drawn), "width": _width(made, width)})
        done += len(drawn)
        if progress:
            progress(done)


def _digest(pair: tuple[str, str]) -> bytes:
    source, target = (side.encode() for side in pair)
    return blake2b(len(source).to_bytes(4, "little") + source + target, digest_size=16).digest()


def _width(made: list[Entries], before: int) -> int:
    """The width of all keys; 0 if there are none yet."""
    widths = {entries.keys.shape[1] for entries in made if entries} | ({before} if before else set())
    if len(widths) > 1:
        raise ValueError(f"keys of several widths: {sorted(widths)}")
    return widths.pop() if widths else 0


def _encoded(new: list[tuple[str, str]], made: list[Entries], ends: dict[str, int]) -> dict[str, bytes]:
    """What a part appends to each file."""
    lengths = [len(entries.tokens) for _, entries in zip(new, made, strict=True)]
    with np.errstate(over="ignore"):
        made = [entries._replace(keys=entries.keys.astype(_TYPES["keys"])) for entries in made]
    keys, tokens, trust = concatenated(made)
    if not np.isfinite(keys).all():
        raise UserError("the model's states are not finite, or too large for the 16 bits in which a memory keeps them")
    pieces = [side.encode() for pair in new for side in pair]
    return {
        "keys": keys.tobytes(),
        "tokens": tokens.astype(_TYPES["tokens"]).tobytes(),
        "trust": trust.astype(_TYPES["trust"]).tobytes(),
        "offsets": _offsets(lengths, ends["tokens"] // 4, not ends["offsets"]),
        "text": b"".join(pieces),
        "text.offsets": _offsets([len(piece) for piece in pieces], ends["text"], not ends["text.offsets"]),
    }


def _offsets(lengths: list[int], start: int, first: bool) -> bytes:
    """The ends of items, preceded by a 0 if they are the first."""
    ends = start + np.cumsum([0, *lengths] if first else lengths, dtype=_TYPES["offsets"])
    return ends.tobytes()


def _finish(folder: Path, about: dict, width: int) -> None:
    """Adds the index of words and the manifest."""
    text, offsets = _mapped(folder / "text", "u1"), _mapped(folder / "text.offsets", _TYPES["text.offsets"])
    sources = (text[offsets[i] : offsets[i + 1]].tobytes().decode() for i in range(0, len(offsets) - 1, 2))
    with named_errors(folder):
        WordIndex.build(sources).save(folder)
    seal(folder, [*_TYPES, *FILES.values()], {"format": FORMAT, "about": about, "width": width})


def _mapped(path: Path, kind: str) -> np.ndarray:
    if not path.stat().st_size:
        return np.zeros(0, kind)
    # A plain view: indexing np.memmap itself costs a Python call for every slice.
    return np.asarray(np.memmap(path, dtype=kind, mode="r"))
