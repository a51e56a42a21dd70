"""Whether more context hurts: a run's translations of documents by how many of their segments it may know."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from app.runs.run import Run
from app.translation.translator import Translator


def translations(
    run: Run, documents: Sequence[Sequence[str]], limits: Sequence[int]
) -> Iterator[tuple[int, list[str]]]:
    """Translates documents greedily, each time with another limit of context.

    With a memory, a document is begun anew after so many segments; where windows repeat the segments before the current
    one ("concat"), they have so many. Longer contexts than in training are known to make such models collapse.

    Args:
        run: a run of documents.
        documents: for each its segments.
        limits: numbers of segments; 0 for whole documents, which windows that repeat segments leave out.

    Yields:
        Each limit with the translations of all segments.
    """
    translator = Translator.of_run(run, search=replace(run.preset.search, beam=1))
    sliding = translator.windows.sliding
    for limit in limits:
        if sliding and not limit:
            continue
        if sliding:
            translator.windows = replace(translator.windows, size=limit)
        given = documents if sliding else pieces(documents, limit)
        yield limit, list(chain.from_iterable(translator.translate_documents(given)))


def pieces(documents: Sequence[Sequence[str]], limit: int) -> list[Sequence[str]]:
    """The documents, cut after every `limit` segments; 0 leaves them whole."""
    if not limit:
        return list(documents)
    return [document[i : i + limit] for document in documents for i in range(0, len(document), limit)]
