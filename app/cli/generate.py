"""Continues a text: a generator reads its beginning and writes what may follow.

The beginning is an argument or standard input; a line break in it ends a line. Text appears as it is written. With
--state the document is kept in a file, and the next call adds its beginning to that document and continues it.
"""

import argparse
from pathlib import Path

from app.cli.options import RUN_HELP, add_checkpoint, load_engine
from app.translation.decoder import KERAS
from data.errors import UserError

HELP = "write text with a generator"
EXAMPLES = """
  weitblick generate runs/generator "Click the button" --length 200
  weitblick generate runs/generator "Click the button" --temperature 0.8 --top-p 0.95 --no-repeat 4
  weitblick generate runs/generator --beam 5 < beginning.txt
  weitblick generate runs/generator "Then close it." --state story.json
"""
AFTER_INTERRUPT = "what was written is above; --state was not changed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("path", metavar="RUN", help=RUN_HELP)
    parser.add_argument("text", nargs="?", metavar="TEXT", help="the beginning; standard input by default")
    parser.add_argument("--length", type=int, default=100, metavar="N", help="tokens to write (100)")
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="below 1: likelier text; 0: always the likeliest token (1)",
    )
    parser.add_argument("--top-k", type=int, default=0, metavar="K", help="draw from the K likeliest tokens")
    parser.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        metavar="P",
        help="draw from the likeliest tokens that together have probability P",
    )
    parser.add_argument(
        "--min-p",
        type=float,
        default=0.0,
        metavar="P",
        help="draw from tokens at least P times as likely as the likeliest",
    )
    parser.add_argument(
        "--repetition-penalty", type=float, default=1.0, metavar="F", help="above 1: recent tokens become less likely"
    )
    parser.add_argument("--no-repeat", type=int, default=0, metavar="N", help="no sequence of N tokens comes twice")
    parser.add_argument(
        "--beam", type=int, default=0, metavar="K", help="search for the likeliest lines instead of drawing"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="random seed (1)")
    parser.add_argument("--state", metavar="FILE", help="keep the document in FILE; if FILE exists, continue it")
    add_checkpoint(parser)


def run(args: argparse.Namespace) -> None:
    """Writes the beginning and what follows it to standard output."""
    if args.length < 1:
        raise UserError(f"--length {args.length}: must be at least 1")
    from app.runs.run import Run
    from app.translation.lines import open_lines
    from data.files import check_writable

    run = Run.open(args.path, "generator")
    text = "\n".join(open_lines()) if args.text is None else args.text
    if args.state:
        check_writable(args.state)
    load_engine(KERAS, run, args.checkpoint)
    from app.translation.generation import Choice, Writer

    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat", "beam", "seed")
    choice = Choice(**{name: getattr(args, name) for name in names})
    writer = Writer.of_run(run, choice, args.checkpoint)
    if args.state and Path(args.state).exists():
        writer.load(args.state)
    writer.read(text)
    print(text, end="", flush=True)
    for piece in writer.stream(args.length):
        print(piece, end="", flush=True)
    print()
    if args.state:
        writer.save(args.state)
