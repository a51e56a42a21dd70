"""Options for what is read beside the model: translation memories, glossaries, and the settings of retrieval."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.options import key_of
from app.presets.schema import SearchPreset
from app.translation.decoder import KERAS, Engine, Sampling
from data.errors import UserError
from models.memories import settings_of

if TYPE_CHECKING:
    from app.runs.run import Run
    from app.translation.translator import Translator

# These keys may change after training.
RETRIEVAL = tuple(f"memory.retrieval.{key.name}" for key in fields(settings_of("retrieval")))


def add_memory(parser: argparse.ArgumentParser) -> None:
    """Adds the option for a translation memory."""
    parser.add_argument(
        "--memory",
        metavar="FILE",
        help="a translation memory whose segments are read at each step: TMX, XLIFF, PO or TSV; what the model makes "
        "of it is kept in RUN/memories",
    )


def check_memory(args: argparse.Namespace) -> None:
    """Refuses a translation memory for an engine that cannot read any, or that is not there."""
    if args.memory and getattr(args, "engine", KERAS.name) != KERAS.name:
        raise UserError(f"--engine {args.engine} reads no memory: leave out --memory, or use --engine keras")
    if args.memory and not Path(args.memory).is_file():
        raise UserError(f"{args.memory}: there is no such file; --memory takes TMX, XLIFF, PO or TSV")


def add_glossary(parser: argparse.ArgumentParser) -> None:
    """Adds the option for a glossary."""
    parser.add_argument(
        "--glossary",
        metavar="FILE",
        help="terms that are translated as the file says: .tsv or .csv with source, target, part of speech and "
        '"case" on each line, or .tbx; German forms are inflected',
    )


def check_glossary(args: argparse.Namespace) -> None:
    """Refuses a glossary for an engine that cannot see to it, or that is not there."""
    if args.glossary and getattr(args, "engine", KERAS.name) != KERAS.name:
        raise UserError(f"--engine {args.engine} takes no glossary: leave out --glossary, or use --engine keras")
    if args.glossary and not Path(args.glossary).is_file():
        raise UserError(f"{args.glossary}: there is no such file; --glossary takes .tsv, .csv or .tbx")


def with_chosen_memory(run: "Run", args: argparse.Namespace) -> "Run":
    """The run with the settings of retrieval from the command line, if there are any.

    Raises:
        UserError: a bad value.
    """
    changes = [change for change in args.set if key_of(change) in RETRIEVAL]
    return type(run)(run.path, run.preset.with_overrides(changes)) if changes else run


def translator_of(
    run: "Run", search: SearchPreset, args: argparse.Namespace, engine: Engine = KERAS, sampling: Sampling | None = None
) -> "Translator":
    """The translator of a run, with the translation memory and the glossary from the command line.

    Args:
        run, search: the run, and its search.
        args: the command line, with `checkpoint`, `memory` and `glossary`.
        engine, sampling: see `Translator.of_run`.
    """
    from app.translation.memory import open_memory
    from app.translation.translator import Translator
    from data.terms import open_glossary

    data = run.preset.data
    glossary = open_glossary(args.glossary, data.source, data.target) if args.glossary else None
    translator = Translator.of_run(run, args.checkpoint, search, engine, sampling)
    if glossary:
        translator.use_glossary(glossary)
    if args.memory:
        translator.use(open_memory(run, translator, args.memory))
        translator.fuzzy = None if args.offers else args.fuzzy
    return translator
