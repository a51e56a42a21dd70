"""Finds the nearest entries of a store: exactly, or with far less work by an inverted file with product quantization.

References:
    Khandelwal et al. 2021, Nearest Neighbor Machine Translation, https://arxiv.org/abs/2010.00710
    Jégou et al. 2011, Product Quantization for Nearest Neighbor Search
    Douze et al. 2024, The Faiss library, https://arxiv.org/abs/2401.08281
"""

import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np

from app.retrieval.columns import Columns
from app.retrieval.sealed import MANIFEST, read_sealed, seal
from app.retrieval.store import Store
from app.runs.lock import locked
from data.errors import UserError
from data.files import checksum, named_errors, new_folder, remove_folder
from data.installing import extra_command

KINDS = ("exact", "ivfpq")
LEAST = 10_000  # entries that product quantization needs for its training, by faiss' guidelines
PROBES = 32  # lists that a search reads
CANDIDATES = 64  # entries whose true distances a search computes
_FILE = "index.faiss"
_BLOCK, _PIECE = 1 << 20, 1 << 16  # entries written to disk, and entries given to faiss, at once
_PER_LIST, _PER_CODE = 64, 256  # entries of the training sample for each list, and for each of 256 codes


class Index(Protocol):
    """Finds the nearest entries of a store."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The squared distances (N, k) float32 and numbers (N, k) int64 of the entries nearest to queries (N, D).

        Nearest first. Where fewer are found, distances are infinite and numbers -1.
        """

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The squared distances (N, k) float32 and tokens (N, k) int32; tokens are 0 where fewer are found."""


class ExactIndex:
    """Compares each query with all keys, read in place from the store; nothing is built.

    Args:
        store: the entries.
    """

    def __init__(self, store: Store):
        self._faiss, self._store = import_faiss(), store

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Index.search`."""
        faiss, store = self._faiss, self._store
        queries = np.ascontiguousarray(queries, "float32")
        codes = store.keys.view(np.uint8)
        best = faiss.ResultHeap(len(queries), k)
        piece = faiss.IndexScalarQuantizer(store.width, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2)
        for start in range(0, store.size, _PIECE):
            piece.reset()
            piece.add_sa_codes(codes[start : start + _PIECE])
            distances, numbers = piece.search(queries, min(k, piece.ntotal))
            best.add_result(distances, numbers + start)
        best.finalize()
        return np.where(best.I < 0, np.inf, best.D).astype("float32"), best.I

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Index.nearest`."""
        distances, numbers = self.search(queries, k)
        return distances, _tokens(self._store, numbers)


class IvfPqIndex:
    """Reads the lists nearest to a query, whose entries are short codes, and then the keys of the best candidates.

    Args:
        store: the entries.
        verify: compare the checksums of all files, however large.
        probes: lists that a search reads; more find more, and take longer.
        candidates: entries that are ordered by the true distance of their keys, read from the store; with 0, the codes
            give the order and the distances.

    Raises:
        UserError: the index is missing, damaged, or was built for another store.
    """

    def __init__(self, store: Store, verify: bool = False, probes: int = PROBES, candidates: int = CANDIDATES):
        self._faiss, self._store, self._candidates = import_faiss(), store, candidates
        folder, again = _folder(store), "build it again with --index ivfpq"
        if not (folder / MANIFEST).exists():
            raise UserError(f"{store.path}: the memory has no index; build one with --index ivfpq")
        try:
            manifest = read_sealed(folder, verify)
        except UserError as error:
            raise UserError(f"{error}; {again}") from error
        if manifest["store"] != checksum(store.path / MANIFEST):
            raise UserError(f"{folder}: the index belongs to other entries; {again}")
        self._index = self._faiss.read_index(str(folder / _FILE), self._faiss.IO_FLAG_MMAP)
        self._parameters = self._faiss.SearchParametersIVF(nprobe=probes)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Index.search`."""
        queries = np.ascontiguousarray(queries, "float32")
        wanted = max(k, self._candidates)
        distances, numbers = self._index.search(queries, wanted, params=self._parameters)
        distances[numbers < 0] = np.inf
        if self._candidates:
            distances = self._true_distances(queries, numbers)
            order = np.argsort(distances, axis=1, kind="stable")[:, :k]
            distances, numbers = (np.take_along_axis(values, order, axis=1) for values in (distances, numbers))
        return distances, numbers

    def _true_distances(self, queries: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Squared distances (N, C) float32 from queries (N, D) to entries (N, C); infinite for the number -1."""
        distances = np.full(numbers.shape, np.inf, "float32")
        for row, (query, found) in enumerate(zip(queries, numbers, strict=True)):
            found = found[found >= 0]
            difference = self._store.keys[found].astype("float32") - query
            distances[row, : len(found)] = np.einsum("cd,cd->c", difference, difference)
        return distances

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Index.nearest`."""
        distances, numbers = self.search(queries, k)
        return distances, _tokens(self._store, numbers)


def open_index(store: Store, kind: str) -> Index:
    """The index of a store, one of `KINDS`.

    Raises:
        UserError: there is no such kind, it was not built, it is damaged, or faiss is not installed.
    """
    if kind not in KINDS:
        raise UserError(f"no index is called {kind!r}; choose {' or '.join(KINDS)}")
    return ExactIndex(store) if kind == "exact" else IvfPqIndex(store)


def build_index(store: Store, kind: str, progress: Callable[[int], None] | None = None) -> Index:
    """Builds the index of a store, or resumes an unfinished one; opens it if it exists already.

    Args:
        store: the entries.
        kind: one of `KINDS`. "exact" has nothing to build.
        progress: called with the number of entries done so far.

    Raises:
        UserError: as for `open_index`; or the store has fewer than `LEAST` entries; or another process is building it.
        OSError: the disk is full, or the folder cannot be written; what was finished stays.
    """
    if kind != "ivfpq":
        return open_index(store, kind)
    import_faiss()
    folder = _folder(store)
    if (folder / MANIFEST).exists():
        try:
            return IvfPqIndex(store)
        except UserError:
            remove_folder(folder)
    if store.size < LEAST:
        raise UserError(
            f"{store.path}: {store.size:,} entries are too few for an index with codes, which needs {LEAST:,} to learn "
            "them from; use --index exact"
        )
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    with locked(unfinished):
        _build(store, unfinished, folder, progress or (lambda _: None))
        remove_folder(unfinished)
    return IvfPqIndex(store)


def shape_of(size: int, width: int) -> tuple[int, int]:
    """The number of lists and the bytes of a code, for `size` entries of this width.

    About 4 sqrt(N) lists, a power of two, with at least 39 entries for each, by faiss' guidelines; and a byte for each
    of at most 64 parts of a key, as in kNN-MT.
    """
    lists = 1 << min(round(math.log2(4 * math.sqrt(size))), int(math.log2(size / 39)))
    return lists, max(parts for parts in range(1, 65) if width % parts == 0)


def _folder(store: Store) -> Path:
    return store.path / "ivfpq"


def _tokens(store: Store, numbers: np.ndarray) -> np.ndarray:
    return np.where(numbers < 0, 0, store.tokens[np.maximum(numbers, 0)]).astype("int32")


def _build(store: Store, unfinished: Path, folder: Path, progress: Callable[[int], None]) -> None:
    """Trains, writes blocks of coded entries, and merges the blocks."""
    lists, parts = shape_of(store.size, store.width)
    starts = range(0, store.size, _BLOCK)
    names = ("trained", *(f"block-{number:05d}" for number in range(len(starts))))
    key = {"store": checksum(store.path / MANIFEST), "lists": lists, "parts": parts}
    with Columns(unfinished, names, key) as columns:
        if not columns.notes:
            columns.append({"trained": _trained(store, lists, parts)}, {})
        trained = (unfinished / "trained").read_bytes()
        for number, start in enumerate(starts):
            if number + 1 < len(columns.notes):
                continue
            block = _block(store, trained, start, min(start + _BLOCK, store.size), progress)
            columns.append({names[number + 1]: block}, {})
    with new_folder(folder) as partial:
        _merge(trained, [unfinished / name for name in names[1:]], partial / _FILE)
        seal(partial, [_FILE], key)


def _trained(store: Store, lists: int, parts: int) -> bytes:
    """An empty index with its lists and codes, learnt from a sample."""
    faiss = import_faiss()
    # "np": does not arrange the codes for a search by their bits, which takes longer than everything else.
    index = faiss.index_factory(store.width, f"IVF{lists},PQ{parts}np")
    size = min(store.size, max(_PER_LIST * lists, _PER_CODE * 256))
    sample = np.sort(np.random.default_rng(0).choice(store.size, size, replace=False))
    index.train(store.keys[sample].astype("float32"))
    return faiss.serialize_index(index).tobytes()


def _block(store: Store, trained: bytes, start: int, end: int, progress: Callable[[int], None]) -> bytes:
    """The index with the entries from `start` to `end`."""
    faiss = import_faiss()
    index = faiss.deserialize_index(np.frombuffer(trained, "uint8"))
    for first in range(start, end, _PIECE):
        last = min(first + _PIECE, end)
        index.add_with_ids(store.keys[first:last].astype("float32"), np.arange(first, last))
        progress(last)
    return faiss.serialize_index(index).tobytes()


def _merge(trained: bytes, blocks: list[Path], path: Path) -> None:
    """Writes the index with the entries of all blocks; the codes, not the keys, must fit into memory."""
    faiss = import_faiss()
    index = faiss.deserialize_index(np.frombuffer(trained, "uint8"))
    for block in blocks:
        index.merge_from(faiss.deserialize_index(np.fromfile(block, "uint8")), 0)
    with named_errors(path), open(path, "wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def import_faiss() -> ModuleType:
    """The package `faiss`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise UserError(f"faiss is not installed: {extra_command('retrieval')}") from error
    return faiss
