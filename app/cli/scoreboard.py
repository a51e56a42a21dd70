"""Shows the scores of runs with all that is needed to repeat them: preset and changes, seed, machine, time, commit.

Each test set that a run's current weights were scored on gives a row, if the score was made as the run's preset says:
results of another search, or with a translation memory, a glossary or corrections, are left out, with a note. Rows that
differ only in the seed are followed by their mean. With --write the rows go into a Markdown page, between its two
markers, and into a JSON file next to it, which `weitblick repeat` reads; rows of other runs stay.
"""

import argparse
import sys

HELP = "a table of results that can be repeated"
EXAMPLES = """
  weitblick scoreboard runs/starter runs/news-small
  weitblick scoreboard runs/tiny-1 runs/tiny-2 runs/tiny-3     three seeds, and their mean
  weitblick scoreboard runs/starter --write docs/results.md
"""
AFTER_INTERRUPT = "the page was not changed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("paths", nargs="+", metavar="RUN", help="run folders that were scored")
    parser.add_argument("--write", metavar="PAGE", help="a Markdown page with the markers of a scoreboard")


def run(args: argparse.Namespace) -> None:
    """Prints the rows, and writes them into the page of --write."""
    from rich.console import Console
    from rich.table import Table

    from app.comparison.rows import rows_of
    from app.comparison.scoreboard import COLUMNS, ordered, table, write_board

    rows = ordered(row for path in args.paths for row in rows_of(path))
    shown = Table(*COLUMNS)
    for cells in table(rows):
        shown.add_row(*cells)
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(shown)
    for command in dict.fromkeys(row.command for row in rows):
        print(command)
    if args.write:
        write_board(args.write, rows)
        print(f"The rows are in {args.write}")
