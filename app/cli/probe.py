"""Measures how far back each memory can recall a fact: recall by distance, on synthetic documents.

A fact appears in one window of a document, and the question about it some windows later, with other words and facts in
between. Each memory is trained in a small model for a few minutes, then tested at each distance. Results and a figure
go into a folder. docs/probe.md says what this can and cannot show. With --run, a finished run is measured instead.
"""

import argparse

from app.cli import probe_run
from app.cli.options import add_set
from app.cli.probe_run import RECALL
from app.cli.startup import load_keras
from data.errors import UserError
from data.files import check_writable
from data.installing import extra_command
from models.memories import trained_kinds

HELP = "measure how far back each memory remembers"
EXAMPLES = """
  weitblick probe                                    all memories, at most 4 minutes each
  weitblick probe --memory gru --facts 4 --output runs/probe-4     one memory, four facts to tell apart
  weitblick probe --memory gru --set slots=4 cell=minimal --output runs/probe-4
  weitblick probe --memory none gru --minutes 2 --distances 1 16 64 256 --output runs/far
  weitblick probe --memory gru "gru layers=all" "compressive rate=2" "compressive rate=8"
  weitblick probe --run runs/gru --measure context --corpus europarl --corpora ../corpora
"""
AFTER_INTERRUPT = "finished memories are kept; the same command continues with the next one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    known = trained_kinds()
    which = f'any of {", ".join(known)} (all), each with its own keys if quoted: "gru layers=all"'
    parser.add_argument("--memory", nargs="+", default=RECALL["memory"], metavar="KIND", help=which)
    parser.add_argument(
        "--minutes", type=float, default=4.0, metavar="M", help="maximum training time of each memory (4)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="random seed of weights and documents (1)")
    parser.add_argument(
        "--distances",
        nargs="+",
        type=int,
        default=RECALL["distances"],
        metavar="D",
        help="windows from the fact to the question (1 2 4 8 16 32 64 128)",
    )
    parser.add_argument("--documents", type=int, default=1000, metavar="N", help="questions for each distance (1000)")
    parser.add_argument("--facts", type=int, default=2, metavar="N", help="facts in a document; one is asked about (2)")
    parser.add_argument("--keys", type=int, default=8, metavar="N", help="keys that facts can be about (8)")
    parser.add_argument("--values", type=int, default=8, metavar="N", help="values that keys can have (8)")
    parser.add_argument(
        "--longest", type=int, default=32, metavar="N", help="maximum windows of a training document (32)"
    )
    parser.add_argument("--context", type=int, default=4, metavar="N", help="segments of context for concat (4)")
    add_set(parser, "keys of a preset's sections [memory] and [memory.KIND] to change, such as slots=8")
    parser.add_argument("--output", metavar="DIR", default="runs/probe", help="where results go (runs/probe)")
    parser.add_argument("--again", action="store_true", help="train and measure again even if DIR has results")
    probe_run.add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Trains and tests the memories without results in DIR, then shows all; with --run see `app.cli.probe_run`."""
    if args.path:
        probe_run.run(args)
        return
    from pathlib import Path

    from rich.console import Console

    from app.probe.candidates import candidate
    from app.probe.experiment import FIGURE, Results

    probe_run.refuse_measures(args)
    results, preset = Results(args.output, _experiment(args)), _preset(args.set)
    results.refuse_others()
    candidates = {each.name: each for each in (candidate(text, preset) for text in args.memory)}
    wanted = [each for each in candidates.values() if args.again or not results.has(each)]
    if wanted:
        _examine(wanted, results)
    from app.probe.chart import draw, show

    show(results, Console(highlight=False))
    figure = Path(args.output) / FIGURE
    if draw(results, figure):
        print(f"results in {results.path}, figure in {figure}")
    else:
        print(f"results in {results.path}; for a figure, run this and then the same command again:")
        print(f"  {extra_command('plots')}")


def _examine(wanted, results) -> None:
    from app.probe.experiment import examine
    from app.terminal import TimeBar, progress_console

    check_writable(results.path)
    load_keras()
    console = progress_console()
    for candidate in wanted:
        with TimeBar(console, candidate.name, results.experiment.minutes * 60) as bar:

            def report(progress, bar=bar):
                bar(progress.seconds, str(progress))

            results.add(candidate, examine(candidate, results.experiment, report))


def _experiment(args: argparse.Namespace):
    """The experiment that the command line describes.

    Raises:
        UserError: a value that makes no sense.
    """
    from app.probe.documents import Task
    from app.probe.experiment import Experiment

    for name in ("documents", "facts", "values", "context"):
        _at_least(name, getattr(args, name), 1)
    _at_least("seed", args.seed, 0)
    _at_least("longest", args.longest, args.facts + 2)
    for distance in args.distances:
        _at_least("distances", distance, 1)
    if not args.minutes > 0:
        raise UserError(f"--minutes {args.minutes:g}: must be above 0")
    if args.facts > args.keys:
        raise UserError(f"--facts {args.facts}: each needs its own key; add --keys {args.facts} or more")
    return Experiment(
        task=Task(keys=args.keys, values=args.values, facts=args.facts),
        context=args.context,
        longest=args.longest,
        minutes=args.minutes,
        distances=tuple(sorted(set(args.distances))),
        documents=args.documents,
        seed=args.seed,
    )


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"--{name} {value}: must be at least {least}")


def _preset(changes):
    """The probe's preset with the changes from the command line."""
    from app.presets.schema import MEMORY, keys, sections
    from app.probe.candidates import PRESET

    overrides = []
    for change in changes:
        section, dot, key = change.partition("=")[0].strip().rpartition(".")
        if dot and section != "memory" and not section.startswith(MEMORY):
            raise UserError(f"--set {change}: only keys of the sections [memory] and [memory.KIND] can be changed")
        if key == "kind":
            raise UserError(f"--set {change}: use --memory {change.partition('=')[2].strip()}")
        if dot:
            overrides.append(change)
        else:  # slots=8 for each kind that has slots
            matching = [name for name in sections() if f"{name}.".startswith(MEMORY) and key in keys(name)]
            overrides += [f"{name}.{change.strip()}" for name in matching or ["memory"]]
    return PRESET.with_overrides(overrides)
