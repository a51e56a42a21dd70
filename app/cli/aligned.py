"""The action of `weitblick corpora` that leaves out pairs whose sides are not translations of each other."""

import argparse
import math
from pathlib import Path

from app.cli.options import add_languages
from data.errors import UserError

EPILOG = (
    "Each half of the corpus is scored by an aligner that learnt from the other half; docs/corpora.md has an example."
)


def aligned(args: argparse.Namespace) -> None:
    """Writes the pairs of a corpus whose words align best, as a new corpus.

    A word aligner learns from every other pair and scores the rest: the mean over the words of both sides of
    log p(word | other side) - log p(word), in nats. Misaligned lines, and lines that translate something else, score
    lowest and are left out.
    """
    if not 0 < args.share < 1:
        raise UserError(f"--share {args.share:g}: expected a number between 0 and 1")
    from data.files import check_writable

    check_writable(args.output, folder=True)
    from app.scoring.aligned import alignment_scores, divided
    from app.terminal import decoding_progress
    from data.corpora.corpora import Corpora
    from data.corpora.folder import write_folder

    corpus = Corpora(args.corpora, source=args.source, target=args.target).open(args.name)
    corpus.prepare()
    pairs = list(corpus.pairs("train"))
    with decoding_progress(len(pairs), "aligning") as progress:
        scores = alignment_scores(pairs, corpus.source, corpus.target, progress)
    kept, left_out = divided(scores, args.share)
    if not math.isfinite(scores[kept].min()):
        raise UserError(f"{args.name}: hardly any pair has words; check --source and --target")
    made = {"corpus": args.name, "share": args.share, "least": float(scores[kept].min())}
    write_folder(args.output, (pairs[place] for place in kept), corpus.source, corpus.target, made)
    print(
        f"{args.name}: {len(kept):,} of {len(pairs):,} pairs, with {made['least']:.2f} nats a word or more; "
        f"to train on them, add --corpora {Path(args.output).resolve().parent}"
    )
    for place in left_out[: args.show]:
        print(f"\nleft out, {scores[place]:.2f}")
        print(f"{corpus.source}: {pairs[place].source}\n{corpus.target}: {pairs[place].target}")


def add(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("name", metavar="NAME", help="a corpus from the list, or the path of a folder")
    parser.add_argument("output", metavar="OUTPUT", help="the folder to create")
    parser.add_argument("--share", type=float, default=0.95, metavar="X", help="share of the pairs to write (0.95)")
    parser.add_argument("--show", type=int, default=5, metavar="N", help="print the N worst pairs (5)")
    add_languages(parser)
