"""Options for what is used with the model: translation memories, glossaries, and the settings of retrieval."""

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

# The verb for what engines do with each option's file, and the kinds of file.
_FILES = {"memory": ("reads", "TMX, XLIFF, PO or TSV"), "glossary": ("takes", ".tsv, .csv or .tbx")}


def add_memory(parser: argparse.ArgumentParser) -> None:
    """Adds the option for a translation memory."""
    parser.add_argument(
        "--memory",
        metavar="FILE",
        help="a translation memory (TMX, XLIFF, PO or TSV) whose segments the model reads at each step; the entries "
        "made from it are kept in RUN/memories",
    )


def add_glossary(parser: argparse.ArgumentParser) -> None:
    """Adds the option for a glossary."""
    parser.add_argument(
        "--glossary",
        metavar="FILE",
        help="terms to translate as the file says: .tsv or .csv with source, target, part of speech and "
        '"case" on each line, or .tbx; German forms are inflected',
    )


def check_files(args: argparse.Namespace) -> None:
    """Refuses a translation memory or glossary that the engine cannot use, or that does not exist."""
    for option, (verb, kinds) in _FILES.items():
        path, engine = getattr(args, option, None), getattr(args, "engine", KERAS.name)
        if path and engine != KERAS.name:
            raise UserError(f"--engine {engine} {verb} no {option}: leave out --{option}, or use --engine keras")
        if path and not Path(path).is_file():
            raise UserError(f"{path}: there is no such file; --{option} takes {kinds}")


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
        args: the command line, with `checkpoint`, `memory`, `glossary`, `fuzzy` and `offers`.
        engine, sampling: see `Translator.of_run`.
    """
    from app.translation.translator import Translator
    from data.terms import open_glossary

    data = run.preset.data
    glossary = open_glossary(args.glossary, data.source, data.target) if args.glossary else None
    reading = {"memory": args.memory, "glossary": glossary}
    translator = Translator.of_run(run, args.checkpoint, search, engine, sampling, **reading)
    translator.fuzzy = None if args.offers else args.fuzzy
    return translator
