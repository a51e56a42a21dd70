"""Tests whether more context hurts: document translations of a run by the number of context segments."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from app.runs.run import Run
from app.translation.translator import Translator


def translations(
    run: Run, documents: Sequence[Sequence[str]], limits: Sequence[int]
) -> Iterator[tuple[int, list[str]]]:
    """Translates documents greedily, once for each context limit.

    With a memory, a document is restarted after every `limit` segments. If windows repeat preceding segments
    ("concat"), each window has `limit` segments. Contexts longer than in training are known to make models collapse.

    Args:
        run: a run with document windows.
        documents: the segments of each document.
        limits: numbers of segments; 0 for whole documents, which is skipped if windows repeat segments.

    Yields:
        Each limit with the translations of all segments.
    """
    translator = Translator.of_run(run, search=replace(run.preset.search, beam=1))
    sliding = translator.windows.sliding
    for limit in limits:
        if sliding and not limit:
            continue
        if sliding:
            translator.windows = replace(translator.windows, windows="segments", size=limit)
        given = documents if sliding else pieces(documents, limit)
        yield limit, list(chain.from_iterable(translator.translate_documents(given)))


def pieces(documents: Sequence[Sequence[str]], limit: int) -> list[Sequence[str]]:
    """The documents, cut after every `limit` segments; 0 leaves them whole."""
    if not limit:
        return list(documents)
    return [document[i : i + limit] for document in documents for i in range(0, len(document), limit)]
