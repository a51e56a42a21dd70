"""Tests whether document length has a cost: memory use and speed by position in one long document."""

import io
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from app.runs.run import Run
from app.translation.lines import DocumentLine
from app.translation.translator import Translator
from data.errors import UserError
from data.files import atomic_write
from data.tokenizer import Tokenizer
from data.windows import BACKWARD

SEED = 1
RESULTS, FIGURE = "length.json", "length.svg"
# New shapes have a one-time cost, whatever the position.
WARM_UP = 100
_INK, _BLUE, _ORANGE = "#1f2d3d", "#2868b0", "#e0762f"


def translate_long(run: Run, lines: Sequence[str], tokens: int, report: Callable[[str], None]) -> dict[str, Any]:
    """Translates one long document greedily, line by line, as the command line does.

    Args:
        run: a run with document windows.
        lines: lines to build the document from, repeated in a new order each time until there are enough tokens.
        tokens: number of source tokens in the document.
        report: called with a line of text for every twentieth of the document.

    Returns:
        Plain values: under "rows", resident memory in MB and source and output tokens per second by position; also a
        comparison of the last quarter of the document with the second one, as the first one includes start-up.

    Raises:
        UserError: the run reads documents backward.
    """
    if run.preset.documents.order == BACKWARD:
        raise UserError(
            f'{run.path}: documents.order = "backward" translates nothing before the end of a document is known, so '
            "there is no speed by position"
        )
    translator = Translator.of_run(run, search=replace(run.preset.search, beam=1))
    list(translator.translate_documents([[text for text, _ in itertools.islice(_repeat(lines, translator), WARM_UP)]]))
    rows = _measure(translator, long_document(lines, translator.tokenizer, tokens), max(tokens // 20, 1), report)
    return {"run": str(run.path), "memory": run.preset.memory.kind, **compare(rows), "rows": rows}


def long_document(lines: Sequence[str], tokenizer: Tokenizer, tokens: int) -> Iterator[tuple[str, int]]:
    """Yields segments with their numbers of tokens, until there are enough tokens."""
    sizes = [len(ids) + 1 for ids in tokenizer.encode(list(lines))]
    drawn, total = random.Random(SEED), 0
    while True:
        for number in drawn.sample(range(len(lines)), len(lines)):
            if total >= tokens:
                return
            total += sizes[number]
            yield lines[number], sizes[number]


def compare(rows: list[dict[str, float]]) -> dict[str, float]:
    """Compares the last quarter of the document with the second one."""
    quarter = max(len(rows) // 4, 1)
    early, late = rows[quarter : 2 * quarter] or rows, rows[-quarter:]
    speed = [float(np.median([row["output"] for row in part])) for part in (early, late)]
    grown = max(row["megabytes"] for row in late) - max(row["megabytes"] for row in early)
    return {"speed_late_to_early": speed[1] / speed[0], "megabytes_grown": grown}


def save(found: dict[str, Any], folder: str | Path) -> bool:
    """Writes the results and, if Matplotlib is installed, a figure; returns whether it is installed."""
    with atomic_write(Path(folder) / RESULTS, "w") as file:
        json.dump(found, file, indent=1)
        file.write("\n")
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return False
    with rc_context({"svg.hashsalt": "long", "svg.fonttype": "none", "text.color": _INK, "font.size": 10}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        upper, lower = figure.subplots(2, sharex=True)
        places = [row["position"] for row in found["rows"]]
        for axis, name, colour in ((upper, "output", _BLUE), (lower, "megabytes", _ORANGE)):
            axis.plot(places, [row[name] for row in found["rows"]], color=colour, marker="o", markersize=3)
            axis.set_ylim(0)
            axis.spines[["top", "right"]].set_visible(False)
        upper.set_ylabel("output tokens/s")
        lower.set_ylabel("MB resident")
        lower.set_xlabel("position in the document, source tokens")
        lower.xaxis.set_major_formatter("{x:,.0f}")
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    with atomic_write(Path(folder) / FIGURE) as file:
        file.write(content.getvalue())
    return True


def _repeat(lines: Sequence[str], translator: Translator) -> Iterator[tuple[str, int]]:
    return long_document(lines, translator.tokenizer, 10**9)


def _measure(
    translator: Translator, document: Iterator[tuple[str, int]], every: int, report: Callable[[str], None]
) -> list[dict[str, float]]:
    texts, sizes = zip(*document, strict=True)
    found: list[dict[str, float]] = []
    position, last, started, written = 0, 0, time.perf_counter(), translator.output_tokens
    for _, size in zip(translator.translate_lines(DocumentLine(0, text) for text in texts), sizes, strict=True):
        position += size
        if position - last < every:
            continue
        now, output = time.perf_counter(), translator.output_tokens
        rates = {"source": (position - last) / (now - started), "output": (output - written) / (now - started)}
        found.append({"position": position, "megabytes": _resident(), **rates})
        report(
            f"{position:>9,} tokens  {found[-1]['megabytes']:7,.0f} MB  {rates['source']:6.0f} source and "
            f"{rates['output']:6.0f} output tokens/s"
        )
        last, started, written = position, time.perf_counter(), output
    return found


def _resident() -> float:
    """Resident memory of this process in MB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
