"""The action of `weitblick corpora` that chooses text whose context matters."""

import argparse
from pathlib import Path

from app.cli.options import add_corpora, load_engine
from app.translation.decoder import KERAS
from data.errors import UserError

EPILOG = "The corpus is scored twice, with and without context; docs/corpora.md has an example."


def passages(args: argparse.Namespace) -> None:
    """Writes the passages of a corpus whose translations gain most from their context, as a new corpus.

    A run that reads context scores the training text of the corpus, cleaned as for that run, with and without context.
    The gain is CXMI, in nats per target token. In a preset, name the new corpus first and give it a weight.
    """
    if not 0 < args.share < 1:
        raise UserError(f"--share {args.share:g}: expected a number between 0 and 1")
    if args.segments < 2:
        raise UserError(f"--segments {args.segments}: a passage needs at least 2 segments, or there is no context")
    from data.files import check_writable

    check_writable(args.output, folder=True)
    from app.runs.run import Run

    run = Run.open(args.path)
    if run.preset.window_options().alone and not run.preset.memory.has_state:
        raise UserError(f"{args.path}: the run reads each segment alone: choose one that reads context")
    found = _documents(run, args)
    load_engine(KERAS, run, args.checkpoint)
    from app.scoring.passages import cxmi, gains, richest
    from app.terminal import decoding_progress
    from app.translation.translator import Translator
    from data.corpora.folder import write_folder

    translator = Translator.of_run(run.with_precision("float32"), args.checkpoint)
    with decoding_progress(sum(map(len, found)), "scoring") as progress:
        scored = gains(translator, found, progress)
    chosen = richest(scored, args.share)
    if not chosen:
        raise UserError(f"{args.path}: no passage of {args.name} gains from its context; choose another run or corpus")
    weights, _, checksum = run.weights_file(args.checkpoint)
    made = {"corpus": args.name, "run": args.path, "weights": weights, "checksum": checksum, "share": args.share}
    made |= {"segments": args.segments, "cxmi": cxmi(chosen), "cxmi of all": cxmi(scored)}
    pairs = (pair for passage in chosen for pair in passage.pairs)
    write_folder(args.output, pairs, run.preset.data.source, run.preset.data.target, made)
    segments = [sum(len(passage.pairs) for passage in part) for part in (chosen, scored)]
    print(
        f"{args.name}: {segments[0]:,} of {segments[1]:,} segments, in {len(chosen):,} of {len(scored):,} passages; "
        f"CXMI {cxmi(chosen):.4f} nats a token, {cxmi(scored):.4f} in the whole corpus"
    )
    name, parent = Path(args.output).resolve().name, Path(args.output).resolve().parent
    print(f'to train on it twice as often: --corpora {parent} --set \'corpora=["{name}:2", "{args.name}"]\'')


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("path", metavar="RUN", help="the folder of a run that reads context, such as runs/gru")
    parser.add_argument("name", metavar="NAME", help="a corpus with documents, from the list or the path of a folder")
    parser.add_argument("output", metavar="OUTPUT", help="the folder to create")
    parser.add_argument("--share", type=float, default=0.2, metavar="X", help="share of the segments to write (0.2)")
    parser.add_argument(
        "--segments", type=int, default=32, metavar="N", help="longer documents are cut into passages of up to N (32)"
    )
    parser.add_argument(
        "--checkpoint", choices=("auto", "averaged", "best", "last"), default="auto", help="which weights to use"
    )
    add_corpora(parser)


def _documents(run, args: argparse.Namespace) -> list:
    from dataclasses import replace

    from app.scoring.passages import cut_passages
    from app.terminal import progress_console
    from app.training.text import training_text
    from data.parallel import Workers

    preset = replace(run.preset, data=replace(run.preset.data, corpora=(args.name,)))
    with Workers() as workers:
        (corpus,) = training_text(preset, args.corpora, lambda line: None, progress_console(), workers)
    found = cut_passages(corpus.pairs(), args.segments)
    if not found:
        raise UserError(f"{args.name}: no document has several segments, so no segment has context")
    return found
