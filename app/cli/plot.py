"""Draws figures of runs: learning curves, attention and alignment in a sentence, the memory over a document, BLEU by
source length and by position in the document. For a comparison it draws the scores and costs of all systems.

Each figure is written as SVG and PNG. Without --only the command draws all figures that there is data for, and says
which it left out. docs/plots.md shows each figure.
"""

import argparse
from pathlib import Path

from app.plots import OF_COMPARISON, OF_DOCUMENT, OF_RUNS, OF_SENTENCE
from data.errors import UserError
from data.files import check_writable
from data.installing import need

HELP = "draw learning curves, attention, memories and scores"
EXAMPLES = """
  weitblick plot runs/starter                                            everything there is data for
  weitblick plot runs/starter runs/wide --only learning --output figures two runs in one figure
  weitblick plot runs/starter runs/wide --only learning-hours            which is better after the same time?
  weitblick plot runs/starter --only attention alignment --sentence "Save the file."
  weitblick plot runs/starter-documents --only gates slots --document manual.txt
  weitblick plot runs/memories                                           a folder of weitblick compare
"""
AFTER_INTERRUPT = "figures that were written are kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "paths", nargs="+", metavar="RUN", help="run folders, such as runs/starter; or the folder of a comparison"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        choices=OF_RUNS + OF_COMPARISON,
        metavar="FIGURE",
        help=f"only these figures; of runs: {', '.join(OF_RUNS)}; of a comparison: {', '.join(OF_COMPARISON)}",
    )
    parser.add_argument(
        "--sentence", metavar="TEXT", help="for attention and alignment (default: the sample in the run's log)"
    )
    parser.add_argument("--translation", metavar="TEXT", help="of that sentence (default: the model's)")
    parser.add_argument("--document", metavar="FILE", help="for gates and slots: a text, one segment per line")
    parser.add_argument(
        "--checkpoint",
        choices=("auto", "averaged", "best", "last"),
        default="auto",
        help="which weights to use; auto: the average, or the last weights if they are newer",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="where the figures go; plots/ in the first RUN by default"
    )


def run(args: argparse.Namespace) -> None:
    """Draws the figures, and prints their names."""
    _check(args)
    from app.cli.startup import load_keras
    from app.plots.material import Chosen, Material, is_comparison
    from app.plots.plot import FOLDER, draw_comparison, draw_runs

    folder = Path(args.output) if args.output else Path(args.paths[0]) / FOLDER
    compared = [path for path in args.paths if is_comparison(path)]
    if compared and len(args.paths) > 1:
        raise UserError(f"{compared[0]}: a comparison is drawn alone; leave out the other folders")
    others = [name for name in args.only if name not in (OF_COMPARISON if compared else OF_RUNS)]
    if others:
        kinds = (OF_COMPARISON, "a comparison") if compared else (OF_RUNS, "a run")
        raise UserError(f"--only {others[0]}: the figures of {kinds[1]} are {', '.join(kinds[0])}")
    need("matplotlib", "plots", "a figure")
    if args.output:
        check_writable(folder / "learning.svg")
    if compared:
        done = draw_comparison(Path(compared[0]), args.only, folder)
    else:
        chosen = Chosen(args.sentence, args.translation, args.document, args.checkpoint, load_keras)
        done = draw_runs(Material(args.paths, chosen), args.only, folder)
    if done.written:
        print(f"{folder}: {', '.join(done.written)}, each as .svg and .png")
    if done.left_out:
        print("left out: " + "; ".join(f"{', '.join(names)} ({why})" for why, names in done.left_out.items()))


def _check(args: argparse.Namespace) -> None:
    """Refuses options that would have no effect."""
    for option, figures in (("sentence", OF_SENTENCE), ("document", OF_DOCUMENT)):
        if getattr(args, option) is not None and args.only and not set(figures) & set(args.only):
            raise UserError(f"--{option} is for {' and '.join(figures)}: add one of them to --only")
    if args.translation is not None and args.sentence is None:
        raise UserError("--translation needs its source sentence: add --sentence TEXT")
    if args.document is not None and not Path(args.document).is_file():
        raise UserError(f"{args.document}: there is no such file; --document takes a text, one segment per line")
