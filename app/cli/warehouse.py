"""The actions of `weitblick corpora` that work in a warehouse."""

import argparse
import contextlib
import re
import sys

from app.cli.options import (
    RUN_HELP,
    add_corpora,
    add_filters,
    add_naming,
    add_search,
    chosen_filters,
    chosen_search,
    load_engine,
)
from app.cli.scoring import system_of
from app.translation.decoder import KERAS
from data.errors import UserError

EPILOG = (
    "The warehouse is a DuckDB file such as corpora.duckdb, or bigquery:PROJECT.DATASET; the environment variable "
    "WEITBLICK_WAREHOUSE sets it for all commands. See docs/warehouse.md."
)
SHOWN_ROWS = 100
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def add_warehouse(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the warehouse."""
    parser.add_argument("--warehouse", default="", metavar="ADDRESS", help="where the tables are, see below")
    parser.add_argument("--byte-limit", metavar="BYTES", help="BigQuery: refuse queries that read more, such as 20G")


def load(args: argparse.Namespace) -> None:
    """Loads corpora into the table `pairs`, each completely or not at all.

    A corpus that is already there is replaced, or left as it is if nothing has changed, so the same command resumes an
    interrupted load. The values that the filters need are computed here, on all cores.
    """
    from app.terminal import PairsBar, progress_console
    from data.parallel import Workers
    from data.warehouse.files import open_source
    from data.warehouse.loading import load as load_corpus
    from data.warehouse.quality import Inspector

    if args.name and len(args.sources) > 1:
        raise UserError("--name names one corpus; load them one by one")
    sources = [open_source(name, args.split, args.corpora) for name in args.sources]
    names = [source.name for source in sources]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"two sources are called {twice[0]}, and one would replace the other: load them one by one, with --name"
        )
    inspector = Inspector(args.lowercase, not args.no_languages)
    with _opened(args, create=True) as warehouse, Workers() as workers:
        for source in sources:
            source.prepare()
            name, sizes = args.name or source.name, [source.size(split) for split in source.splits()]
            with PairsBar(progress_console(), f"loading {name}", None if None in sizes else sum(sizes)) as bar:
                loaded = load_corpus(warehouse, source, name, inspector, workers, bar)
            counts = ", ".join(f"{count:,} {split}" for split, count in loaded.pairs.items())
            print(f"{loaded.corpus}: {counts}{' (unchanged)' if loaded.unchanged else ''}")


def profile(args: argparse.Namespace) -> None:
    """Shows what is in a table of pairs: counts, words, lengths and duplicates of each corpus and split."""
    from rich.table import Table

    from data.warehouse.profile import profile as profile_table

    with _opened(args, read_only=True) as warehouse:
        profiles = profile_table(warehouse, args.table)
    if not profiles:
        raise UserError(f"{args.table!r} has no pairs")
    names = ("corpus", "split", "pairs", "documents", "duplicates", "words en", "words de", "median", "99 %")
    counts, lengths = Table(*names, title="pairs"), Table("corpus", "split", title="pairs by words of the longer side")
    for label, _ in profiles[0].histogram():
        lengths.add_column(label, justify="right")
    for column in counts.columns[2:]:
        column.justify = "right"
    for found in profiles:
        numbers = (
            found.pairs,
            found.documents,
            found.duplicates,
            found.en_words,
            found.de_words,
            found.length_at(0.5),
            found.length_at(0.99),
        )
        counts.add_row(found.corpus, found.split, *(f"{number:,}" for number in numbers))
        lengths.add_row(found.corpus, found.split, *(f"{number:,}" for _, number in found.histogram()))
    for table in (counts, lengths):
        _print_table(table)


def clean(args: argparse.Namespace) -> None:
    """Makes a new table of the training pairs worth keeping, and counts the pairs left out for each reason.

    The filters are those of a preset's section [data], with the same result as in training. Validation and test pairs
    are kept unfiltered. Corpora are taken in the order named: a pair found in several corpora stays in the first.
    """
    from app.training.text import cleaning_options
    from data.corpora.corpora import parse_mixture
    from data.warehouse.refining import Recipe, refine

    preset = chosen_filters(args)
    _check_clean(args)
    recipe = Recipe(
        corpora=dict(parse_mixture(args.names)) if args.names else {},
        options=cleaning_options(preset),
        tests=tuple(args.without),
        overlap=args.overlap,
        near=args.near,
        validation=args.validation,
        test=args.test,
        seed=args.seed,
    )
    with _opened(args) as warehouse:
        refined = refine(warehouse, recipe, args.into, args.source)
    for corpus, report in refined.corpora.items():
        print(f"{corpus}\n{report.without_zeros().table()}\n")
    counts = ", ".join(f"{count:,} {split}" for split, count in refined.splits.items())
    print(f'{args.into}: {counts}; to train on it, set corpora = ["warehouse:{args.into}"] in a preset')


def sql(args: argparse.Namespace) -> None:
    """Shows the result of a SELECT in standard SQL (GoogleSQL, whatever the database).

    On BigQuery it first prints how many bytes the query reads, as all other actions do. If the output is not a
    terminal, the columns are separated by tabs. --view saves the query as a view, which can be used like a table.
    """
    from rich.table import Table

    from data.warehouse.sql import user_query

    query = user_query(args.query)
    if args.view and args.run_folder:
        raise UserError("--view stores a query without the model that --run names; use `corpora translate`")
    if args.view:
        with _opened(args) as warehouse:
            warehouse.make_view(args.view, query)
        print(f'created view {args.view}; to train on it, set corpora = ["warehouse:{args.view}"] in a preset')
        return
    with _opened(args, read_only=True) as warehouse:
        if args.run_folder:
            warehouse.add_function("translate", _sql_function(args))
        names, rows, more = _first_rows(warehouse.rows(query), args.rows)
    if sys.stdout.isatty():
        table = Table(*names)
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row))
        _print_table(table)
    else:
        for row in (names, *rows):
            print("\t".join(_in_line(value) for value in row))
    if more:
        print(f"more than {args.rows:,} rows; --rows 0 shows all", file=sys.stderr)


def export(args: argparse.Namespace) -> None:
    """Writes a table, a view or the result of a SELECT to a file or folder, or a run's results to the warehouse.

    A path that ends in .parquet or .tmx is a file of that kind; any other is a corpus folder. With --run, the run's
    results go into the tables `runs`, `scores` and `translations`.
    """
    if args.run_folder:
        _export_run(args)
        return
    if not args.what or not args.path:
        raise UserError("say what to export and where: corpora export cleaned cleaned.parquet; or --run RUN")
    from app.terminal import PairsBar, progress_console
    from data.warehouse.exporting import check_place
    from data.warehouse.exporting import export as export_rows
    from data.warehouse.order import in_order

    check_place(args.path)
    with _opened(args, read_only=True) as warehouse:
        query = in_order(warehouse, args.what)
        with PairsBar(progress_console(), "exporting") as bar:
            rows = export_rows(warehouse.rows(query), args.path, bar)
    print(f"{args.path}: {rows:,} rows")


def translate(args: argparse.Namespace) -> None:
    """Translates the text of a table, a view or a SELECT into a table that a training can read.

    It reads the column of the run's source language, such as `en`, and writes that of the target language, the search's
    score, and the columns `corpus`, `split`, `doc` and `position` if they exist. A run that reads documents translates
    the rows of a document in its context. After an interruption, the same command resumes. With a run from German to
    English this is back-translation.
    """
    from app.runs.run import Run
    from app.terminal import PairsBar, progress_console
    from data.files import checksum_of

    if args.part < 1:
        raise UserError(f"--part {args.part}: expected at least 1 row")
    run = Run.open(args.run_folder)
    search, data = chosen_search(run.preset, args), run.preset.data
    with _opened(args) as warehouse:
        system = system_of(run, args.checkpoint, search)
        translator, made_by = system.translator, checksum_of(system.made_by)
        from app.translation.tables import TableTranslator

        tables = TableTranslator(warehouse, translator, data.source, data.target, made_by, args.part)
        with PairsBar(progress_console(), "translating") as bar:
            found = tables.translate(args.what, args.into, bar)
    there = f" ({found.kept:,} were already there)" if found.kept else ""
    print(
        f'{args.into}: {found.rows:,} rows translated{there}; to train on it, set corpora = ["warehouse:{args.into}"]'
    )


def _sql_function(args: argparse.Namespace):
    from app.runs.run import Run

    run = Run.open(args.run_folder)
    load_engine(KERAS, run, "auto")
    from app.translation.tables import sql_function
    from app.translation.translator import Translator

    return sql_function(Translator.of_run(run))


def _export_run(args: argparse.Namespace) -> None:
    from app.runs.run import Run
    from app.scoring.tables import export_run

    if args.what or args.path:
        raise UserError("--run exports to tables of the warehouse; leave out WHAT and PATH")
    run = Run.open(args.run_folder)
    with _opened(args, create=True) as warehouse:
        for table, rows in export_run(warehouse, run, args.name).items():
            print(f"{table}: {rows:,} rows")


def _add_load(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a corpus, or a .tmx, .tmx.gz, .xlf, .po, .tsv or .parquet file"
    )
    add_naming(parser)
    parser.add_argument("--lowercase", action="store_true", help="for presets with data.lowercase = true")
    parser.add_argument(
        "--no-languages", action="store_true", help="skip language detection, which takes most of the time"
    )
    add_corpora(parser)


def _add_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", nargs="?", default="pairs", metavar="TABLE", help="a table or view (pairs)")


def _add_clean(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names",
        nargs="*",
        metavar="CORPUS[:WEIGHT]",
        help="corpora to take, all by default; europarl:0.5 draws half of its documents",
    )
    parser.add_argument(
        "--into", required=True, metavar="TABLE", help="the table to create; an existing one is replaced"
    )
    parser.add_argument("--from", dest="source", default="pairs", metavar="TABLE", help="the table to read (pairs)")
    add_filters(parser, "filters")
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="CORPUS",
        help="leave out pairs that overlap with the validation and test pairs of these",
    )
    parser.add_argument(
        "--overlap", type=int, default=8, metavar="N", help="words in a row that count as an overlap (8)"
    )
    parser.add_argument(
        "--near",
        type=float,
        default=0.0,
        metavar="S",
        help="leave out pairs that share this fraction of their words with an earlier pair, such as 0.8",
    )
    parser.add_argument(
        "--validation",
        type=float,
        default=0.0,
        metavar="PART",
        help="fraction of the training documents to turn into validation pairs (0)",
    )
    parser.add_argument("--test", type=float, default=0.0, metavar="PART", help="the same for test pairs (0)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="random seed for drawing documents (1)")


def _add_sql(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", metavar="SELECT", help="one SELECT in quotes")
    parser.add_argument("--rows", type=int, default=SHOWN_ROWS, metavar="N", help="maximum rows to show (100); 0 = all")
    parser.add_argument("--view", metavar="NAME", help="create a view of the query; show nothing")
    parser.add_argument(
        "--run",
        dest="run_folder",
        metavar="RUN",
        help="DuckDB: provides translate(text), which translates with this run",
    )


def _add_translate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="WHAT", help="a table, a view, or a SELECT in quotes")
    parser.add_argument("--run", dest="run_folder", required=True, metavar="RUN", help=RUN_HELP)
    parser.add_argument("--into", required=True, metavar="TABLE", help="the table to create, or to continue")
    parser.add_argument(
        "--part", type=int, default=2000, metavar="N", help="rows to translate and store at a time (2000)"
    )
    add_search(parser)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", metavar="WHAT", help="a table, a view, or a SELECT in quotes")
    parser.add_argument("path", nargs="?", metavar="PATH", help="a .parquet or .tmx file, or a folder to create")
    parser.add_argument("--run", dest="run_folder", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--name", default="", help="with --run: the run's name in the tables (the folder's)")


ACTIONS = {
    "load": ("load corpora into a warehouse", _add_load, load),
    "profile": ("count pairs, words, lengths and duplicates", _add_profile, profile),
    "clean": ("make a table of the pairs to train on", _add_clean, clean),
    "sql": ("show the result of a SELECT", _add_sql, sql),
    "translate": ("translate a table into another one, with a run", _add_translate, translate),
    "export": ("write pairs into files, or a run's results into tables", _add_export, export),
}


@contextlib.contextmanager
def _opened(args: argparse.Namespace, **how):
    from data.warehouse import check_installed

    check_installed()
    from data.warehouse.opening import open_warehouse

    with open_warehouse(args.warehouse, _bytes(args.byte_limit), **how) as warehouse:
        warehouse.on_cost = _show_cost
        yield warehouse


def _bytes(text: str | None) -> int | None:
    """The number of bytes in a text such as 500M or 20G."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)B?", text.strip().upper())
    if not found or not float(found[1]):
        raise UserError(f"--byte-limit {text}: expected a number of bytes, such as 500M or 20G")
    return int(float(found[1]) * _UNITS[found[2]])


