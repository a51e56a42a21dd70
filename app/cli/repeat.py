"""Repeats a row of the scoreboard and compares: trains with the same preset and seed, then scores the same text.

A score within the row's 95% interval counts as the same; then the exit code is 0, otherwise 1. Scores are seldom equal
to the last digit: another machine adds in a different order, and does more or fewer updates in the same minutes. With
--updates the training is cut short, which shows only that everything runs.
"""

import argparse
from pathlib import Path

from app.cli.options import add_corpora
from data.errors import UserError

HELP = "repeat a result and compare"
EXAMPLES = """
  weitblick repeat docs/results.json starter
  weitblick repeat docs/results.json multi30k-short --corpora ../corpora --run runs/again
  weitblick repeat docs/results.json starter --updates 20     does everything run? the score says nothing
"""
AFTER_INTERRUPT = "run the same command again to continue"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("board", metavar="FILE", help="the JSON file next to a page with a scoreboard")
    parser.add_argument("row", metavar="ROW", help="the run of the row, such as starter")
    parser.add_argument("--test", default="", metavar="TEST", help="its test set, if there are several")
    parser.add_argument(
        "--run",
        metavar="DIR",
        dest="folder",
        help="the new run folder; by default runs/repeated-ROW, with --updates runs/repeated-ROW-N",
    )
    parser.add_argument("--updates", type=int, default=0, metavar="N", help="train for only N updates")
    add_corpora(parser)


def run(args: argparse.Namespace) -> int:
    """Trains, scores and compares; returns 1 if the score differs."""
    if args.updates < 0:
        raise UserError(f"--updates {args.updates}: must be above 0; leave it out for as many as in the row")
    if not Path(args.board).exists():
        raise UserError(f"{args.board}: there is no such file; expected the JSON file next to a page with a scoreboard")
    from app.comparison.repetition import agrees, find_row, repeat
    from app.comparison.scoreboard import read_rows
    from app.terminal import progress_console

    row = find_row(read_rows(args.board), args.row, args.test)
    folder = Path(args.folder or f"runs/repeated-{row.run}{f'-{args.updates}' * bool(args.updates)}")
    again = repeat(row, folder, args.corpora, args.updates, progress_console().print)
    before, now, same = row.main, again.main, agrees(row, again)
    interval = "" if before.low is None else f" ({before.low:.1f} - {before.high:.1f})"
    print(f"{before.name} on {row.test}: {before.value:.1f}{interval} in the row, {now.value:.1f} now")
    print(f"row: {row.updates:,} updates, {row.machine}; now: {again.updates:,} updates, {again.machine}")
    if args.updates:
        print(f"The training was cut to {again.updates:,} updates, so the scores cannot be compared.")
        return 0
    print("The same result." if same else "A different result: it lies outside the interval.")
    return int(not same)
