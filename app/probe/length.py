"""Translates one long document, to see whether its length has a cost: memory and time by length and by position."""

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from app.probe.sizes import Meter, resident, state_bytes
from app.runs.run import Run
from app.translation.lines import DocumentLine
from app.translation.translator import Translator
from data.errors import UserError
from data.tokenizer import Tokenizer
from data.windows import BACKWARD

SEED = 1
# New shapes have a one-time cost, whatever the position.
WARM_UP = 100


def translate_long(
    run: Run, lines: Sequence[str], lengths: Sequence[int], report: Callable[[str], None]
) -> dict[str, Any]:
    """Translates one long document greedily, line by line, as the command line does.

    Args:
        run: a run with document windows.
        lines: lines to build the document from, repeated in a new order each time until there are enough tokens.
        lengths: the lengths at which time and memory are noted, in source tokens; the largest is the document's.
        report: called with a line of text for every twentieth of the document.

    Returns:
        Plain values: "state_bytes"; under "lengths" the rows of a `Meter`; under "rows", resident memory in MB and
        source and output tokens per second by position; also a comparison of the last quarter of the document with
        the second quarter, because the first includes start-up.

    Raises:
        UserError: the run reads documents backward.
    """
    if run.preset.documents.order == BACKWARD:
        raise UserError(
            f'{run.path}: documents.order = "backward" translates nothing before the end of a document is known, so '
            "there is no time by position or length"
        )
    translator = Translator.of_run(run, search=replace(run.preset.search, beam=1))
    list(translator.translate_documents([[text for text, _ in itertools.islice(_repeat(lines, translator), WARM_UP)]]))
    document = long_document(lines, translator.tokenizer, max(lengths))
    meter = Meter(lengths)
    rows = _measure(translator, document, meter, max(max(lengths) // 20, 1), report)
    state = state_bytes(translator.decoder.first_memory or {})
    return {"state_bytes": state, "lengths": meter.rows, **compare(rows), "rows": rows}


def long_document(lines: Sequence[str], tokenizer: Tokenizer, tokens: int) -> Iterator[tuple[str, int]]:
    """Yields segments with their numbers of tokens, until there are enough tokens."""
    sizes = [len(ids) + 1 for ids in tokenizer.source.encode(list(lines))]
    for number in in_new_orders(sizes, tokens):
        yield lines[number], sizes[number]


def in_new_orders(sizes: Sequence[int], tokens: int) -> Iterator[int]:
    """Yields the numbers of all segments in random order, then again in another, until their sizes sum to `tokens`."""
    drawn, total = random.Random(SEED), 0
    while True:
        for number in drawn.sample(range(len(sizes)), len(sizes)):
            if total >= tokens:
                return
            total += sizes[number]
            yield number


def compare(rows: list[dict[str, float]]) -> dict[str, float]:
    """Compares speed and memory in the last quarter of the document with those in the second quarter.

    Speed is in output tokens, or in source tokens if a model that has learnt nothing writes none.
    """
    quarter = max(len(rows) // 4, 1)
    early, late = rows[quarter : 2 * quarter] or rows, rows[-quarter:]
    name = "output" if float(np.median([row["output"] for row in early])) > 0 else "source"
    speed = [float(np.median([row[name] for row in part])) for part in (early, late)]
    grown = max(row["megabytes"] for row in late) - max(row["megabytes"] for row in early)
    return {"speed_late_to_early": speed[1] / speed[0], "megabytes_grown": grown}


def _repeat(lines: Sequence[str], translator: Translator) -> Iterator[tuple[str, int]]:
    return long_document(lines, translator.tokenizer, 10**9)


def _measure(
    translator: Translator,
    document: Iterator[tuple[str, int]],
    meter: Meter,
    every: int,
    report: Callable[[str], None],
) -> list[dict[str, float]]:
    texts, sizes = zip(*document, strict=True)
    found: list[dict[str, float]] = []
    position, last, started, written = 0, 0, time.perf_counter(), translator.output_tokens
    for _, size in zip(translator.translate_lines(DocumentLine(0, text) for text in texts), sizes, strict=True):
        position += size
        meter(position)
        if position - last < every:
            continue
        now, output = time.perf_counter(), translator.output_tokens
        rates = {"source": (position - last) / (now - started), "output": (output - written) / (now - started)}
        found.append({"position": position, "megabytes": resident(), **rates})
        report(
            f"{position:>9,} tokens  {found[-1]['megabytes']:7,.0f} MB  {rates['source']:6.0f} source and "
            f"{rates['output']:6.0f} output tokens/s"
        )
        last, started, written = position, time.perf_counter(), output
    return found