def _show_cost(cost: int) -> None:
    """Prints how much a query reads, before it runs."""
    print(f"this query reads {_size(cost)}", file=sys.stderr)


def _size(number: int) -> str:
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number:,} bytes"


def _check_clean(args: argparse.Namespace) -> None:
    if args.overlap < 1:
        raise UserError(f"--overlap {args.overlap}: expected at least 1 word")
    for name, value in (("near", args.near), ("validation", args.validation), ("test", args.test)):
        if not 0 <= value <= 1:
            raise UserError(f"--{name} {value:g}: expected a fraction between 0 and 1")
    if args.validation + args.test >= 1:
        raise UserError("--validation and --test must add up to less than 1, to leave something to train on")


def _first_rows(batches, count: int) -> tuple[list[str], list[tuple], bool]:
    """The names of the columns, the first rows, and whether there are more."""
    names, rows = [], []
    with contextlib.closing(batches):
        for batch in batches:
            names = batch.schema.names
            rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
            if count and len(rows) > count:
                return names, rows[:count], True
    return names, rows, False


def _in_line(value) -> str:
    return "" if value is None else str(value).replace("\t", " ").replace("\n", " ")


def _print_table(table) -> None:
    from rich.console import Console

    wide = {} if sys.stdout.isatty() else {"width": 200}
    Console(markup=False, highlight=False, **wide).print(table)
