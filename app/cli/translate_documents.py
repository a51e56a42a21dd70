"""The part of `translate` that handles documents."""

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.cli.memory import translator_of
from app.presets.schema import SearchPreset
from data.errors import UserError

if TYPE_CHECKING:
    from app.runs.run import Run

IMPLYING = ("--doc-column", "--per-file")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options for documents."""
    parser.add_argument(
        "--document",
        action="store_true",
        help="translate documents, separated by blank lines and the ends of files; many are translated in parallel",
    )
    parser.add_argument(
        "--doc-column",
        action="store_true",
        help='the same, for lines of the form "DOC<TAB>segment": a document ends where DOC changes',
    )
    parser.add_argument(
        "--per-file", action="store_true", help="the same, but each FILE is one document, blank lines included"
    )
    parser.add_argument(
        "--corrected",
        metavar="FILE",
        help="complete a partly translated document: line n of FILE is the right translation of line n, or empty if it "
        "has none yet; each input file is a document unless another option says otherwise",
    )
    parser.add_argument(
        "--show-memory",
        metavar="FILE",
        help="for documents: write how the memory was used for each segment, one line of JSON each, for plots",
    )


def wanted(args: argparse.Namespace) -> bool:
    """Whether documents are to be translated."""
    return args.document or args.doc_column or args.per_file or args.corrected is not None


def check(args: argparse.Namespace) -> None:
    """Refuses options that would have no effect or make no sense."""
    if args.doc_column and args.per_file:
        raise UserError("--doc-column and --per-file both define what a document is: leave one out")
    if not wanted(args):
        if args.show_memory:
            raise UserError("--show-memory is for documents; add --document")
        if len(args.files) > 1:
            raise UserError(f"{len(args.files)} files: add --per-file if each is a document, or --document")
        return
    if args.engine != "keras":
        raise UserError(
            f"--engine {args.engine} does not support documents: leave it out, or leave out the document options"
        )
    if args.sample:
        raise UserError("--sample translates each line by itself: leave it out, or leave out the document options")
    if args.nbest > 1:
        raise UserError("--nbest: a document continues from one translation of each line; leave out --nbest")
    if args.offers:
        raise UserError("--offers is for single lines: leave it out, or leave out the document options")
    if args.corrected and args.score_references:
        raise UserError("--corrected is for translations; leave out --score-references")
    if args.show_memory and args.score_references:
        raise UserError("--show-memory is for translations; leave out --score-references")


def rows(run: "Run", search: SearchPreset, args: argparse.Namespace) -> Iterator[str]:
    """The lines of the output.

    Args:
        run: the run.
        search: beam and limits.
        args: the command line.
    """
    from app.translation.inspection import hidden
    from app.translation.lines import BLANK, COLUMN, FILE, DocumentLines

    if args.show_memory and (why := hidden(run.preset.memory)):
        raise UserError(f"{run.path}: {why}; leave out --show-memory")
    by_file = args.per_file or (args.corrected and not args.document)
    lines = DocumentLines(args.files, COLUMN if args.doc_column else FILE if by_file else BLANK)
    return _references(run, search, lines, args) if args.score_references else _translate(run, search, lines, args)


def _translator(run, search, args: argparse.Namespace):
    from app.translation.text import print_warning

    if not run.preset.reads_documents(search) and not args.corrected:
        print_warning(f"{run.path} was not trained on documents: each segment is translated alone")
    return translator_of(run, search, args)


def _translate(run, search, lines, args: argparse.Namespace) -> Iterator[str]:
    from data.files import atomic_write

    corrected = args.corrected is not None
    if corrected:
        lines = _with_corrections(list(lines), args.corrected)
    translator = _translator(run, search, args)
    if not args.show_memory:
        yield from _rows(translator.translate_lines(lines, whole=corrected), args)
        return
    with atomic_write(args.show_memory, "w") as file:

        def watch(record: dict) -> None:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

        yield from _rows(translator.translate_lines(lines, watch, whole=corrected), args)


def _with_corrections(lines: list, path: str) -> Iterator:
    """The lines with the translations in a file, whose line is empty where there is no translation yet."""
    from app.translation.lines import read_text

    given = read_text(path)
    if len(lines) != len(given):
        raise UserError(
            f"the source has {len(lines):,} lines and {path} has {len(given):,}; line n of one must belong to line n "
            "of the other, and be empty where it is not translated yet"
        )
    for number, (line, text) in enumerate(zip(lines, given, strict=True), start=1):
        if text.strip() and not line.text.strip():
            raise UserError(f"{path}, line {number}: not empty, but line {number} of the source is")
    corrections = (text if text.strip() else None for text in given)
    return iter([line._replace(correction=text) for line, text in zip(lines, corrections, strict=True)])


def _rows(found, args: argparse.Namespace) -> Iterator[str]:
    return (f"{score:.4f}\t{text}" if args.scores else text for text, score in found)


def _references(run, search, lines, args: argparse.Namespace) -> Iterator[str]:
    from app.translation.lines import read_text

    lines, targets = list(lines), read_text(args.score_references)
    if len(lines) != len(targets):
        raise UserError(
            f"the source has {len(lines):,} lines and {args.score_references} has {len(targets):,}; "
            "line n of one must belong to line n of the other"
        )
    documents: dict[int, list] = {}
    for number, (line, target) in enumerate(zip(lines, targets, strict=True), start=1):
        if line.document is not None:
            documents.setdefault(line.document, []).append((line.text, target))
        elif target.strip():
            raise UserError(f"{args.score_references}, line {number}: not blank, but line {number} of the source is")
    found = _translator(run, search, args).score(list(documents.values()))
    scores = {name: iter(own) for name, own in zip(documents, found, strict=True)}
    for line in lines:
        score = (0.0, 0) if line.document is None else next(scores[line.document])
        yield f"{score[0]:.4f}\t{score[1]}"
