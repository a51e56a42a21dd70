"""Sentence pairs as token ids on disk: encoded once, in parallel, and memory-mapped from then on.

A folder of shards holds flat little-endian arrays (`source.tokens`, `target.tokens`, their `.offsets`, `documents`) and
`metadata.json`, which is written last. A folder without it, or whose checksums do not match it, is never used.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data.encoding import Encoder, encode_chunks
from data.errors import UserError
from data.files import atomic_write, checksum, checksum_of, new_folder, remove_folder, sweep
from data.forms import PLAIN, TextForm
from data.pairs import Pair
from data.parallel import Workers
from data.tokenizer import Tokenizer

FORMAT = 2
_SIDES = ("source", "target")


def encode_pairs(
    pairs: Iterable[Pair] | Callable[[], Iterable[Pair]],
    tokenizer: Tokenizer,
    folder: str | Path,
    key: str,
    sampling: float = 0.0,
    seed: int = 0,
    max_length: int = 256,
    form: TextForm = PLAIN,
    workers: Workers | int | None = None,
    progress: Callable[[int], None] | None = None,
) -> "Shards":
    """Encodes sentence pairs into shards, or opens the shards that an earlier call with the same arguments made.

    Args:
        pairs: the pairs, or a function that gives them; drawn only if they must be encoded.
        tokenizer: a `data.tokenizer.Tokenizer`.
        folder: the cache; every set of shards gets a folder of its own in it.
        key: identifies the content of `pairs`, for example a hash of the corpus and the cleaning options. Tokenizer,
            `sampling`, `seed`, `max_length` and `form` are added to it here.
        sampling: alpha of subword regularisation; 0 means the best segmentation.
        seed: of the sampling; the result does not depend on the number of workers.
        max_length: pairs with more tokens than this on either side are left out and counted.
        form: how pairs are written for the model before they are encoded.
        workers: the processes that encode, or their number; `None` means one a core, or this process alone for small
            corpora.
        progress: called with the number of pairs done so far.

    Returns:
        The `Shards`.

    Raises:
        UserError: no pair is left, or a worker process was ended from outside.
        OSError: the disk is full or `folder` cannot be written; nothing half-written is left behind.
    """
    seed = seed if sampling else 0
    name = checksum_of([FORMAT, key, tokenizer.fingerprint, sampling, seed, max_length, repr(form)])
    folder = Path(folder)
    place = folder / name
    with contextlib.suppress(DamagedShards):
        return Shards(place)
    remove_folder(place)
    sweep(folder)
    with new_folder(place, keep=True) as partial:
        pairs = pairs() if callable(pairs) else pairs
        _write(partial, key, pairs, Encoder(tokenizer, sampling, seed, max_length, form), workers, progress)
    return Shards(place, verify=False)


class SampledShards:
    """Shards with different segmentations in every epoch, for `Batches`: subword regularisation.

    Args:
        pairs: a function that gives the pairs each time, as `encode_pairs` takes it.
        tokenizer, folder, key, sampling, seed, max_length, form, workers: see `encode_pairs`.

    Call arguments:
        epoch: the epoch, counted from 0.

    Returns:
        The epoch's `Shards`. Those of the epoch requested before are removed from disk.

    References:
        Kudo 2018, Subword Regularization, https://arxiv.org/abs/1804.10959
    """

    def __init__(
        self,
        pairs: Any,
        tokenizer: Tokenizer,
        folder: str | Path,
        key: str,
        sampling: float,
        seed: int = 0,
        max_length: int = 256,
        form: TextForm = PLAIN,
        workers: Workers | int | None = None,
    ):
        self._pairs, self._seed, self._last = pairs, seed, None
        self._rest = {"tokenizer": tokenizer, "folder": folder, "key": key, "sampling": sampling}
        self._rest |= {"max_length": max_length, "form": form, "workers": workers}

    def __call__(self, epoch: int) -> "Shards":
        seed = int(np.random.SeedSequence([self._seed, epoch]).generate_state(1, np.uint64)[0])
        shards = encode_pairs(self._pairs, seed=seed, **self._rest)
        if self._last is not None and self._last != shards.folder:
            remove_folder(self._last)
        self._last = shards.folder
        return shards


class DamagedShards(Exception):
    """The folder is missing, unfinished, or not what its metadata says."""


class Shards:
    """Token ids of sentence pairs, memory-mapped from a finished folder.

    `source_tokens` and `target_tokens` are flat arrays without BOS or EOS; pair `i` is
    `source_tokens[source_offsets[i]:source_offsets[i + 1]]`.

    Args:
        folder: a folder made by `encode_pairs`.
        verify: compare the checksums of all files (reads them once).

    Raises:
        DamagedShards: the folder is incomplete or damaged.
    """

    def __init__(self, folder: str | Path, verify: bool = True):
        self.folder = Path(folder)
        try:
            self.metadata = _read_metadata(self.folder, verify)
            tokens = self.metadata["dtype"]
            self.source_tokens = _map(self.folder / "source.tokens", tokens)
            self.target_tokens = _map(self.folder / "target.tokens", tokens)
            self.source_offsets = _map(self.folder / "source.offsets", "<i8")
            self.target_offsets = _map(self.folder / "target.offsets", "<i8")
            self.documents = _map(self.folder / "documents", "<i4")
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise DamagedShards(f"{self.folder}: {error}") from error

    def __len__(self) -> int:
        return self.metadata["pairs"]

    @cached_property
    def source_lengths(self) -> np.ndarray:
        """Tokens of each source segment, int32, without EOS."""
        return np.diff(self.source_offsets).astype(np.int32)

    @cached_property
    def target_lengths(self) -> np.ndarray:
        """Tokens of each target segment, int32, without BOS or EOS."""
        return np.diff(self.target_offsets).astype(np.int32)

    @property
    def too_long(self) -> int:
        """The number of pairs that were left out because a side has more than `max_length` tokens."""
        return self.metadata["too_long"]

    def source(self, i: int) -> np.ndarray:
        """The source ids of pair `i`."""
        return self.source_tokens[self.source_offsets[i] : self.source_offsets[i + 1]]

    def target(self, i: int) -> np.ndarray:
        """The target ids of pair `i`."""
        return self.target_tokens[self.target_offsets[i] : self.target_offsets[i + 1]]

    def doc(self, i: int) -> int:
        """The index of the document of pair `i`, counted from 0 in reading order, or -1 if it has none."""
        return int(self.documents[i])


class _Column:
    """One file of the folder, hashed while it grows."""

    def __init__(self, path: Path, dtype: str):
        self.path, self.dtype = path, dtype
        self.file = open(path, "wb")  # noqa: SIM115 - closed by the writer's ExitStack
        self.hash = hashlib.blake2b(digest_size=16)
        self.size = 0

    def append(self, array: np.ndarray) -> None:
        data = np.ascontiguousarray(array, dtype=self.dtype).tobytes()
        self.file.write(data)
        self.hash.update(data)
        self.size += len(data)

    def finish(self) -> dict:
        self.file.flush()
        os.fsync(self.file.fileno())
        return {"bytes": self.size, "blake2b": self.hash.hexdigest()}


def _write(folder, key, pairs, encoder, workers, progress) -> None:
    """Encodes all pairs into `folder`, the metadata last."""
    dtype = "<u2" if encoder.tokenizer.vocabulary_size < 2**16 else "<i4"
    kinds = {f"{side}.tokens": dtype for side in _SIDES} | {f"{side}.offsets": "<i8" for side in _SIDES}
    kept = seen = 0
    with contextlib.ExitStack() as stack:
        columns = {name: _Column(folder / name, kind) for name, kind in (kinds | {"documents": "<i4"}).items()}
        for column in columns.values():
            stack.callback(column.file.close)
        for side in _SIDES:
            columns[f"{side}.offsets"].append(np.zeros(1, np.int64))
        ends = dict.fromkeys(_SIDES, 0)
        for chunk, encoded in stack.enter_context(contextlib.closing(encode_chunks(pairs, encoder, workers))):
            for side in _SIDES:
                tokens, lengths = encoded[side]
                columns[f"{side}.tokens"].append(tokens)
                columns[f"{side}.offsets"].append(ends[side] + np.cumsum(lengths, dtype=np.int64))
                ends[side] += int(lengths.sum(dtype=np.int64))
            columns["documents"].append(chunk.documents[encoded["kept"]])
            seen += len(chunk.sources)
            kept += int(encoded["kept"].sum())
            if progress:
                progress(seen)
        files = {name: column.finish() for name, column in columns.items()}
    if not kept:
        raise _nothing_left(seen, encoder.max_length)
    metadata = {"format": FORMAT, "key": key, "dtype": dtype, "pairs": kept, "too_long": seen - kept}
    metadata |= {"max_length": encoder.max_length, "files": files}
    with atomic_write(folder / "metadata.json", "w") as file:
        json.dump(metadata | {"checksum": checksum_of(metadata)}, file, indent=1)


def _nothing_left(seen: int, max_length: int) -> UserError:
    if not seen:
        return UserError("there is no sentence pair to encode: check the corpus and the cleaning options")
    return UserError(
        f"no sentence pair is left to encode: all {seen:,} have more than max_length = {max_length} tokens on a side; "
        "raise max_length or use a larger vocabulary"
    )


def _read_metadata(folder: Path, verify: bool) -> dict:
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    expected = metadata.pop("checksum")
    if metadata["format"] != FORMAT or expected != checksum_of(metadata):
        raise DamagedShards(f"{folder}: metadata.json is of another format or damaged")
    for name, expected in metadata["files"].items():
        if (folder / name).stat().st_size != expected["bytes"]:
            raise DamagedShards(f"{folder}: {name} has the wrong size")
        if verify and checksum(folder / name) != expected["blake2b"]:
            raise DamagedShards(f"{folder}: {name} has the wrong checksum")
    return metadata


def _map(path: Path, dtype: str) -> np.ndarray:
    if not path.stat().st_size:
        return np.zeros(0, dtype)
    # A plain view: indexing np.memmap itself costs a Python call for every slice.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))
