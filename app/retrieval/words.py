"""Finds the segments that share the rarest words with a text: BM25."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

K1, B = 1.2, 0.75  # as in Lucene, with which SK-MT was measured
FILES = {
    "data_name": "words.scores.npy",
    "indices_name": "words.segments.npy",
    "indptr_name": "words.ends.npy",
    "vocab_name": "words.vocabulary.json",
    "params_name": "words.json",
}
_WORD = re.compile("\u27e6\\d+\u27e7|\\w+")


def words_of(text: str) -> list[str]:
    """The words and numbered pieces of a text in lower case; a text without any is one word."""
    text = text.lower()
    return _WORD.findall(text) or [text]


class WordIndex:
    """Finds segments by their words.

    The score of a segment is the sum, over the different words of the query that it has, of
    ln(1 + (n - df + 0.5) / (df + 0.5)) * tf / (tf + k1 * (1 - b + b * length / mean length)), where df of the n
    segments have the word, and this one has it tf times.

    Args:
        ranker: a `bm25s.BM25` with its scores.

    References:
        Robertson and Zaragoza 2009, The Probabilistic Relevance Framework: BM25 and Beyond
        Lù 2024, BM25S, https://arxiv.org/abs/2407.03618
        Dai et al. 2023, Simple and Scalable Nearest Neighbor Machine Translation, https://arxiv.org/abs/2302.12188
    """

    def __init__(self, ranker: Any):
        self._ranker = ranker

    @classmethod
    def build(cls, texts: Iterable[str]) -> "WordIndex":
        """An index of segments, numbered from 0; at least one."""
        import bm25s

        vocabulary: dict[str, int] = {}
        ids = [[vocabulary.setdefault(word, len(vocabulary)) for word in words_of(text)] for text in texts]
        ranker = bm25s.BM25(k1=K1, b=B)
        # The vocabulary is in order of appearance; bm25s by itself would take it from a set.
        ranker.index((ids, vocabulary), create_empty_token=False, show_progress=False)
        return cls(ranker)

    @classmethod
    def load(cls, folder: Path | str) -> "WordIndex":
        """Opens what `save` wrote; all but the vocabulary is memory-mapped."""
        import bm25s

        ranker = bm25s.BM25.load(folder, mmap=True, show_progress=False, **FILES)
        # Plain views: indexing np.memmap itself costs a Python call for every slice.
        ranker.scores = {
            name: np.asarray(value) if name != "num_docs" else value for name, value in ranker.scores.items()
        }
        return cls(ranker)

    def save(self, folder: Path | str) -> None:
        """Writes the files named in `FILES`; they are complete only when this returns."""
        self._ranker.save(folder, show_progress=False, **FILES)

    def similar(self, text: str, count: int) -> list[int]:
        """The numbers of the segments with the best scores, best first; of equal ones, the lower number first.

        Args:
            text: the query.
            count: the most segments wanted; there are fewer if fewer share a word with it.
        """
        ids = self._ranker.get_tokens_ids(list(dict.fromkeys(words_of(text))))
        if not ids or count < 1:
            return []
        scores = self._ranker.get_scores_from_ids(ids)
        least = np.partition(scores, -count)[-count] if count < len(scores) else 0
        found = np.flatnonzero(scores >= least if least > 0 else scores > 0)
        return found[np.argsort(-scores[found], kind="stable")[:count]].tolist()
