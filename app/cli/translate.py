"""Translates lines of text, or a file: each input line gives one output line, empty lines stay empty.

Lines are translated as they come in, so the command works in a pipe. Lines that are too long for the model are split
at sentence ends and translated in parts; nothing is cut off.

Each line is translated by itself unless --document, --doc-column or --per-file says where documents begin. With one of
them, a model that was trained on documents remembers earlier segments of the same document.

A file of another format, such as .docx, .odt, .epub, .html, .md, .po, .xliff, .srt or .json, keeps its format: its text
is translated as one document, and everything else stays as it was. docs/files.md lists the formats.
"""

import argparse
import contextlib
import itertools
import os
import sys

from app.cli import interactive, translate_documents, translate_files
from app.cli.memory import (
    RETRIEVAL,
    add_glossary,
    add_memory,
    check_files,
    translator_of,
    with_chosen_memory,
)
from app.cli.options import (
    RUN_HELP,
    WINDOWS,
    add_engine,
    add_precision,
    add_search,
    chosen_engine,
    chosen_search,
    load_engine,
    with_chosen_precision,
    with_chosen_windows,
)
from data.errors import UserError

HELP = "translate a text line by line, or a file such as a .docx"
EXAMPLES = """
  weitblick translate runs/starter manual.en.txt --output manual.de.txt
  echo "Save the file." | weitblick translate runs/starter
  weitblick translate runs/starter manual.docx --output manual.de.docx
  weitblick translate runs/starter in.txt --beam 8 --nbest 3              line number, score, translation
  weitblick translate runs/starter in.txt --sample --top-p 0.9 --seed 7
  weitblick translate runs/starter in.txt --score-references de.txt       how likely are these translations?
  weitblick translate runs/starter in.txt --engine ctranslate2 --quantization int8
  weitblick translate runs/starter in.txt --glossary terms.tsv            these terms, inflected
  weitblick translate runs/starter in.txt --memory manual.tmx             in the words of a translation memory
  weitblick translate runs/starter in.txt --corrected half.de.txt         complete a partly translated document
  weitblick translate runs/starter --interactive                          translate and correct in a dialogue
  weitblick translate runs/starter-documents in.txt --document            blank lines separate the documents
  weitblick translate runs/starter-documents chapter*.txt --per-file --show-memory memory.jsonl
"""
AFTER_INTERRUPT = "an output file is written only when it is complete; run the same command again"
DRAWING = ("temperature", "top_k", "top_p", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("path", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help='UTF-8 text, or one file of another format; "-" or none: standard input. Several files need --document or '
        "--per-file",
    )
    parser.add_argument("--output", metavar="FILE", help="where the translations go; standard output by default")
    add_search(parser)
    add_engine(parser)
    add_precision(parser)
    translate_documents.add_arguments(parser)
    translate_files.add_arguments(parser)
    add_memory(parser)
    add_glossary(parser)
    parser.add_argument(
        "--fuzzy",
        type=float,
        metavar="X",
        help="for --memory: take the stored translation of a segment that is at least X similar, 0 to 1, with its "
        "numbers adapted, instead of the model's",
    )
    parser.add_argument(
        "--offers",
        metavar="FILE",
        help="for --memory: instead of taking matches, write them to FILE, separated by tabs: line, similarity, "
        "source, translation; --fuzzy sets the lowest similarity (0.75)",
    )
    parser.add_argument(
        "--interactive", action="store_true", help="a dialogue about one document: type segments, correct translations"
    )
    parser.add_argument("--nbest", type=int, default=1, metavar="N", help="print N translations of each line")
    parser.add_argument(
        "--scores", action="store_true", help="print each translation's search score and a tab before it"
    )
    parser.add_argument("--sample", action="store_true", help="sample translations at random instead of searching")
    parser.add_argument("--temperature", type=float, metavar="X", help="for --sample: below 1 is safer (1.0)")
    parser.add_argument("--top-k", type=int, metavar="N", help="for --sample: use only the N likeliest tokens (all)")
    parser.add_argument("--top-p", type=float, metavar="P", help="for --sample: use the top probability mass P (1.0)")
    parser.add_argument("--seed", type=int, metavar="N", help="for --sample: random seed (0)")
    parser.add_argument(
        "--score-references",
        metavar="FILE",
        help="translate nothing; score the translations in FILE: print each line's log-probability and token count",
    )


def run(args: argparse.Namespace) -> None:
    """Streams the input through the model."""
    _check(args)
    from app.runs.run import Run
    from app.translation.lines import open_lines

    run = with_chosen_precision(Run.open(args.path), args)
    if args.score_references:
        run = run.with_precision("float32")
    run = with_chosen_memory(run, args)
    documents, engine = translate_documents.wanted(args), chosen_engine(args)
    file = translate_files.wanted(args, run.preset.data.source)
    in_documents = documents or file or args.interactive
    search = chosen_search(run.preset, args, (*(WINDOWS if in_documents else ()), *RETRIEVAL))
    if file:
        translate_files.check(args)
        load_engine(engine, run, args.checkpoint)
        translate_files.translate(with_chosen_windows(run, args), search, args)
        return
    if args.interactive:
        load_engine(engine, run, args.checkpoint)
        interactive.talk(translator_of(with_chosen_windows(run, args), search, args), args.fuzzy)
        return
    if documents:
        rows = translate_documents.rows(with_chosen_windows(run, args), search, args)
    elif args.score_references:
        rows = _references(run, search, engine, open_lines(args.files[0]), args)
    else:
        rows = _translations(run, search, engine, open_lines(args.files[0]), args)
    if not documents and run.preset.reads_documents(search):
        print(
            f"note: {args.path} reads documents, but no option says where they begin: each line is translated "
            "by itself; add --document, --doc-column or --per-file",
            file=sys.stderr,
        )
    if args.files == ["-"] and sys.stdin and sys.stdin.isatty():
        print("Type a line to translate it; Ctrl-D to finish.", file=sys.stderr)
    load_engine(engine, run, args.checkpoint)
    with _output(args.output) as file, _progress(args) as count:
        for row in rows:
            print(row, file=file, flush=True)
            count()


def _check(args: argparse.Namespace) -> None:
    """Refuses options that would have no effect or make no sense."""
    args.files = args.files or ["-"]
    if args.interactive:
        interactive.check(args)
    translate_documents.check(args)
    check_files(args)
    if args.output and any(_is_same(path, args.output) for path in args.files):
        raise UserError(f"--output {args.output}: is the input itself; name another file")
    if (args.fuzzy is not None or args.offers) and not args.memory:
        raise UserError(f"{'--offers' if args.offers else '--fuzzy'} is for --memory FILE: add it")
    if args.fuzzy is not None and not 0 < args.fuzzy <= 1:
        raise UserError(f"--fuzzy {args.fuzzy}: expected a similarity above 0 and at most 1")
    if args.memory and args.score_references:
        raise UserError("--score-references scores with the model alone; leave out --memory")
    given = [name for name in DRAWING if getattr(args, name) is not None]
    if given and not args.sample:
        raise UserError(f"--{given[0].replace('_', '-')} controls sampling; add --sample")
    if args.nbest < 1:
        raise UserError(f"--nbest {args.nbest}: must be at least 1")
    if args.score_references and args.glossary:
        raise UserError("--score-references translates nothing; leave out --glossary")
    if args.score_references and args.precision:
        raise UserError("--score-references computes in float32; leave out --precision")
    if args.score_references and (args.sample or args.scores or args.nbest > 1):
        raise UserError("--score-references translates nothing; leave out --sample, --scores and --nbest")


def _translations(run, search, engine, lines, args: argparse.Namespace):
    from app.translation.decoder import Sampling

    chosen = {name: getattr(args, name) for name in DRAWING if getattr(args, name) is not None}
    sampling = Sampling(**chosen) if args.sample else None
    if not sampling and args.nbest > search.beam:
        raise UserError(f"--nbest {args.nbest} needs at least as wide a beam: add --beam {args.nbest}")
    translator = translator_of(run, search, args, engine=engine, sampling=sampling)
    lines = _Noted(translator, lines, args) if args.offers else lines
    for number, found in enumerate(translator.nbest(lines, args.nbest), start=1):
        for text, score in found:
            before = f"{number}\t" if args.nbest > 1 else ""
            before += f"{score:.4f}\t" if args.scores or args.nbest > 1 else ""
            yield before + text


class _Noted:
    """Passes lines on as they come, and writes what the translation memory offers for them."""

    def __init__(self, translator, lines, args: argparse.Namespace):
        self.waiting = lines.waiting
        self._translator, self._lines, self._path = translator, lines, args.offers
        self._least = interactive.LEAST if args.fuzzy is None else args.fuzzy

    def __iter__(self):
        from data.files import atomic_write

        with atomic_write(self._path, "w") as file:
            for number, line in enumerate(self._lines, start=1):
                for offer in self._translator.offers(line, self._least):
                    file.write(f"{number}\t{offer.similarity:.3f}\t{offer.source}\t{offer.text}\n")
                yield line


def _references(run, search, engine, lines, args: argparse.Namespace):
    from app.translation.lines import read_text
    from app.translation.translator import Translator

    sources, targets = list(lines), read_text(args.score_references)
    if len(sources) != len(targets):
        raise UserError(
            f"{lines.name} has {len(sources):,} lines and {args.score_references} has {len(targets):,}; "
            "line n of one must belong to line n of the other"
        )
    translator = Translator.of_run(run, args.checkpoint, search, engine)
    for score in translator.score_pairs(sources, targets):
        yield f"{score.log_probability:.4f}\t{score.tokens}"


@contextlib.contextmanager
def _progress(args: argparse.Namespace):
    """Yields a function to call after each line; a progress bar is shown when files are translated into a file."""
    from pathlib import Path

    if not args.output or not sys.stderr.isatty() or not all(Path(path).is_file() for path in args.files):
        yield lambda: None
        return
    from app.terminal import decoding_progress

    lines = max(1, sum(_count_lines(path) for path in args.files))
    with decoding_progress(lines) as report:
        done = itertools.count(1)
        yield lambda: report(min(next(done), lines) / lines)


def _is_same(path: str, other: str) -> bool:
    return os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)


def _count_lines(path) -> int:
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


@contextlib.contextmanager
def _output(path):
    """Standard output, or the named file."""
    from data.files import atomic_write

    if path is None or path == "-":
        yield sys.stdout
    else:
        with atomic_write(path, "w") as file:
            yield file
