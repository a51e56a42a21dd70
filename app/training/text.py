"""The training text: each corpus is cleaned once and cached, and no pair occurs in two corpora."""

import array
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import data.cleaning as cleaning
from app.presets.preset import Preset
from app.terminal import Console, PairsBar
from app.training.holdout import HeldOut, compare, held_out_text
from data.corpora.corpora import parse_mixture
from data.corpora.folder import FolderCorpus
from data.errors import UserError
from data.files import (
    atomic_write,
    cache_folder,
    checksum_of,
    new_folder,
    read_manifest,
    remove_folder,
    sweep,
    write_manifest,
)
from data.holdout import segment_hash
from data.pairs import Pair
from data.parallel import Workers

# Increased whenever cleaning gives a different result for the same text and options.
CLEANING_VERSION = 1
REPORT, HASHES = "report.json", "hashes.npy"


@dataclass(frozen=True)
class CleanCorpus:
    """The cleaned training split of one corpus of a mixture.

    Args:
        name: the corpus's name in the preset.
        weight: its weight in the preset.
        key: identifies the text in cache names.
        text: the whole cleaned split.
        cleaning: what cleaning removed, as counted by `CleaningReport.as_dict`.
        kept: whether each pair belongs to the mixture, as a boolean array; None for all.
        held_out: for each held-out split, the number of pairs that repeat its text, kept or not; without zeros.
    """

    name: str
    weight: float
    key: str
    text: FolderCorpus
    cleaning: dict
    kept: np.ndarray | None = None
    held_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.text.size("train") if self.kept is None else int(self.kept.sum())

    def report(self) -> dict:
        """The pairs that were removed and why, for the run's report."""
        return {"pairs": len(self), "cleaning": self.cleaning, "held_out": self.held_out}

    def pairs(self) -> Iterator[Pair]:
        """Streams the pairs."""
        pairs = self.text.pairs("train")
        return pairs if self.kept is None else itertools.compress(pairs, self.kept)


def training_text(
    preset: Preset, folders: Iterable[Path | str], report: Callable[[str], None], console: Console, workers: Workers
) -> list[CleanCorpus]:
    """The cleaned corpora of a preset, in its order; earlier work is taken from the cache.

    If the preset removes duplicates, a pair that occurs in several corpora stays in the first of them. Pairs that
    repeat validation or test text on either side, ignoring case, are left out or only reported, as `data.holdout` says.

    Args:
        preset: names corpora and cleaning options.
        folders: where to look for folder corpora.
        report: called with lines for the user: what was left out, and why.
        console: where progress is shown.
        workers: the processes that do the cleaning.

    Raises:
        UserError: a corpus is unknown, has no training text, or has nothing left after cleaning.
    """
    corpora = []
    for name, weight in parse_mixture(preset.data.corpora):
        corpora.append(_cleaned(name, weight, preset, folders, report, console, workers))
    if preset.data.deduplicate:
        corpora = _without_repetitions(corpora, report)
    held_out = held_out_text(preset, folders, cleaning_options(preset), report)
    return [_without_held_out(corpus, held_out, preset.data.holdout == "remove", report) for corpus in corpora]


def cleaning_options(preset: Preset) -> cleaning.CleaningOptions:
    """The preset's cleaning options."""
    names = cleaning.CleaningOptions.__dataclass_fields__
    return cleaning.CleaningOptions(
        **{key: getattr(preset.data, key) for key in preset.data.__dataclass_fields__ if key in names}
    )


def digest(content: Any) -> str:
    """A hash of any value that `repr` describes completely."""
    return checksum_of(repr(content))


def _cleaned(name: str, weight: float, preset: Preset, folders, report, console, workers: Workers) -> CleanCorpus:
    """The cleaned training split of a corpus, from the cache or newly made."""
    source, target = preset.data.source, preset.data.target
    corpus = preset.corpora(folders).open(name)
    options = cleaning_options(preset)
    corpus.prepare(report)
    if "train" not in corpus.splits():
        raise UserError(f"{name}: has no train split; it has {', '.join(corpus.splits())}")
    key = digest([CLEANING_VERSION, corpus.fingerprint("train"), options, source, target])
    folder = cache_folder() / "cleaned" / key
    kept = _from_cache(folder, report)
    if kept is None:
        with PairsBar(console, f"cleaning {name}", corpus.size("train")) as bar:
            _clean(corpus, options, folder, workers, bar)
        kept = read_manifest(folder / REPORT)
    table = kept.pop("table")
    report(f"{name}, cleaning:\n{table}")
    counts = {name: count for name, count in kept.items() if name not in ("corpus", "files")}
    return CleanCorpus(name, weight, key, FolderCorpus(folder, source, target), counts)


