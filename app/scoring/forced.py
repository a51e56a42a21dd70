"""Forced scoring: the probability of given translations under a model."""

from collections.abc import Callable, Sequence

from app.translation.decoder import TokenScore
from app.translation.translator import Translator

BLOCK = 2000  # segments scored at once
Pairs = Sequence[tuple[str, str]]
Progress = Callable[[float], None]  # called with the share done


def part_of(progress: Progress | None, part: int, parts: int) -> Progress | None:
    """The progress of one of several parts, the first of which is number 0."""
    return progress and (lambda share: progress((part + share) / parts))


def score_in_blocks(
    translator: Translator,
    documents: Sequence[Pairs],
    scored: str = "all",
    progress: Progress | None = None,
) -> list[list[TokenScore]]:
    """Scores given translations in blocks of documents of similar length, so that progress can be reported.

    Args:
        translator: the model's translator.
        documents: the segments of each document with their translations.
        scored: "all" segments, or only the "last" of each document, with the others as context.
        progress: called with the share done.

    Returns:
        For each document, the `TokenScore`s of its scored segments.
    """
    found: list[list[TokenScore]] = [[] for _ in documents]
    order = sorted(range(len(documents)), key=lambda n: -len(documents[n]))
    total, done, block = sum(map(len, documents)), 0, []
    for place, number in enumerate(order):
        block.append(number)
        segments = sum(len(documents[n]) for n in block)
        if segments < BLOCK and place + 1 < len(order):
            continue
        for n, scores in zip(block, translator.score([documents[n] for n in block], scored), strict=True):
            found[n] = list(scores)
        done, block = done + segments, []
        if progress:
            progress(done / total)
    return found
