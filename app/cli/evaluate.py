"""Translates the test split of a run's preset with its model, and scores the translations with sacreBLEU.

Reports BLEU, chrF2++ and TER with signatures and 95% bootstrap intervals, BLEU by source length, and the speed; writes
them and the translations to results/ in the run folder. A model that was trained on documents translates documents.
For a generator it reports the perplexity. With --hypotheses the command scores a file instead, without a model.
"""

import argparse
import sys

from app.cli.memory import RETRIEVAL, add_glossary, add_memory, check_files, with_chosen_memory
from app.cli.options import (
    RUN_HELP,
    add_corpora,
    add_engine,
    add_precision,
    add_search,
    chosen_engine,
    chosen_languages,
    chosen_search,
    with_chosen_precision,
)
from app.cli.scoring import check_sides, chosen_baseline, system_of
from app.presets.schema import GENERATOR
from app.translation.decoder import KERAS
from data.errors import UserError

HELP = "score a run, or a file of translations"
EXAMPLES = """
  weitblick evaluate runs/starter
  weitblick evaluate runs/starter --corpus newstest --corpora ../corpora --beam 8
  weitblick evaluate runs/post --baseline runs/starter              is the difference more than chance?
  weitblick evaluate runs/starter --source in.en --reference in.de
  weitblick evaluate --hypotheses out.de --corpus wmt14             published output, the official test set
"""
AFTER_INTERRUPT = "no score was written; run the same command again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("path", nargs="?", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "--corpus",
        metavar="NAME",
        help="test set: a corpus, wmt14 or wmt14/full (default: data.test of the run's preset)",
    )
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="which split of the corpus (test)"
    )
    add_corpora(parser)
    parser.add_argument("--reference", metavar="FILE", help="score against this reference file instead of a corpus")
    parser.add_argument("--source", metavar="FILE", help="the text that --reference translates, line by line")
    parser.add_argument("--lines", type=int, default=0, metavar="N", help="score the first N lines only")
    parser.add_argument("--hypotheses", metavar="FILE", help="score these translations; needs no RUN")
    parser.add_argument("--pair", default=None, metavar="EN-DE", help="for --hypotheses: the languages (en-de)")
    parser.add_argument("--baseline", metavar="RUN|FILE", help="compare with this file, or run (scored if needed)")
    add_search(parser)
    add_memory(parser)
    add_glossary(parser)
    add_engine(parser)
    add_precision(parser)
    parser.add_argument(
        "--again", action="store_true", help="translate again even if results of these weights and this search exist"
    )
    parser.add_argument(
        "--tokenize", choices=("13a", "intl", "char", "none"), default="13a", help="tokenisation for BLEU (13a)"
    )
    parser.add_argument("--lowercase", action="store_true", help="ignore case (default: as in the run's preset)")
    parser.add_argument(
        "--ngram",
        type=int,
        default=0,
        metavar="N",
        help="for a generator: also report the perplexity of a Kneser-Ney N-gram model of its training text",
    )
    parser.add_argument("--moses", action="store_true", help="also report BLEU on lower-cased Moses tokens")


def run(args: argparse.Namespace) -> None:
    """Scores each test set and prints the tables."""
    _check(args)
    from app.scoring.report import show_evaluation

    run = None if args.hypotheses else _opened(args)
    if run and run.preset.model.kind == GENERATOR:
        return _score_generator(run, args)
    if args.ngram:
        raise UserError("--ngram is for generators: leave it out")
    evaluations = _score_run(run, args) if run else _score_file(args)
    for evaluation in evaluations:
        show_evaluation(evaluation)


