"""Corpora in memory, and what is in a warehouse."""

import hashlib
from collections.abc import Iterable, Mapping

from data.pairs import Pair


class ListCorpus:
    """A corpus of given pairs: lists by split."""

    def __init__(self, name: str, splits: Mapping[str, Iterable]):
        self.name = name
        self.lists = {split: [Pair(*pair) for pair in pairs] for split, pairs in splits.items()}

    def splits(self):
        return tuple(self.lists)

    def pairs(self, split):
        yield from self.lists[split]

    def size(self, split):
        return len(self.lists[split])

    def fingerprint(self, split):
        return hashlib.sha256(repr(self.lists[split]).encode()).hexdigest()


def read(warehouse, query, parameters=None):
    return [row for batch in warehouse.rows(query, parameters) for row in batch.to_pylist()]


def texts(warehouse, table="pairs", split="train"):
    query = f"SELECT en, de, doc FROM {table} WHERE split = @split ORDER BY corpus, position"
    return [Pair(row["en"], row["de"], row["doc"] or "") for row in read(warehouse, query, {"split": split})]
