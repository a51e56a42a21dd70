"""Held-out text: validation and test splits, which are compared with the training text."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

import data.cleaning as cleaning
from app.presets.preset import Preset
from data.corpora.corpora import Corpora
from data.corpora.wmt14 import OFFICIAL, cached_test_set
from data.errors import UserError
from data.holdout import repeats, segment_hashes
from data.pairs import Pair


@dataclass(frozen=True)
class HeldOut:
    """One held-out split: its name for the report, and the hashes of its segments (N, 2)."""

    name: str
    hashes: np.ndarray


def held_out_text(
    preset: Preset, folders: Iterable, options: cleaning.CleaningOptions, report: Callable[[str], None]
) -> list[HeldOut]:
    """The validation and test splits of a preset, if they are on this machine; nothing is downloaded.

    Args:
        preset: names the splits in `data.validation` and `data.test`.
        folders: where to look for folder corpora.
        options: how the text is normalised.
        report: called with a line for each split that is not on this machine.
    """
    found, corpora = [], preset.corpora(folders)
    for split, names in (("validation", preset.data.validation), ("test", preset.data.test)):
        for name in names:
            try:
                pairs = _pairs(name, split, corpora)
            except UserError as error:
                report(f"warning: {name} {split} cannot be compared with the training text: {error}")
                continue
            found.append(HeldOut(f"{name} {split}", segment_hashes(cleaning.normalise_pairs(pairs, options))))
    return found


def compare(training: np.ndarray, held_out: Sequence[HeldOut]) -> tuple[np.ndarray, dict[str, int]]:
    """Finds the training pairs with a side that also occurs in held-out text.

    Args:
        training: hashes of the pairs' segments (N, 2).
        held_out: the held-out splits.

    Returns:
        A boolean for each pair (N,), and the number of such pairs for each split that has any.
    """
    repeated, counts = np.zeros(len(training), bool), {}
    for split in held_out:
        own = repeats(training, split.hashes)
        repeated |= own
        if own.any():
            counts[split.name] = int(own.sum())
    return repeated, counts


def _pairs(name: str, split: str, corpora: Corpora) -> Iterable[Pair]:
    if name in OFFICIAL and split == "test":
        return _official(name, corpora)
    corpus = corpora.open(name)
    if split not in corpus.splits():
        raise UserError(f"it has no {split} split")
    if corpus.size(split) is None:
        raise UserError("it is not on this machine")
    return corpus.pairs(split)


def _official(name: str, corpora: Corpora) -> Iterable[Pair]:
    """An official test set: from sacreBLEU's cache, the folder corpus with the same text, or the corpus itself."""
    if pairs := cached_test_set(name, corpora.source, corpora.target):
        return pairs
    for other in (OFFICIAL[name][1], "wmt14"):
        try:
            corpus = corpora.open(other)
            if corpus.size("test"):
                return corpus.pairs("test")
        except UserError:
            continue
    raise UserError("it is not on this machine; `weitblick evaluate` fetches it")
