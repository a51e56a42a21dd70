"""Options that several commands share."""

import argparse
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.startup import load_keras
from app.presets.schema import SearchPreset
from app.translation.decoder import ENGINES, KERAS, QUANTIZATIONS, Engine
from data.errors import UserError

if TYPE_CHECKING:
    from app.presets.preset import Preset
    from app.runs.run import Run

RUN_HELP = "a run folder, such as runs/starter"
_KEY = re.compile(r"\s+[a-z_]+(\.[a-z_]+)*\s*=")
# The keys for cutting documents may change after training, for example to longer windows.
WINDOWS = tuple(f"documents.{key}" for key in ("windows", "size", "tokens", "order", "context_target"))


def add_actions(parser: argparse.ArgumentParser, what: str, helps: dict[str, str]) -> argparse._SubParsersAction:
    """Adds a required argument that chooses one of several parsers.

    The help lists the choices here, because argparse misaligns names longer than its option column.

    Args:
        parser: the parser of the program or of a command.
        what: "command" or "action"; the attribute that will hold the choice.
        helps: a line about each choice, by name.

    Returns:
        What `ArgumentParser.add_subparsers` returns; its `add_parser` makes the parser of one choice.
    """
    width = max(map(len, helps))
    listed = "\n".join(f"{name:<{width}}  {text}" for name, text in helps.items())
    parser.usage = f"{parser.prog} [-h] {what.upper()} ..."
    return parser.add_subparsers(
        title=f"{what}s",
        description=listed,
        dest=what,
        metavar=what.upper(),
        required=True,
        prog=parser.prog,
        help=argparse.SUPPRESS,
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Adds the option for the weights."""
    parser.add_argument(
        "--checkpoint",
        choices=("auto", "averaged", "best", "last"),
        default="auto",
        help="which weights to use; auto: the average, or the last weights if they are newer",
    )


def add_search(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the weights and the search."""
    add_checkpoint(parser)
    parser.add_argument("--beam", type=int, metavar="N", help="beam width; 1 is greedy (default: as in the preset)")
    add_set(parser, "other keys of the preset's section [search], such as length_penalty=1.0 or batch_tokens=1000")


def add_set(parser: argparse.ArgumentParser, text: str) -> None:
    """Adds the option that changes keys of a preset; `text` says which."""
    parser.add_argument("--set", nargs="+", action=_Changes, default=[], metavar="KEY=VALUE", help=text)


class _Changes(argparse.Action):
    """Collects the changes from all `--set` options."""

    def __call__(self, parser: argparse.ArgumentParser, namespace, values, option_string=None):
        changes = [change for text in values for change in split_changes(text)]
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), *changes])


