"""Exports a run's model into a new folder, so that other programs can translate with it.

ctranslate2: for CTranslate2 (C++ and Python; fast on CPUs, tens of megabytes); needs the extra of that name.
DIR/translate.py is a working example; DIR/README.txt describes the files.

savedmodel: needs only TensorFlow and tensorflow-text. Text in, text out: tokenizer and search are included. If the
preset copies numbers, tags and the like, DIR/assets.extra/spans.py sets them aside and puts them back; see
docs/exports.md.
"""

import argparse

from app.cli.options import RUN_HELP, add_quantization, add_search, chosen_search
from app.cli.startup import load_keras
from data.errors import UserError

HELP = "write a model for other programs"
EXAMPLES = """
  weitblick export runs/starter --to ctranslate2 starter-ct2
  weitblick export runs/starter --to ctranslate2 starter-int8 --quantization int8
  weitblick export runs/starter --to savedmodel starter-tf --beam 2
"""
AFTER_INTERRUPT = "nothing was exported"
FORMATS = ("ctranslate2", "savedmodel")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("path", metavar="RUN", help=RUN_HELP)
    parser.add_argument("directory", metavar="DIR", help="the folder to create; must be missing or empty")
    parser.add_argument("--to", choices=FORMATS, required=True, help="the format, see above")
    add_search(parser)
    add_quantization(parser, "for ctranslate2: ")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        help="for savedmodel: the precision it computes in (default: training.precision of the preset)",
    )


def run(args: argparse.Namespace) -> None:
    """Exports the model and prints its size."""
    if args.precision and args.to != "savedmodel":
        raise UserError("--precision is for --to savedmodel; CTranslate2 has --quantization")
    if args.quantization and args.to != "ctranslate2":
        raise UserError("--quantization is for --to ctranslate2; a SavedModel has --precision")
    from app.runs.run import Run
    from app.translation.ctranslate2 import import_ctranslate2
    from data.files import check_writable

    run = Run.open(args.path)
    options = {"checkpoint": args.checkpoint, "search": chosen_search(run.preset, args)}
    # Checks come before loading TensorFlow, which takes seconds.
    check_writable(args.directory, folder=True)
    if args.to == "ctranslate2":
        import_ctranslate2()
    load_keras()
    if args.to == "ctranslate2":
        from app.export import ctranslate2

        ctranslate2.export(run, args.directory, quantization=args.quantization or "float32", **options)
    else:
        from app.export import savedmodel

        savedmodel.export(run, args.directory, precision=args.precision, **options)
    print(f"exported {run.path} to {args.directory} ({_megabytes(args.directory):,.1f} MB)")


def _megabytes(directory) -> float:
    from pathlib import Path

    return sum(path.stat().st_size for path in Path(directory).rglob("*") if path.is_file()) / 1e6
