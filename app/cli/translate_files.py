"""The part of `translate` that handles files of other formats than lines of text."""

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli import translate_documents
from app.cli.memory import translator_of
from app.cli.options import chosen_engine
from app.presets.schema import SearchPreset
from app.terminal import decoding_progress
from data.errors import UserError

if TYPE_CHECKING:
    from app.runs.run import Run

# Options for lines of text.
_FOR_LINES = ("scores", "sample", "score_references", "offers", "show_memory")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the option for tables."""
    parser.add_argument(
        "--columns",
        nargs="+",
        metavar="NAME",
        help="for .csv and .tsv: the columns to translate, by the names in the first row or by numbers from 1",
    )


def wanted(args: argparse.Namespace, language: str) -> bool:
    """Whether a file of another format is to be translated.

    Args:
        args: the command line.
        language: the source language. A name that ends in it is that of a corpus file: newstest.en holds lines.

    Raises:
        UserError: the format is unknown, or there are several such files.
    """
    from app.formats.opening import ENDINGS, ending_of, unknown

    lines = ("", ".txt", "." + language)
    others = [path for path in args.files if ending_of(path) not in lines]
    if translate_documents.wanted(args) or not others:
        if args.columns:
            raise UserError("--columns is for a file that ends in .csv or .tsv")
        return False
    if ending_of(others[0]) not in ENDINGS:
        raise UserError(
            f"{unknown(others[0])}; lines of text may be piped to standard input, whatever their file is called"
        )
    if len(args.files) > 1:
        raise UserError(f"{others[0]}: such files are translated one at a time; name only this one")
    return True


def check(args: argparse.Namespace) -> None:
    """Refuses options that have no effect on a file, and an output that does not suit the input."""
    from app.formats.opening import ending_of

    path = args.files[0]
    given = [name for name in _FOR_LINES if getattr(args, name)] + ["nbest"] * (args.nbest > 1)
    for name in given:
        raise UserError(f"{path}: --{name.replace('_', '-')} is for lines of text; leave it out")
    ending = ending_of(path)
    if args.output in (None, "-"):
        raise UserError(f"{path}: say where the translation goes: add --output {Path(path).stem}.de{ending}")
    if ending_of(args.output) != ending:
        raise UserError(f"--output {args.output}: the translation is a {ending} file; its name needs that ending")
    if not Path(path).is_file():
        raise UserError(f"{path}: there is no such file")


def translate(run: "Run", search: SearchPreset, args: argparse.Namespace) -> None:
    """Translates the file."""
    from app.formats.base import Options
    from app.formats.opening import open_document
    from app.formats.translation import translate_document
    from data.files import atomic_write

    path, data = args.files[0], run.preset.data
    options = Options(path, data.source, data.target, tuple(args.columns or ()))
    document = open_document(Path(path).read_bytes(), options)
    # Opened first, so that a place where nothing can be written is not discovered hours later.
    with atomic_write(args.output) as file:
        translator = translator_of(run, search, args, engine=chosen_engine(args))
        with _progress() as progress:
            file.write(translate_document(document, path, translator, progress))


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Yields a function to call with the numbers of segments done and in all; it shows a bar on a terminal."""
    with contextlib.ExitStack() as stack:
        reports: list[Callable[[float], None] | None] = []

        def show(done: int, total: int) -> None:
            if not reports:
                reports.append(stack.enter_context(decoding_progress(total)))
            if reports[0]:
                reports[0](done / max(total, 1))

        yield show