def _from_cache(folder: Path, report) -> dict | None:
    """The report of text in the cache; None if there is none, or if it is damaged, in which case it is removed."""
    sweep(folder.parent)
    if not folder.exists():
        return None
    try:
        return read_manifest(folder / REPORT)
    except UserError as error:
        report(f"{error}; cleaning the text again")
        remove_folder(folder)
        return None


def _clean(corpus, options: cleaning.CleaningOptions, folder: Path, workers: Workers, bar: PairsBar) -> None:
    """Writes the cleaned training split into a folder that appears only when complete."""
    counted, source, target = cleaning.CleaningReport(), corpus.source, corpus.target
    with new_folder(folder, keep=True) as place:
        pairs = cleaning.clean(bar.count(corpus.pairs("train")), options, source, target, counted, workers)
        _write(place, pairs, source, target)
        if not counted.kept:
            reasons = ", ".join(f"{cleaning.REASONS[key]}: {n:,}" for key, n in counted.removed.items() if n)
            raise UserError(f"{corpus.name}: cleaning leaves none of {counted.seen:,} pairs: {reasons}; change [data]")
        write_manifest(place / REPORT, {"corpus": corpus.name, "table": counted.table(), **counted.as_dict()})


def _write(folder: Path, pairs: Iterable[Pair], source: str, target: str) -> None:
    hashes = array.array("Q")
    with (
        atomic_write(folder / f"{source}.train.txt", "w") as sources,
        atomic_write(folder / f"{target}.train.txt", "w") as targets,
        atomic_write(folder / "doc.train.txt", "w") as docs,
        atomic_write(folder / HASHES) as hash_file,
    ):
        for pair in pairs:
            sources.write(pair.source + "\n")
            targets.write(pair.target + "\n")
            docs.write(pair.doc + "\n")
            hashes.extend((cleaning.digest(pair), segment_hash(pair.source), segment_hash(pair.target)))
        np.save(hash_file, np.asarray(hashes, np.uint64).reshape(-1, 3))


def _without_held_out(corpus: CleanCorpus, held_out: list[HeldOut], remove: bool, report) -> CleanCorpus:
    """Leaves out pairs that repeat held-out text, or only reports them."""
    if not held_out:
        return corpus
    kept = np.ones(corpus.text.size("train"), bool) if corpus.kept is None else corpus.kept
    hashes = _hashes(corpus.text)[kept]
    repeated, counts = compare(hashes[:, 1:], held_out)
    if not counts:
        report(f"{corpus.name}: no pair repeats {', '.join(split.name for split in held_out)}")
        return corpus
    found = f"{corpus.name}: {repeated.sum():,} of {len(hashes):,} pairs repeat held-out text ("
    found += ", ".join(f"{name}: {count:,}" for name, count in counts.items()) + ")"
    if not remove:
        report(f'warning: {found} and are trained on; data.holdout = "remove" leaves them out')
        return replace(corpus, held_out=counts)
    if repeated.all():
        raise UserError(f"{found}, which leaves none; remove the corpus from data.corpora, or from the held-out text")
    report(f"{found} and are left out")
    kept = kept.copy()
    kept[kept] = ~repeated
    return replace(corpus, key=digest([corpus.key, np.packbits(kept).tobytes()]), kept=kept, held_out=counts)


def _hashes(text: FolderCorpus) -> np.ndarray:
    """The hashes of each pair and of its two segments (N, 3), uint64."""
    return np.load(text.path / HASHES, mmap_mode="r")


def _without_repetitions(corpora: list[CleanCorpus], report) -> list[CleanCorpus]:
    """Keeps each pair only in the first corpus that has it; needs eight bytes of memory per pair."""
    if len(corpora) == 1:
        return corpora
    found, seen = [], np.zeros(0, np.uint64)
    for corpus in corpora:
        own = _hashes(corpus.text)[:, 0]
        kept = ~np.isin(own, seen)
        seen = np.concatenate([seen, own[kept]])
        if not kept.any():
            raise UserError(
                f"{corpus.name}: all its pairs are already in corpora named earlier; remove it from the list"
            )
        if not kept.all():
            lost = len(own) - int(kept.sum())
            report(
                f"{corpus.name}: {lost:,} of {len(own):,} pairs are already in corpora named earlier and are left out"
            )
            before = [other.key for other in corpora[: len(found)]]
            corpus = replace(corpus, key=digest([corpus.key, *before]), kept=kept)
        found.append(corpus)
    return found
