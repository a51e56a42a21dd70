"""`probe --run`: measures a finished run on documents, instead of training small models."""

import argparse

from app.cli.options import add_corpora, load_engine
from app.cli.startup import load_keras
from app.translation.decoder import KERAS
from data.errors import UserError
from data.files import check_writable
from models.memories import trained_kinds

LINES = {"context": 1000, "stores": 400, "forgotten": 400, "length": 0, "training": 0}
SPLITS = {name: "test" if name in ("length", "training") else "validation" for name in LINES}
# Options of the recall probe that do not apply to a finished run, with their defaults, and the other way round.
RECALL = {"minutes": 4.0, "seed": 1, "documents": 1000, "facts": 2, "keys": 8, "values": 8, "longest": 32, "context": 4}
RECALL |= {"memory": list(trained_kinds()), "distances": [1, 2, 4, 8, 16, 32, 64, 128], "again": False}
MEASURE = {"measure": None, "corpus": [], "corpora": [], "lines": None}
MEASURE |= {"tokens": [1024, 4096, 16384, 65536], "segments": [1, 2, 4, 8, 16, 0]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options for a finished run."""
    group = parser.add_argument_group("for a finished run instead, see docs/memory.md and docs/results.md")
    group.add_argument("--run", dest="path", metavar="RUN", help="a run folder")
    group.add_argument(
        "--measure",
        choices=tuple(LINES),
        help="context: BLEU by segments of context; stores: the gain from untrained stores; forgotten: bits that the "
        "memory's gates let go; length: time and memory of translation by document length; training: the same for "
        "training",
    )
    group.add_argument("--corpus", nargs="+", default=[], metavar="NAME", help="corpora with documents")
    add_corpora(group)
    group.add_argument(
        "--lines", type=int, metavar="N", help="lines to use: context (1000), stores and forgotten (400), others all"
    )
    group.add_argument(
        "--tokens",
        nargs="+",
        type=int,
        default=MEASURE["tokens"],
        metavar="N",
        help="for length and training: lengths of the document in source tokens (1024 4096 16384 65536)",
    )
    group.add_argument(
        "--segments",
        nargs="+",
        type=int,
        default=MEASURE["segments"],
        metavar="N",
        help="for context: how many segments the model may see, 0 for whole documents (1 2 4 8 16 0)",
    )


def run(args: argparse.Namespace) -> None:
    """Prints the measurement; seconds and memory by length are also written to --output."""
    from pathlib import Path

    from app.probe.length_report import RESULTS
    from app.runs.run import Run

    _check(args)
    if args.measure in ("length", "training"):
        check_writable(Path(args.output) / RESULTS)
    run = Run.open(args.path)
    documents = run.preset.documents.windows != "off"
    if documents == (args.measure == "stores"):
        wanted = "a sentence-level run" if documents else "a run trained on documents"
        raise UserError(f"--measure {args.measure}: needs {wanted}, which {args.path} is not")
    corpora = run.preset.corpora(args.corpora)
    texts = {name: _pairs(corpora.open(name), args) for name in args.corpus}
    # Training uses other numbers of threads than translation.
    load_keras() if args.measure == "training" else load_engine(KERAS, run, "auto")
    for name, pairs in texts.items():
        measures = {"context": _context, "stores": _stores, "forgotten": _forgotten}
        measures |= {"length": _length, "training": _training}
        measures[args.measure](run, name, pairs, args)


def refuse_measures(args: argparse.Namespace) -> None:
    """Refuses options for a finished run where none is named."""
    for name, default in MEASURE.items():
        if getattr(args, name) != default:
            raise UserError(f"--{name}: is for a finished run; add --run RUN")


def _check(args: argparse.Namespace) -> None:
    given = [name for name, default in RECALL.items() if getattr(args, name) != default]
    if given or args.set:
        raise UserError(f"--{(given or ['set'])[0]}: is for the recall probe; leave it out with --run")
    if not args.measure or not args.corpus:
        raise UserError(f"--run {args.path}: add --measure {'|'.join(LINES)} and --corpus NAME")
    if args.lines is not None and args.lines < 1:
        raise UserError(f"--lines {args.lines}: must be at least 1")
    for name, least in (("tokens", 1), ("segments", 0)):
        if (smallest := min(getattr(args, name))) < least:
            raise UserError(f"--{name} {smallest}: must be at least {least}")
    if args.measure in ("length", "training") and len(args.corpus) > 1:
        raise UserError(f"--corpus {' '.join(args.corpus)}: --measure {args.measure} takes one corpus")


def _pairs(corpus, args: argparse.Namespace) -> list:
    from itertools import islice

    if not corpus.has_documents:
        raise UserError(f"--corpus {corpus.name}: has no documents")
    pairs = list(islice(corpus.pairs(SPLITS[args.measure]), args.lines or LINES[args.measure] or None))
    if not pairs:
        raise UserError(f"--corpus {corpus.name}: its split {SPLITS[args.measure]} is empty")
    return pairs


def _documents(pairs: list) -> list[list[str]]:
    from data.pairs import by_document

    return [[pair.source for pair in document] for document in by_document(pairs)]


def _context(run, name: str, pairs: list, args: argparse.Namespace) -> None:
    from app.probe.context import translations
    from app.scoring.metrics import ScoreOptions, bleu

    documents = _documents(pairs)
    longest = max(map(len, documents))
    print(f"{name}: {len(pairs):,} segments in {len(documents):,} documents, the longest has {longest:,}")
    for limit, found in translations(run, documents, args.segments):
        score = bleu(found, [pair.target for pair in pairs], ScoreOptions(samples=0)).value
        print(f"{f'{limit:,} segments' if limit else 'no limit':>14}  BLEU {score:.2f}", flush=True)


def _stores(run, name: str, pairs: list, args: argparse.Namespace) -> None:
    from app.probe.stores import measure

    nothing, changes = measure(run, pairs)
    print(f"{name}: {1000 * nothing:.0f} thousandths of a nat a token without a store; change with each store:")
    for store, change in changes.items():
        print(f"  {1000 * change:+7.1f}  {store}")


def _forgotten(run, name: str, pairs: list, args: argparse.Namespace) -> None:
    from app.probe.forgotten import measure

    found = measure(run, _documents(pairs))
    print(
        f"{name}: {found.bits:.2f} of 32 bits of a number are forgotten in a window, {found.written:.2f} in the "
        f"{100 * found.share:.0f}% of the source memory's slots that a window writes to; {found.windows:,} windows"
    )


def _length(run, name: str, pairs: list, args: argparse.Namespace) -> None:
    from app.probe.length import translate_long
    from app.probe.length_report import TRANSLATION, draw

    lines = [pair.source for pair in pairs if pair.source.strip()]
    found = translate_long(run, lines, args.tokens, lambda line: print(line, flush=True))
    draw(found["rows"], args.output)
    print(
        f"{name}: the last quarter ran at {found['speed_late_to_early']:.2f} times the speed of the second quarter and "
        f"used {found['megabytes_grown']:+.0f} MB"
    )
    _note(run, TRANSLATION, found, args)


def _training(run, name: str, pairs: list, args: argparse.Namespace) -> None:
    from app.probe.lane import train_long
    from app.probe.length_report import TRAINING

    _note(run, TRAINING, train_long(run, pairs, args.tokens, lambda line: print(line, flush=True)), args)


def _note(run, what: str, found: dict, args: argparse.Namespace) -> None:
    """Adds a measurement to --output, and prints all measurements there."""
    from pathlib import Path

    from rich.console import Console

    from app.probe.candidates import name_of
    from app.probe.length_report import RESULTS, add, show

    show(add(args.output, str(run.path), name_of(run.preset), what, found), Console(highlight=False))
    print(f"results in {Path(args.output) / RESULTS}")
