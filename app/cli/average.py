"""Averages the weights of a run's checkpoints; training does so at its end, this does it again with another number."""

import argparse

from data.errors import UserError

HELP = "average the weights of the last checkpoints"
EXAMPLES = """
  weitblick average runs/starter               as the preset says
  weitblick average runs/starter --last 10     the last ten checkpoints that are kept
"""
AFTER_INTERRUPT = "the former average was kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("path", metavar="RUN", help="the folder of a training, such as runs/starter")
    parser.add_argument("--last", type=int, metavar="N", help="how many checkpoints; by default as the preset says")


def run(args: argparse.Namespace) -> None:
    """Writes the average and prints which checkpoints it is made of."""
    if args.last is not None and args.last < 1:
        raise UserError(f"--last {args.last}: must be at least 1; leave it out for the number in the preset")
    from app.runs.averaging import average
    from app.runs.lock import locked
    from app.runs.run import Run

    folder = Run.open(args.path)
    with locked(folder.path):
        updates = average(folder, args.last)
    if args.last and len(updates) < args.last:
        print(f"only {len(updates)} checkpoints are there (training.keep = {folder.preset.training.keep})")
    print(f"averaged the weights after updates {', '.join(map(str, updates))} into {folder.path / 'averaged.npz'}")