def split_changes(text: str) -> list[str]:
    """Splits "KEY=VALUE KEY=VALUE" before each key, but not within quotes or brackets.

    >>> split_changes('updates=500 corpora=["warehouse:SELECT * FROM x WHERE n=1"] norm=post')
    ['updates=500', 'corpora=["warehouse:SELECT * FROM x WHERE n=1"]', 'norm=post']
    """
    starts, quote, depth = [0], "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[]":
            depth += 1 if letter == "[" else -1
        elif letter.isspace() and not depth and _KEY.match(text, place):
            starts.append(place)
    changes = [text[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
    return [change for change in changes if change] or [text]


def add_filters(parser: argparse.ArgumentParser, what: str) -> None:
    """Adds the options for cleaning with a preset; `what` names the settings taken from it."""
    parser.add_argument("--preset", metavar="PRESET", help=f"take the {what} from its section [data]")
    add_set(parser, "keys of that section to change, such as max_words=100 or language_filter=false")


def chosen_filters(args: argparse.Namespace) -> "Preset":
    """The preset whose section `[data]` sets the cleaning; the defaults if none is named."""
    from app.presets.preset import Preset, load_preset

    return load_preset(args.preset, args.set) if args.preset else Preset("defaults").with_overrides(args.set)


def chosen_languages(args: argparse.Namespace) -> tuple[str, str]:
    """Source and target language from --pair; English and German without it.

    Raises:
        UserError: --pair does not name two languages.
    """
    source, dash, target = (args.pair or "en-de").partition("-")
    if not (source and dash and target):
        raise UserError(f"--pair {args.pair}: expected two languages, such as en-de")
    return source, target


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the engine that runs the model."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default=KERAS.name,
        help="what runs the model (keras); ctranslate2, from the extra of that name, starts at once; the export it "
        "needs is made on first use and kept in RUN/exports",
    )
    add_quantization(parser, "for --engine ctranslate2: ")


def add_quantization(parser: argparse.ArgumentParser, when: str) -> None:
    """Adds the option for how CTranslate2 stores weights."""
    parser.add_argument(
        "--quantization",
        choices=QUANTIZATIONS,
        metavar="TYPE",
        help=f"{when}how weights are stored: {', '.join(QUANTIZATIONS)} (float32, where up to four lines in a "
        "hundred differ from --engine keras; int8 is the smallest and fastest, and differs more)",
    )


def chosen_engine(args: argparse.Namespace) -> Engine:
    """The engine from the command line.

    Raises:
        UserError: --quantization with an engine that does not support it.
    """
    if args.engine == KERAS.name:
        if args.quantization:
            raise UserError("--quantization says how CTranslate2 stores weights; add --engine ctranslate2")
        return KERAS
    from app.export.ctranslate2 import ctranslate2_engine

    return ctranslate2_engine(args.quantization or QUANTIZATIONS[0])


def load_engine(engine: Engine, run: "Run", checkpoint: str) -> None:
    """Imports what an engine needs; Keras only if it is the engine or the model must be exported first."""
    if engine != KERAS:
        from app.export.ctranslate2 import export_folder
        from app.translation.ctranslate2 import import_ctranslate2

        import_ctranslate2()
        if export_folder(run, checkpoint, engine.quantization).exists():
            return
    load_keras()
    from app.runs.precision import settle_for_search

    settle_for_search(run.preset.model.width)


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Adds the option for the precision that Keras computes in."""
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "auto"),
        help="the precision Keras computes in (default: training.precision of the preset, usually auto, which is "
        "bfloat16 where the machine is faster with it); given translations are always scored in float32",
    )


def with_chosen_precision(run: "Run", args: argparse.Namespace) -> "Run":
    """The run with the precision from the command line.

    Raises:
        UserError: --precision with an engine that does not support it.
    """
    if not args.precision:
        return run
    if getattr(args, "engine", KERAS.name) != KERAS.name:
        raise UserError("--precision is for --engine keras; CTranslate2 has --quantization")
    return run.with_precision(args.precision)


def add_naming(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the name of a corpus, and for the split of the pairs in a file."""
    parser.add_argument("--name", default="", help="the name of the corpus (default: the source's)")
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="train",
        help="the split of the pairs in a file that does not name it (train)",
    )


def add_corpora(parser: argparse.ArgumentParser) -> None:
    """Adds the option for corpus folders."""
    parser.add_argument(
        "--corpora",
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders that hold corpus folders; those in the variable WEITBLICK_CORPORA are searched after them",
    )


def add_languages(parser: argparse.ArgumentParser) -> None:
    """Adds the options for corpus folders and for the languages of their files."""
    add_corpora(parser)
    parser.add_argument("--source", default="en", metavar="LANGUAGE", help="language to translate from (en)")
    parser.add_argument("--target", default="de", metavar="LANGUAGE", help="language to translate into (de)")


def chosen_search(preset: "Preset", args: argparse.Namespace, others: tuple[str, ...] = ()) -> SearchPreset:
    """The preset's search with the changes from the command line.

    Args:
        preset: the run's preset.
        args: the command line.
        others: keys of other sections that the command handles itself; they are ignored here.

    Raises:
        UserError: an unknown key, a bad value, or a key of another section.
    """
    changes = [] if args.beam is None else [f"search.beam={args.beam}"]
    for change in args.set:
        key = key_of(change)
        if key in others:
            continue
        if "." in key and not key.startswith("search."):
            listed = dict.fromkeys(re.sub(r"(memory\.retrieval)\..*", r"\1.*", other) for other in others)
            allowed = f"keys of the section [search]{' and ' if others else ''}{', '.join(listed)}"
            raise UserError(f"--set {change}: only {allowed} can be changed after training")
        changes.append(change if "." in key else f"search.{change}")
    return preset.with_overrides(changes).search


def with_chosen_windows(run: "Run", args: argparse.Namespace) -> "Run":
    """The run with the windows from the command line instead of those of its training.

    Raises:
        UserError: a bad value, or a run that was not trained on documents.
    """
    changes = [change for change in args.set if key_of(change) in WINDOWS]
    if not changes:
        return run
    if run.preset.documents.windows == "off":
        raise UserError(f"--set {changes[0]}: {run.path} was not trained on documents and has no windows")
    preset = run.preset.with_overrides(changes)
    if preset.documents.windows == "off":
        raise UserError(f"--set {changes[0]}: for segments alone, set documents.windows=segments documents.size=1")
    return type(run)(run.path, preset)


def key_of(change: str) -> str:
    return change.partition("=")[0].strip()


def program(name: str) -> str:
    """The shell command that starts "weitblick" or a program installed with it: its name, or its path if needed."""
    path = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if found and (not path.exists() or Path(found).samefile(path)):
        return name
    return os.path.relpath(path) if path.exists() else f"{os.path.relpath(sys.executable)} -m app"
