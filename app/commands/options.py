"""Options that several commands share."""

import os
import shutil
import sys
from pathlib import Path

from app.preset_schema import SearchPreset
from data.errors import UserError

RUN_HELP = "the folder of a training, such as runs/starter"


def add_search(parser) -> None:
    """Adds the options that say which weights and which search."""
    parser.add_argument(
        "--checkpoint",
        choices=("auto", "averaged", "best", "last"),
        default="auto",
        help="which weights; auto: averaged, or the last ones where there is no average yet",
    )
    parser.add_argument("--beam", type=int, metavar="N", help="beam width; 1 is greedy. By default as in the preset")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="other keys of the preset's section [search], such as length_penalty=1.0 or batch_tokens=1000",
    )


def add_corpora(parser) -> None:
    """Adds the option that says where corpus folders are."""
    parser.add_argument(
        "--corpora",
        nargs="+",
        default=[],
        metavar="DIR",
        help="folders that hold corpus folders; those of the variable WEITBLICK_CORPORA are searched after them",
    )


def chosen_search(preset, args) -> SearchPreset:
    """The preset's search with the changes of the command line.

    Raises:
        UserError: an unknown key, a bad value, or a key of another section.
    """
    changes = [] if args.beam is None else [f"search.beam={args.beam}"]
    for change in args.set:
        key = change.partition("=")[0].strip()
        if "." in key and not key.startswith("search."):
            raise UserError(f"--set {change}: only keys of the section [search] can be changed after the training")
        changes.append(change if "." in key else f"search.{change}")
    return preset.with_overrides(changes).search


def program(name: str = "weitblick") -> str:
    """How a program of this environment is called from here: by its name alone, or by its path."""
    path = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if not path.exists() or (found and Path(found).samefile(path)):
        return name
    return os.path.relpath(path)
