"""Serves a run to many users, through its own JSON API for documents and corrections, LibreTranslate's API and DeepL's.

Requests that arrive at the same time are translated together. The server listens on this machine only, unless --host
says otherwise. On SIGTERM or Ctrl-C it finishes the requests that it has, and stops. docs/server.md describes the APIs.
"""

import argparse
import logging
import math
from typing import TYPE_CHECKING

from app.cli.memory import RETRIEVAL, add_glossary, add_memory, check_files, translator_of, with_chosen_memory
from app.cli.options import (
    RUN_HELP,
    WINDOWS,
    add_engine,
    add_precision,
    add_search,
    chosen_engine,
    chosen_search,
    load_engine,
    with_chosen_precision,
    with_chosen_windows,
)
from data.errors import UserError
from data.installing import extra_command

if TYPE_CHECKING:
    from app.serving.limits import Limits

HELP = "serve a run to other programs, over HTTP"
EXAMPLES = """
  weitblick serve runs/starter
  weitblick serve runs/starter --port 5000 --engine ctranslate2 --quantization int8
  weitblick serve runs/starter-documents --beam 1 --glossary terms.tsv
  weitblick serve runs/starter --host 0.0.0.0 --keys keys.txt --rate 600
  weitblick serve runs/starter --name translate.example.org --keys keys.txt
"""
AFTER_INTERRUPT = "the server had not started"
LIMITS = ("rate", "characters", "seconds", "documents", "idle_seconds", "files", "file_size", "file_characters")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("path", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1: this machine only)")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="the port (8000); 0 takes a free one")
    parser.add_argument(
        "--name",
        nargs="+",
        default=[],
        metavar="HOST",
        help="host names that a TLS proxy gives the server, such as translate.example.org",
    )
    parser.add_argument(
        "--keys", metavar="FILE", help="serve only clients that send one of the keys in FILE, one on each line"
    )
    parser.add_argument(
        "--rate", type=int, metavar="N", help="at most N requests per client and minute (6000); 0: no limit"
    )
    parser.add_argument(
        "--characters", type=int, metavar="N", help="at most N characters of text in a request (50,000)"
    )
    parser.add_argument("--seconds", type=float, metavar="X", help="longest time to translate a request (60)")
    parser.add_argument("--documents", type=int, metavar="N", help="at most N documents open at the same time (100)")
    parser.add_argument(
        "--idle-seconds", type=float, metavar="X", help="forget a document or file not used for X seconds (3600)"
    )
    parser.add_argument("--files", type=int, metavar="N", help="at most N files kept in memory at the same time (20)")
    parser.add_argument(
        "--file-size", type=int, metavar="N", help="at most N MiB in a file (32, the most that is ever read)"
    )
    parser.add_argument(
        "--file-characters", type=int, metavar="N", help="at most N characters of text in a file (2,000,000)"
    )
    add_search(parser)
    add_engine(parser)
    add_precision(parser)
    add_memory(parser)
    add_glossary(parser)
    parser.add_argument(
        "--fuzzy",
        type=float,
        metavar="X",
        help="for --memory: take the stored translation of a segment that is at least X similar, 0 to 1",
    )
    parser.set_defaults(offers=None)


def run(args: argparse.Namespace) -> None:
    """Loads the model and serves."""
    check_files(args)
    if args.fuzzy is not None and (not args.memory or not 0 < args.fuzzy <= 1):
        raise UserError(f"--fuzzy {args.fuzzy}: expected a similarity above 0 and at most 1, and --memory FILE")
    if not 0 <= args.port <= 65535:
        raise UserError(f"--port {args.port}: expected a number from 0 to 65535")
    _check_installed()
    from app.runs.run import Run
    from app.serving.application import application
    from app.serving.limits import Keys
    from app.serving.logs import log, log_to_stderr
    from app.serving.metrics import Metrics
    from app.serving.names import Names, public_name
    from app.serving.server import LOOPBACK, is_loopback, listen, serve
    from app.serving.service import Service

    limits, keys = _limits(args), Keys.read(args.keys) if args.keys else None
    public = [public_name(name) for name in args.name]
    run = with_chosen_precision(Run.open(args.path), args)
    run = with_chosen_windows(with_chosen_memory(run, args), args)
    search, engine = chosen_search(run.preset, args, (*WINDOWS, *RETRIEVAL)), chosen_engine(args)
    listening = listen(args.host, args.port)
    log_to_stderr()
    loopback = is_loopback(args.host)
    if (public or not loopback) and not keys:
        log("anyone who reaches this address can use the server; --keys FILE restricts access", logging.WARNING)
    load_engine(engine, run, args.checkpoint)
    metrics, data = Metrics(), run.preset.data
    translator = translator_of(run, search, args, engine=engine)
    service = Service(translator, data.source, data.target, limits, metrics.batch)
    service.warm_up()
    names = Names((*LOOPBACK, args.host) if loopback or public else (), public)
    app = application(service, metrics, keys, names)
    serve(app, listening, limits)


def _limits(args: argparse.Namespace) -> "Limits":
    """The limits from the command line."""
    from app.serving.limits import Limits

    given = {name: getattr(args, name) for name in LIMITS if getattr(args, name) is not None}
    for name, value in given.items():
        if not math.isfinite(value) or value < 0 or (value == 0 and name != "rate"):
            raise UserError(f"--{name.replace('_', '-')} {value}: expected a number above 0")
    return Limits(**given)


def _check_installed() -> None:
    """Says what to do if the packages of the server are missing."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(f"{error.name} is not installed: {extra_command('serve')}") from error
