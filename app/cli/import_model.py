"""Turns a model that another program trained into a run. It translates, is scored and is exported like any other run.

marian: a Marian model in Hugging Face's layout, such as those of OPUS-MT: a folder with config.json, source.spm,
target.spm, vocab.json, and model.safetensors (needs the extra "import") or pytorch_model.bin (needs PyTorch).

To add a memory to the model, train a second stage that starts from the run; see docs/import.md.
"""

import argparse

from app.cli.options import add_set, program
from app.cli.startup import load_keras

HELP = "turn another program's model into a run"
EXAMPLES = """
  weitblick import marian opus --run runs/opus
  weitblick import marian opus --run runs/opus --set beam=6 data.test=software
"""
AFTER_INTERRUPT = "nothing was imported"
FORMATS = ("marian",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("format", metavar="FORMAT", choices=FORMATS, help="the format, see above")
    parser.add_argument("folder", metavar="DIR", help="the folder with the model's files")
    parser.add_argument(
        "--run", metavar="DIR", dest="path", required=True, help="the run folder to create; must be missing or empty"
    )
    add_set(parser, "keys of the run's preset to change, such as beam=6")


def run(args: argparse.Namespace) -> None:
    """Imports the model and prints what it is."""
    from data.files import check_writable

    # Checks come before loading TensorFlow, which takes seconds.
    check_writable(args.path, folder=True)
    load_keras()
    from app.imports.marian import import_marian

    run, notes = import_marian(args.folder, args.path, args.set)
    for note in notes:
        print(f"note: {note}")
    data, model = run.preset.data, run.preset.model
    print(
        f"imported {args.folder} into {run.path}: {data.source} to {data.target}, {model.encoder_layers} + "
        f"{model.decoder_layers} layers of width {model.width}, {run.preset.tokenizer.vocabulary:,} pieces\n"
        f'  echo "Save the file." | {program("weitblick")} translate {run.path}'
    )
