"""The action of `weitblick corpora` that runs as a pipeline of Apache Beam."""

import argparse

from app.cli.options import add_corpora, add_filters, add_naming, chosen_filters
from data.beam import RUNNERS, SHARD_PAIRS

EPILOG = "Apache Beam is best installed in a virtual environment of its own; docs/beam.md tells more."


def prepare(args: argparse.Namespace) -> None:
    """Cleans corpora on many machines, with the result of a training's own cleaning on one.

    Each corpus becomes a folder of Parquet files in OUTPUT, which `--corpora OUTPUT` then finds by name, with a report
    of what was left out and why. Validation and test pairs are passed on whole.
    """
    from data.beam import check_installed

    check_installed()
    from app.training.text import cleaning_options
    from data.beam.pipeline import prepare as run
    from data.beam.sources import find_parts
    from data.cleaning import CleaningReport
    from data.errors import UserError

    if args.shard_pairs < 1:
        raise UserError(f"--shard-pairs {args.shard_pairs}: expected at least 1")
    preset = chosen_filters(args)
    languages = preset.data.source, preset.data.target
    parts = find_parts(args.sources, *languages, args.split, args.corpora, args.name, print)
    options = cleaning_options(preset)
    reports = run(parts, args.output, options, *languages, args.runner, args.pipeline_option, args.shard_pairs)
    for name, report in reports.items():
        print(name)
        for split, counts in report["splits"].items():
            if split == "train":
                removed = {key: counts[key] for key in CleaningReport.labels}
                print(CleaningReport(counts["seen"], counts["kept"], removed).without_zeros().table())
            else:
                print(f"{split}: {counts['kept']:,} pairs, none left out")
    print(f"{args.output}: to train on it, add --corpora {args.output}")


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a corpus, or a pattern of files in quotes: 'gs://bucket/crawl/*.parquet', "
        "'crawl/en.*.txt.gz' (beside each en.REST stands de.REST)",
    )
    parser.add_argument("output", metavar="OUTPUT", help="the folder to make; gs:// and others that Beam knows, too")
    parser.add_argument(
        "--runner",
        default="DirectRunner",
        metavar="RUNNER",
        help=f"where it runs: {', '.join(RUNNERS)} (DirectRunner: on this machine)",
    )
    parser.add_argument(
        "--pipeline-option",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="options of Apache Beam, such as region=europe-west1",
    )
    add_naming(parser)
    parser.add_argument(
        "--shard-pairs",
        type=int,
        default=SHARD_PAIRS,
        metavar="N",
        help=f"most pairs in a file, which a worker sorts in memory ({SHARD_PAIRS})",
    )
    add_filters(parser, "filters and languages")
    add_corpora(parser)
