"""Whether more context ever hurts: BLEU by how many segments of a document the model may know of.

    python -m tests.bench.context runs/documents --corpus libreoffice-help --corpora ../corpora

With a memory, the document is begun anew after so many segments; with joined segments (concat), windows have so many
segments of context. Longer contexts than in training are known to make such models collapse. Greedy search, validation
split; results go to the terminal.
"""

import argparse
from dataclasses import replace
from itertools import chain, groupby

from app.runs.run import Run
from app.scoring.metrics import ScoreOptions, bleu
from app.translation.translator import Translator
from data.corpora.corpora import Corpora


def pieces(documents: list[list], most: int) -> list[list]:
    """The documents, cut after every `most` segments; 0 leaves them whole."""
    if not most:
        return documents
    return [document[i : i + most] for document in documents for i in range(0, len(document), most)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--corpora", action="append", default=[], metavar="DIR")
    parser.add_argument("--lines", type=int, default=1000, help="the documents of the first so many lines (1000)")
    parser.add_argument("--segments", nargs="+", type=int, default=[1, 2, 4, 8, 16, 0], help="0 for no limit")
    args = parser.parse_args()
    run = Run.open(args.run)
    pairs = list(Corpora(args.corpora).open(args.corpus).pairs("validation"))[: args.lines]
    documents = [list(group) for _, group in groupby(pairs, key=lambda pair: pair.doc)]
    translator = Translator.of_run(run, search=replace(run.preset.search, beam=1))
    print(f"{args.corpus}: {len(pairs):,} segments in {len(documents):,} documents, the longest has ", end="")
    print(f"{max(map(len, documents)):,}")
    sliding = run.preset.memory.kind == "concat"
    for most in args.segments:
        if sliding and not most:
            continue
        if sliding:
            translator.options = replace(translator.options, size=most)
        given = documents if sliding else pieces(documents, most)
        sources = [[pair.source for pair in document] for document in given]
        found = list(chain.from_iterable(translator.translate_documents(sources)))
        score = bleu(found, [pair.target for pair in pairs], ScoreOptions(samples=0)).value
        print(f"{f'{most:,} segments' if most else 'no limit':>14}  BLEU {score:.2f}", flush=True)


if __name__ == "__main__":
    main()
