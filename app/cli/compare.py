"""Trains and scores all systems of a plan and reports the results.

Each system and seed gets a run folder, runs/PLAN/SYSTEM-SEED. REPORT.md and results.json, next to these folders, are
written after each step. Finished steps are not repeated, and the next call resumes an interrupted one, however it was
interrupted. Three plans come with Weitblick: "memories", and "mechanisms" and "mechanisms-quick", which compare all its
memories and stacks, including kinds of memory that you have added. docs/compare.md explains plans and the report.
"""

import argparse
from typing import TYPE_CHECKING

from app.cli.options import add_corpora
from data.errors import UserError
from data.files import check_writable

if TYPE_CHECKING:
    from app.comparison.plan import Plan

HELP = "train and score all systems of a plan"
EXAMPLES = """
  weitblick compare my-plan.toml
  weitblick compare my-plan.toml --status                  what is done
  weitblick compare my-plan.toml --only none gru --until 90
  weitblick compare my-plan.toml --jobs 2                  two steps at a time
  weitblick compare mechanisms-quick                       does everything run here? takes minutes
  weitblick compare mechanisms --write docs/comparison.md  all memories and stacks: takes hours
"""
AFTER_INTERRUPT = "finished steps are kept; run the same command again to continue"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "plan",
        metavar="PLAN",
        help="a TOML file with systems, seeds and test sets; or memories, mechanisms or mechanisms-quick",
    )
    parser.add_argument("--runs", metavar="DIR", help="the folder of all runs and the report; runs/PLAN by default")
    parser.add_argument("--status", action="store_true", help="only show what is done")
    parser.add_argument("--only", nargs="+", default=[], metavar="SYSTEM", help="only these systems")
    parser.add_argument("--seeds", nargs="+", type=int, default=[], metavar="N", help="only these seeds")
    parser.add_argument(
        "--until",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="start nothing new after this time; a training still running then writes a checkpoint and stops",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="run N steps at a time, each on its share of the cores (1): faster, as one step rarely uses all cores",
    )
    add_corpora(parser)
    parser.add_argument("--contrapro", action="store_true", help="score pronouns as well, even if the plan does not")
    parser.add_argument("--items", type=int, default=0, metavar="N", help="for --contrapro: N items, spread evenly")
    parser.add_argument(
        "--write",
        metavar="PAGE",
        help="write all known results into this Markdown page, with JSON and charts next to it",
    )


def run(args: argparse.Namespace) -> None:
    """Does what is missing, and shows what is done."""
    from app.comparison.plan import find_plan, read_plan

    if args.until < 0:
        raise UserError(f"--until {args.until:g}: must be above 0; leave it out for no limit")
    if args.jobs < 1:
        raise UserError(f"--jobs {args.jobs}: must be at least 1")
    if args.items < 0 or (args.items and not args.contrapro):
        raise UserError(f"--items {args.items}: must be above 0 and needs --contrapro; leave it out for all items")
    if args.write and not args.write.endswith(".md"):
        raise UserError(f"--write {args.write}: expected a Markdown page, whose name ends in .md")
    if args.write:
        check_writable(args.write)
    items = args.items if args.contrapro else None
    plan = read_plan(find_plan(args.plan), args.runs, args.corpora, items)
    chosen = plan.chosen(args.only, args.seeds)
    if args.write:
        from app.comparison.page import refuse_to_lose

        refuse_to_lose(plan, args.write)
    if args.status:
        _show(plan, chosen)
        _write(plan, args.write)
        return
    from app.comparison.queue import Queue
    from app.terminal import progress_console

    plan.check()
    try:
        queue = Queue(plan, args.only, args.until, progress_console().print, seeds=args.seeds, jobs=args.jobs)
        left = queue.run()
    finally:
        # The page gets all known results, even if a step has failed or the queue was stopped.
        _write(plan, args.write)
    _show(plan, chosen)
    if left:
        print(f"Time is up. Steps left: {len(left)}; run the same command again to continue.")


def _show(plan: "Plan", contestants: list) -> None:
    """Shows the table of what is done, what failed, and where the report is."""
    from rich.console import Console

    from app.comparison.report import REPORT, read_failures, status_table

    Console(highlight=False).print(status_table(plan, contestants))
    for step, why in read_failures(plan).items():
        print(f"failed: {step}: {why}")
    if (plan.folder / REPORT).exists():
        print(f"The report is {plan.folder / REPORT}")


def _write(plan: "Plan", page: str | None) -> None:
    """Writes the page, if --write names one."""
    if page:
        from app.comparison.page import write_page

        write_page(plan, page)
        print(f"All figures are in {page}")