def _check(args: argparse.Namespace) -> None:
    """Refuses options that do not go together."""
    check_sides(args)
    if args.source and not args.reference:
        raise UserError("--source needs reference translations: add --reference FILE")
    if args.reference and args.corpus:
        raise UserError("--reference and --corpus both name a test set: leave out one")
    if args.path and args.reference and not args.source:
        raise UserError("--reference alone has no text to translate: add --source FILE")
    if chosen_engine(args) != KERAS and args.hypotheses:
        raise UserError("--hypotheses uses no model: leave out --engine")
    if args.hypotheses and not (args.corpus or args.reference):
        raise UserError("say what to score on: add --corpus NAME or --reference FILE")
    if args.memory and args.hypotheses:
        raise UserError("--hypotheses uses no model: leave out --memory")
    check_files(args)
    if args.ngram < 0:
        raise UserError(f"--ngram {args.ngram}: must be at least 1")
    if args.lines < 0:
        raise UserError(f"--lines {args.lines}: must be at least 1; leave it out for all lines")


def _score_file(args: argparse.Namespace):
    from app.scoring.evaluation import evaluate_lines, read_baseline
    from app.scoring.metrics import ScoreOptions
    from app.translation.lines import read_text
    from data.corpora.corpora import Corpora
    from data.terms import open_glossary

    source, target = chosen_languages(args)
    test = _test_set(args, args.corpus, Corpora(args.corpora, source=source, target=target))
    hypotheses = read_text(args.hypotheses)[: args.lines or None]
    options = ScoreOptions(args.lowercase, args.tokenize, target, test=test.test, pair=test.pair)
    baseline = read_baseline(chosen_baseline(args), test)
    glossary = open_glossary(args.glossary, source, target) if args.glossary else None
    yield evaluate_lines(hypotheses, test, options, args.moses, baseline, glossary=glossary)


def _opened(args: argparse.Namespace):
    from app.runs.run import Run

    return Run.open(args.path, kind=None)


def _score_run(run, args: argparse.Namespace):
    from app.scoring.evaluation import evaluate
    from app.scoring.metrics import ScoreOptions

    run = with_chosen_memory(with_chosen_precision(run, args), args)
    data, engine = run.preset.data, chosen_engine(args)
    names = _test_names(args, run)
    system = system_of(
        run,
        args.checkpoint,
        chosen_search(run.preset, args, RETRIEVAL),
        engine,
        memory=args.memory,
        glossary=args.glossary,
    )
    options = ScoreOptions(args.lowercase or data.lowercase, args.tokenize)
    chosen = {"options": options, "moses": args.moses or None, "baseline": chosen_baseline(args, engine)}
    for name in names:
        test = _test_set(args, name, run.preset.corpora(args.corpora))
        yield evaluate(system, test, again=args.again, **chosen)


def _score_generator(run, args: argparse.Namespace) -> None:
    for option in ("baseline", "beam", "set", "memory", "glossary", "again", "moses", "lowercase"):
        if getattr(args, option):
            raise UserError(f"--{option} is for translations, and {args.path} is a generator: leave it out")
    if chosen_engine(args) != KERAS:
        raise UserError(f"--engine: {args.path} is a generator, which only Keras computes: leave it out")
    from app.cli.startup import load_keras

    load_keras()
    from app.scoring.perplexity import of_ngrams, perplexity
    from app.scoring.report import show_perplexity
    from app.training.preparation import prepare

    run = with_chosen_precision(run, args)
    tests = _test_names(args, run)
    ngrams = of_ngrams(run, prepare(run, args.corpora).batches.shards(0), args.ngram) if args.ngram and tests else None
    for name in tests:
        test = _test_set(args, name, run.preset.corpora(args.corpora))
        show_perplexity(perplexity(run, test, args.checkpoint))
        if ngrams:
            show_perplexity(ngrams(test))


def _test_names(args: argparse.Namespace, run) -> list:
    """What is scored: the corpus that is named, or else the preset's test sets.

    It is no error if there are none, so that `make train` can evaluate every preset.
    """
    if args.corpus or args.reference:
        return [args.corpus]
    if not run.preset.data.test:
        print(f"{args.path}: data.test of the preset is empty; name a corpus with --corpus", file=sys.stderr)
    return list(run.preset.data.test)


def _test_set(args: argparse.Namespace, name, corpora):
    from app.scoring.testsets import load_test_set, read_test_files

    given = args.reference
    test = read_test_files(given, args.source) if given else load_test_set(name, args.split, corpora)
    return test.head(args.lines)
