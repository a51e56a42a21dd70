"""What document scores are made on: a split of a corpus, cut into its documents."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from data.corpora.corpora import DEFAULT_CORPORA, Corpora
from data.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class DocumentSet:
    """Documents with their references.

    Args:
        name: names the files of results: the corpus and the split.
        origin: where the text is from, for the record.
        names: the documents' ids, in the order of the corpus.
        sources, references: for each document its segments.

    Example:
        >>> documents = load_documents("europarl", corpora=Corpora(["../corpora"]))
        >>> len(documents.sources), documents.segments
        (356, 5061)
    """

    name: str
    origin: str
    names: tuple[str, ...]
    sources: tuple[tuple[str, ...], ...]
    references: tuple[tuple[str, ...], ...]

    @property
    def segments(self) -> int:
        """How many there are in all documents together."""
        return sum(map(len, self.sources))

    @property
    def fingerprint(self) -> str:
        """A hash of the text and of where documents begin."""
        digest = hashlib.sha256()
        for side in (self.sources, self.references):
            for document in side:
                digest.update(f"{len(document)}\n".encode())
                for line in document:
                    digest.update(line.encode() + b"\n")
        return digest.hexdigest()[:16]

    def cut(self, lines: Sequence[T]) -> list[list[T]]:
        """Something that there is for each segment, such as a translation, as one list for each document."""
        every = iter(lines)
        return [list(itertools.islice(every, len(document))) for document in self.sources]

    def pairs(self) -> list[list[tuple[str, str]]]:
        """For each document its segments with their references."""
        return [list(zip(*sides, strict=True)) for sides in zip(self.sources, self.references, strict=True)]


def load_documents(name: str, split: str = "test", corpora: Corpora = DEFAULT_CORPORA) -> DocumentSet:
    """Reads a split of a corpus that has documents.

    A segment without a document's id is a document of its own.

    Args:
        name: of the corpus, or its path, see `data.corpora.corpora.Corpora.open`.
        split: "train", "validation" or "test".
        corpora: where it is looked for.

    Returns:
        A `DocumentSet`.

    Raises:
        UserError: there is no such corpus or split, or it does not say which document a segment stands in.
    """
    found = corpora.open(name)
    groups = [(key, list(group)) for key, group in itertools.groupby(enumerate(found.pairs(split)), _document)]
    if not any(isinstance(key, str) for key, _ in groups):
        raise UserError(
            f'the split "{split}" of {name} has no documents (a folder corpus names them in doc.{split}.txt); '
            "score it with `weitblick evaluate`"
        )
    return DocumentSet(
        f"{Path(found.name).name}-{split}",
        f"{found.name}, {split}",
        tuple(str(key) for key, _ in groups),
        tuple(tuple(pair.source for _, pair in group) for _, group in groups),
        tuple(tuple(pair.target for _, pair in group) for _, group in groups),
    )


def _document(numbered) -> str | int:
    """What tells a segment's document from the one before: its id, or the segment's number where it has none."""
    number, pair = numbered
    return pair.doc or number


def has_documents(name: str, split: str, corpora: Corpora) -> bool:
    """Whether a corpus says in this split where documents begin; False, too, where there is no such corpus or split."""
    try:
        found = corpora.open(name)
        return found.has_documents and any(pair.doc for pair in found.pairs(split))
    except UserError:
        return False


def shuffled(segments: int, seed: int = 0) -> list[int]:
    """An order of the segments in which each one stands in a foreign context.

    Args:
        segments: how many there are.
        seed: the same one gives the same order.

    Returns:
        For each place the number of the segment that stands there.
    """
    return [int(number) for number in np.random.default_rng(seed).permutation(segments)]


def in_order(lines: Sequence[T], order: Sequence[int]) -> list[T]:
    """Undoes `shuffled`: `lines[n]` goes to place `order[n]`."""
    found = list(lines)
    for place, line in zip(order, lines, strict=True):
        found[place] = line
    return found
