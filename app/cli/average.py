"""Averages the weights of a run's last checkpoints. Training does this when it ends; --last sets another number."""

import argparse

from data.errors import UserError

HELP = "average the weights of the last checkpoints"
EXAMPLES = """
  weitblick average runs/starter               as many as the preset says
  weitblick average runs/starter --last 10     the last ten checkpoints
"""
AFTER_INTERRUPT = "the previous average was kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("path", metavar="RUN", help="a run folder, such as runs/starter")
    parser.add_argument("--last", type=int, metavar="N", help="number of checkpoints (default: the preset's)")


def run(args: argparse.Namespace) -> None:
    """Writes the average and prints which checkpoints went into it."""
    if args.last is not None and args.last < 1:
        raise UserError(f"--last {args.last}: must be at least 1; leave it out for the number in the preset")
    from app.runs.averaging import average
    from app.runs.lock import locked
    from app.runs.run import Run

    run = Run.open(args.path, kind=None)
    with locked(run.path):
        updates = average(run, args.last)
    if args.last and len(updates) < args.last:
        print(f"only {len(updates)} checkpoints exist (training.keep = {run.preset.training.keep})")
    print(f"averaged the weights after updates {', '.join(map(str, updates))} into {run.path / 'averaged.npz'}")
