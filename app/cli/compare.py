"""Trains and scores all systems of a plan, one after the other, and reports what came out.

Each system and seed gets a run folder, runs/PLAN/SYSTEM-SEED, beside REPORT.md and results.json, which are written
after each step. What is done is not done again, and what was interrupted, however it was, goes on with the next call.
docs/compare.md explains plans and the report.
"""

import argparse
from typing import TYPE_CHECKING

from data.errors import UserError

if TYPE_CHECKING:
    from app.comparison.plan import Plan

HELP = "train and score all systems of a plan"
EXAMPLES = """
  weitblick compare memories.toml
  weitblick compare memories.toml --status                 what is done
  weitblick compare memories.toml --only none gru --until 90
"""
AFTER_INTERRUPT = "what is done is kept; run the same command again to go on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("plan", metavar="PLAN", help="a TOML file with systems, seeds and test sets")
    parser.add_argument("--runs", metavar="DIR", help="the folder of all runs and the report; runs/PLAN by default")
    parser.add_argument("--status", action="store_true", help="only show what is done")
    parser.add_argument("--only", nargs="+", default=[], metavar="SYSTEM", help="only these systems")
    parser.add_argument(
        "--until",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="start nothing after so many minutes; a training that is running then writes a checkpoint and stops",
    )


def run(args: argparse.Namespace) -> None:
    """Does what is missing, and shows what is done."""
    from app.comparison.plan import read_plan

    if args.until < 0:
        raise UserError(f"--until {args.until:g}: must be above 0; leave it out for no limit")
    plan = read_plan(args.plan, args.runs)
    chosen = plan.chosen(args.only)
    if args.status:
        _show(plan, chosen)
        return
    from app.comparison.queue import Queue
    from app.terminal import progress_console

    plan.check()
    left = Queue(plan, args.only, args.until, progress_console().print).run()
    _show(plan, chosen)
    if left:
        print(f"The time is over, with {len(left)} of the steps left; the same command goes on with them.")


def _show(plan: "Plan", contestants: list) -> None:
    """The table of what is done, what failed, and where the report is."""
    from rich.console import Console

    from app.comparison.report import REPORT, read_failures, status_table

    Console(highlight=False).print(status_table(plan, contestants))
    for step, why in read_failures(plan).items():
        print(f"failed: {step}: {why}")
    if (plan.folder / REPORT).exists():
        print(f"The report is {plan.folder / REPORT}")
