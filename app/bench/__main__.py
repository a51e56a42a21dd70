"""Compares Weitblick with what people would use instead, in turns, each contestant in a process of its own.

Run it on a machine that does nothing else. Parts that are not run keep the results of an earlier run.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from app.bench import backends, input, machine, race, report, search, server, stacks, startup, training
from app.bench.contestant import PEERS, Contestant, ContestantFailed, peers_installed
from app.bench.shapes import SHAPES, quick
from app.training.signals import sigterm_raises
from data.errors import UserError
from data.files import check_writable

PARTS = ("training", "search", "startup", "input", "stacks", "server", "backends", "race")
UNLESS_NAMED = PARTS[:-2]  # what is measured by default: JAX is an extra, and a race needs a corpus and an hour
QUICK_LINES, QUICK_PAIRS = 60, 60_000
QUICK_RACE = (
    "data.test=[]",
    "tokenizer.vocabulary=400",
    "training.batch_tokens=256",
    "validate_every=2",
    "max_length=40",
)
EXAMPLES = """
  make bench                                              everything, more than half an hour on two cores
  make bench ARGS="--only training --shapes base"         one table
  make bench ARGS="--only backends --shapes base"         TensorFlow and JAX, after make test-backends
  make bench ARGS="--only race --corpora ../corpora"      time to 38 BLEU on Multi30k, compared with JoeyNMT
  make bench ARGS="--quick"                               a few minutes: does everything run here?
  make bench ARGS="--write docs/benchmarks.md --only ''"  no measuring: the tables of bench/results.json into a page
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses, measures, shows, writes; 2 for a user's error, 130 after Ctrl-C."""
    args = _parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        _run(args, console)
    except (UserError, ContestantFailed) as error:
        console.print(f"error: {error}", markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print(f"stopped; what was measured is in {args.results}", markup=False)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "make bench", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default=",".join(UNLESS_NAMED), metavar="PARTS", help=f"of {', '.join(PARTS)} (all but the last two)"
    )
    names = ",".join(training.MODULES)
    parser.add_argument(
        "--shapes", default="tiny,256,base", help=f"of {', '.join(SHAPES)}; for training and backends (%(default)s)"
    )
    parser.add_argument("--contestants", default=names, help="for training (%(default)s)", metavar="NAMES")
    parser.add_argument(
        "--models", default=",".join(search.SHAPES), help="for search: the run's own shape, and base (%(default)s)"
    )
    parser.add_argument(
        "--run",
        default="runs/starter",
        help="a trained run for search, start-up and server; the base model is grown from it",
    )
    parser.add_argument("--test", default="wmt14", help="what search and server translate, newstest2014 (%(default)s)")
    parser.add_argument("--source", metavar="FILE", help="for search and server: other text, with its --reference")
    parser.add_argument("--reference", metavar="FILE", help="see --source")
    parser.add_argument("--corpora", nargs="+", default=[], metavar="DIR", help="where corpus folders are looked for")
    parser.add_argument(
        "--lines", type=int, default=0, metavar="N", help="for search and server: only the first N lines"
    )
    parser.add_argument("--pairs", type=int, default=500_000, metavar="N", help="for input: pairs (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="turns of each contestant (%(default)s)")
    parser.add_argument(
        "--sweep", action="store_true", help="try the peers' settings again, even where an earlier run has chosen them"
    )
    parser.add_argument("--quick", action="store_true", help="only a few updates and one turn; says little about speed")
    parser.add_argument(
        "--corpus", default="software", help="to train on; a folder is written with a slash (%(default)s)"
    )
    parser.add_argument("--folder", default="bench", help="where runs and logs go (%(default)s)")
    parser.add_argument("--results", metavar="FILE", help="JSON with all figures (FOLDER/results.json)")
    parser.add_argument("--write", metavar="PAGE", help="put the tables between the markers of a Markdown page")
    return parser


def _run(args, console) -> None:
    folder = Path(args.folder).resolve()
    args.results = Path(args.results) if args.results else folder / "results.json"
    parts = _chosen("--only", args.only, PARTS)
    shapes = [SHAPES[name] for name in _chosen("--shapes", args.shapes, SHAPES)]
    contestants = _chosen("--contestants", args.contestants, training.MODULES)
    models = _chosen("--models", args.models, search.SHAPES)
    if args.quick:
        shapes, args.repeat = [quick(shape) for shape in shapes], 1
        args.lines, args.pairs = args.lines or QUICK_LINES, min(args.pairs, QUICK_PAIRS)
    needs_peers = {"search", "startup", "race"} & set(parts) or (
        "training" in parts and any(training.MODULES[name][1] for name in contestants)
    )
    if needs_peers and not peers_installed():
        raise UserError(f"{PEERS}: the peers are not installed; start this as `make bench`, which installs them")
    check_writable(args.results)
    results = _read(args.results)
    about = {"repeat": args.repeat, "corpus": args.corpus, "quick": args.quick}
    if parts:
        about["machine"] = results["machine"] = machine.describe()
    total = {
        "training": 1 + sum(training.units(shape, contestants, args.repeat) for shape in shapes),
        "search": len(models) * search.units(args.repeat),
        "startup": startup.units(args.repeat),
        "input": input.units(),
        "stacks": stacks.units(args.quick),
        "server": server.units(args.repeat),
        "backends": len(shapes) * backends.units(args.repeat),
        "race": race.units(),
    }
    measures = {
        "training": lambda step: _training(args, shapes, contestants, folder, results, about, step),
        "search": lambda step: _search(args, models, folder, results, about, step),
        "startup": lambda step: _startup(args, folder, results, about, step),
        "input": lambda step: _input(args, folder, results, about, step),
        "stacks": lambda step: _stacks(args, folder, results, about, step),
        "server": lambda step: _server(args, folder, results, about, step),
        "backends": lambda step: _backends(args, shapes, folder, results, about, step),
        "race": lambda step: _race(args, folder, results, about, step),
    }
    failed = []
    if parts:
        with _progress(console, sum(total[part] for part in parts)) as step:
            for part in parts:
                try:
                    measures[part](step)
                except (UserError, ContestantFailed) as error:
                    failed.append(f"{part}: {error}")
    _show(args, results)
    if failed:
        raise UserError("; ".join(failed))


def _show(args, results) -> None:
    out = Console(width=None if sys.stdout.isatty() else report.COLUMNS)
    for table in report.tables(results):
        out.print(table.rich())
    if args.write:
        report.write_page(args.write, results)


def _chosen(option: str, text: str, known) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UserError(f"{option} {name}: unknown; choose from {', '.join(known)}")
    return names


def _training(args, shapes, contestants, folder, results, about, step) -> None:
    ceiling = None
    if not args.quick:
        step("the ceiling of matrix products")
        with Contestant("ceiling", {"size": 4096}) as one:
            ceiling = one.answer()
    for shape in shapes:
        sweeps = _sweeps(results, shape, about, args.sweep)
        found = training.measure(
            shape,
            args.corpus,
            contestants,
            args.repeat,
            folder / shape.name,
            step,
            sweeps,
            save=lambda: report.write_json(args.results, results),
        )
        results.setdefault("training", {})[shape.name] = {**found, "ceiling": ceiling, "about": about}
        report.write_json(args.results, results)


def _test_set(args):
    """What search and server translate."""
    from app.scoring.testsets import load_test_set, read_test_files
    from data.corpora.corpora import Corpora

    if args.source or args.reference:
        if not (args.source and args.reference):
            raise UserError("--source and --reference go together: line n of one belongs to line n of the other")
        test = read_test_files(args.reference, args.source)
    else:
        test = load_test_set(args.test, corpora=Corpora(args.corpora))
    return test.head(args.lines)


def _search(args, models, folder, results, about, step) -> None:
    test = _test_set(args)
    for name in models:
        found = search.measure(name, _trained(args), test, args.repeat, folder / f"search-{name}", step)
        results.setdefault("search", {})[name] = {**found, "about": {**about, **found["about"]}}
        report.write_json(args.results, results)


def _startup(args, folder, results, about, step) -> None:
    results["startup"] = {**startup.measure(_trained(args), args.repeat, folder / "startup", step), **about}
    report.write_json(args.results, results)


def _input(args, folder, results, about, step) -> None:
    results["input"] = {**input.measure(args.corpus, args.pairs, folder / "input", step), **about}
    report.write_json(args.results, results)


def _stacks(args, folder, results, about, step) -> None:
    found = stacks.measure(args.repeat, args.quick, folder / "stacks.log", step)
    results["stacks"] = {**found, "about": about}
    report.write_json(args.results, results)


def _server(args, folder, results, about, step) -> None:
    test = _test_set(args)
    found = server.measure(_trained(args), test.sources, args.repeat, args.quick, folder / "server", step)
    results["server"] = {**found, "about": {**about, "set": test.origin}}
    report.write_json(args.results, results)


def _backends(args, shapes, folder, results, about, step) -> None:
    for shape in shapes:
        found = backends.measure(shape, args.corpus, args.repeat, folder / f"backends-{shape.name}", step)
        results.setdefault("backends", {})[shape.name] = {**found, "about": about}
        report.write_json(args.results, results)


def _race(args, folder, results, about, step) -> None:
    # A quick one is over after the first validation of a toy.
    changes = [f'corpora=["{args.corpus}"]', f'validation=["{args.corpus}"]', *QUICK_RACE] if args.quick else []
    goal = 0.0 if args.quick else race.GOAL
    results["race"] = {**race.measure(changes, args.corpora, folder / "race", step, goal), "about": about}
    report.write_json(args.results, results)


def _trained(args) -> Path:
    """The run folder for search, start-up and server.

    Raises:
        UserError: it is not there.
    """
    if not (Path(args.run) / "run.json").exists():
        raise UserError(f"{args.run}: search, start-up and server need a trained run: `make train`, or --run RUN")
    return Path(args.run).resolve()


def _sweeps(results: dict, shape, about: dict, anew: bool) -> dict:
    """The trials of an earlier run if shape, text, machine and versions are the same; otherwise none."""
    fixed = ("processor", "flags", "threads", "versions", "peer_versions")
    made_with = {"shape": shape.as_dict(), "corpus": about["corpus"]} | {key: about["machine"][key] for key in fixed}
    known = results.setdefault("sweeps", {})
    if anew or known.get(shape.name, {}).get("made_with") != made_with:
        known[shape.name] = {"made_with": made_with, "trials": {}}
    return known[shape.name]["trials"]


@contextlib.contextmanager
def _progress(console, total: int):
    """Yields a function that is called with the name of the unit of work that begins."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(elapsed_when_finished=False), console=console) as progress:
        task = progress.add_task("", total=total)
        begun = False

        def step(line: str) -> None:
            nonlocal begun
            progress.update(task, description=line, advance=int(begun))
            begun = True
            if not console.is_terminal:
                console.print(line, markup=False)

        yield step
        progress.update(task, completed=total)


def _read(path: Path) -> dict:
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); remove it to measure all parts again") from error


if __name__ == "__main__":
    with sigterm_raises():  # the contestants end with it
        sys.exit(main())
