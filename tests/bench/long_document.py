"""Whether a document's length costs: memory and time by position, while one long document is translated.

    python -m tests.bench.long_document runs/documents --text long.txt
    python -m tests.bench.long_document runs/documents --corpus manpages --corpora ../corpora --tokens 100000

The text is repeated, its lines shuffled anew each time, until it has so many source tokens, and is translated as one
document by the command line's own path, line in, line out. Every few thousand tokens the resident memory of the process
and the output tokens a second since the last time are taken. The results are printed as a table, and go with a figure
into the folder --output. The last line compares the last quarter with the second one: the first holds the start-up.
"""

import argparse
import io
import itertools
import json
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.runs.run import Run
from app.translation.lines import DocumentLine
from app.translation.translator import Translator
from data.corpora.corpora import Corpora
from data.files import atomic_write

SEED = 1
INK, FAINT, BLUE, ORANGE = "#1f2d3d", "#6b7785", "#2868b0", "#e0762f"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--text", help="a file of source segments")
    parser.add_argument("--corpus", help="or the test split of a corpus with documents")
    parser.add_argument("--corpora", action="append", default=[], metavar="DIR")
    parser.add_argument("--tokens", type=int, default=100_000, help="source tokens of the document (100000)")
    parser.add_argument("--every", type=int, default=5_000, help="source tokens between measurements (5000)")
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--output", default="bench", metavar="DIR", help="where results go (bench)")
    args = parser.parse_args()
    if bool(args.text) == bool(args.corpus):
        parser.error("name either --text or --corpus")
    return args


def segments(args) -> list[str]:
    if args.text:
        lines = Path(args.text).read_text(encoding="utf-8").splitlines()
    else:
        lines = [pair.source for pair in Corpora(args.corpora).open(args.corpus).pairs("test")]
    return [line for line in lines if line.strip()]


def long_document(lines: list[str], tokenizer, tokens: int):
    """Segments with their numbers of tokens, until there are enough."""
    sizes = [len(ids) + 1 for ids in tokenizer.encode(lines)]
    drawn, total = random.Random(SEED), 0
    while True:
        for number in drawn.sample(range(len(lines)), len(lines)):
            if total >= tokens:
                return
            total += sizes[number]
            yield lines[number], sizes[number]


def resident() -> float:
    """Resident memory of this process in MB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def measure(translator, document, every: int) -> list[dict]:
    """One row for each `every` source tokens: position, MB resident, source and output tokens a second."""
    texts, sizes = zip(*document, strict=True)
    found, position, last, started, written = [], 0, 0, time.perf_counter(), 0
    lines = (DocumentLine(0, text) for text in texts)
    for _, size in zip(translator.translate_lines(lines), sizes, strict=True):
        position += size
        if position - last < every:
            continue
        now, output = time.perf_counter(), translator.output_tokens
        rates = {"source": (position - last) / (now - started), "output": (output - written) / (now - started)}
        found.append({"position": position, "megabytes": resident(), **rates})
        print(
            f"{position:>9,} tokens  {found[-1]['megabytes']:7,.0f} MB  {rates['source']:6.0f} source and "
            f"{rates['output']:6.0f} output tokens/s",
            flush=True,
        )
        last, started, written = position, time.perf_counter(), output
    return found


def compare(rows: list[dict]) -> dict:
    """The last quarter of the document beside the second one."""
    quarter = max(len(rows) // 4, 1)
    early, late = rows[quarter : 2 * quarter] or rows, rows[-quarter:]
    speed = [float(np.median([row["output"] for row in part])) for part in (early, late)]
    grown = max(row["megabytes"] for row in late) - max(row["megabytes"] for row in early)
    return {"speed_late_to_early": speed[1] / speed[0], "megabytes_grown": grown}


def draw(rows: list[dict], path) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "long", "svg.fonttype": "none", "text.color": INK, "font.size": 10}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        upper, lower = figure.subplots(2, sharex=True)
        places = [row["position"] for row in rows]
        for axis, name, colour in ((upper, "output", BLUE), (lower, "megabytes", ORANGE)):
            axis.plot(places, [row[name] for row in rows], color=colour, marker="o", markersize=3)
            axis.set_ylim(0)
            axis.spines[["top", "right"]].set_visible(False)
        upper.set_ylabel("output tokens/s")
        lower.set_ylabel("MB resident")
        lower.set_xlabel("position in the document, source tokens")
        lower.xaxis.set_major_formatter("{x:,.0f}")
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    with atomic_write(path) as file:
        file.write(content.getvalue())


def main() -> None:
    args = arguments()
    run = Run.open(args.run)
    translator = Translator.of_run(run, search=replace(run.preset.search, beam=args.beam))
    # Shapes that come up for the first time cost once, whatever the position.
    lines = segments(args)
    warm = [[text for text, _ in itertools.islice(long_document(lines, translator.tokenizer, 10**9), 100)]]
    list(translator.translate_documents(warm))
    rows = measure(translator, long_document(lines, translator.tokenizer, args.tokens), args.every)
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    found = {"run": str(args.run), "memory": run.preset.memory.kind, "beam": args.beam, **compare(rows), "rows": rows}
    with atomic_write(folder / "long_document.json", "w") as file:
        json.dump(found, file, indent=1)
    draw(rows, folder / "long_document.svg")
    print(f"the last quarter: {found['speed_late_to_early']:.2f} times the speed of the second one, ", end="")
    print(f"{found['megabytes_grown']:+.0f} MB; results and a figure in {folder}")


if __name__ == "__main__":
    main()
