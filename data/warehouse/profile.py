"""A summary of a table of pairs: counts, lengths and duplicates of each corpus and split."""

from dataclasses import dataclass, field

from data.warehouse.base import Warehouse
from data.warehouse.schema import PAIRS
from data.warehouse.sql import statement

# The highest word count of each bar of the histogram; a last bar has no upper limit.
BARS = (5, 10, 15, 20, 30, 40, 60, 100)

_COUNTS = """
    SELECT corpus, split, COUNT(*) AS pairs, COUNT(DISTINCT doc) AS documents, COUNT(DISTINCT digest) AS different,
        SUM(en_words) AS en_words, SUM(de_words) AS de_words, SUM(en_length) AS en_length, SUM(de_length) AS de_length
    FROM source GROUP BY corpus, split ORDER BY corpus, split
"""
_LENGTHS = """
    SELECT corpus, split, GREATEST(en_words, de_words) AS words, COUNT(*) AS pairs
    FROM source GROUP BY corpus, split, words ORDER BY corpus, split, words
"""


@dataclass(frozen=True)
class Profile:
    """One split of one corpus.

    Args:
        corpus, split: their names.
        pairs: number of pairs.
        documents: number of named documents.
        duplicates: pairs that equal another one; of several equal ones, all but one count.
        en_words, de_words: words of each side.
        en_length, de_length: characters of each side.
        lengths: the number of pairs for each number of words of the longer side.
    """

    corpus: str
    split: str
    pairs: int
    documents: int
    duplicates: int
    en_words: int
    de_words: int
    en_length: int
    de_length: int
    lengths: dict[int, int] = field(default_factory=dict)

    def histogram(self) -> list[tuple[str, int]]:
        """A label and the number of pairs for each of the bars that end at `BARS`."""
        starts = (0, *(end + 1 for end in BARS))
        labels = [*(f"{low}-{high}" for low, high in zip(starts, BARS, strict=False)), f"{starts[-1]}+"]
        counts = dict.fromkeys(labels, 0)
        for words, pairs in self.lengths.items():
            counts[labels[sum(words > end for end in BARS)]] += pairs
        return list(counts.items())

    def length_at(self, part: float) -> int:
        """The number of words that this share of the pairs does not exceed, such as the median for 0.5."""
        passed = 0
        for words, pairs in sorted(self.lengths.items()):
            passed += pairs
            if passed >= part * self.pairs:
                return words
        return 0


def profile(warehouse: Warehouse, source: str = PAIRS) -> list[Profile]:
    """Profiles of all corpora and splits of a table or view with the columns of `data.warehouse.schema`.

    Raises:
        UserError: there is no such table, or it has other columns.
    """
    lengths: dict[tuple, dict] = {}
    for row in _rows(warehouse, _LENGTHS, source):
        lengths.setdefault((row["corpus"], row["split"]), {})[row["words"]] = row["pairs"]
    found = []
    for row in _rows(warehouse, _COUNTS, source):
        row["duplicates"] = row["pairs"] - row.pop("different")
        found.append(Profile(**row, lengths=lengths[row["corpus"], row["split"]]))
    return found


def _rows(warehouse: Warehouse, query: str, source: str) -> list[dict]:
    return warehouse.records(statement(query, source=source))
