"""The action of `weitblick corpora` that runs as an Apache Beam pipeline."""

import argparse

from app.cli.options import add_corpora, add_filters, add_naming, chosen_filters
from data.beam import RUNNERS, SHARD_PAIRS

EPILOG = "Apache Beam is best installed in its own virtual environment; see docs/beam.md."


def prepare(args: argparse.Namespace) -> None:
    """Cleans corpora on many machines, with the same result as the cleaning that training does on one.

    Each corpus becomes a folder of Parquet files in OUTPUT, with a report of what was left out and why;
    `--corpora OUTPUT` then finds it by name. Validation and test pairs are kept unfiltered.
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
        help="a corpus, or a quoted file pattern: 'gs://bucket/crawl/*.parquet', "
        "'crawl/en.*.txt.gz' (with a de.REST next to each en.REST)",
    )
    parser.add_argument("output", metavar="OUTPUT", help="the folder to create; may be gs://... or similar")
    parser.add_argument(
        "--runner",
        default="DirectRunner",
        metavar="RUNNER",
        help=f"where the pipeline runs: {', '.join(RUNNERS)} (DirectRunner: on this machine)",
    )
    parser.add_argument(
        "--pipeline-option",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="Apache Beam options, such as region=europe-west1",
    )
    add_naming(parser)
    parser.add_argument(
        "--shard-pairs",
        type=int,
        default=SHARD_PAIRS,
        metavar="N",
        help=f"maximum pairs per file, which a worker sorts in memory ({SHARD_PAIRS})",
    )
    add_filters(parser, "filters and languages")
    add_corpora(parser)
