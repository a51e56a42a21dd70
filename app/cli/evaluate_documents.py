"""Translates documents with a run's model, and scores them with metrics that need whole documents.

Reports s-BLEU, d-BLEU and chrF2++ with bootstrap over whole documents, the consistency of terms, and how much context
raises the reference's probability (CXMI); with --contrapro also pronoun accuracy. Writes scores and translations to
results/ in the run folder. With --hypotheses it scores a file instead, without a model.
docs/document-scores.md explains what each score can and cannot show.
"""

import argparse

from app.cli.memory import RETRIEVAL, add_glossary, add_memory, check_files, with_chosen_memory
from app.cli.options import (
    RUN_HELP,
    WINDOWS,
    add_corpora,
    add_precision,
    add_search,
    chosen_languages,
    chosen_search,
    with_chosen_precision,
    with_chosen_windows,
)
from app.cli.scoring import check_sides, chosen_baseline, system_of
from data.errors import UserError
from data.files import check_writable
from data.installing import need

HELP = "score whole documents: BLEU, consistency, use of context, pronouns"
EXAMPLES = """
  weitblick evaluate-documents runs/gru --baseline runs/none       is memory better than none?
  weitblick evaluate-documents runs/gru --corpus europarl newstest-docs --corpora ../corpora
  weitblick evaluate-documents runs/gru --contrapro --items 1000   pronouns as well
  weitblick evaluate-documents runs/gru --shuffle-documents --baseline runs/gru   is the context used at all?
  weitblick evaluate-documents runs/starter --corrected --shuffle-documents   the corrections of other documents
  weitblick evaluate-documents runs/concat --set documents.windows=dynamic documents.tokens=512   longer windows
  weitblick evaluate-documents runs/recurrence --set memory_cache=512   a longer memory than in training
  weitblick evaluate-documents --hypotheses out.de --corpus europarl
"""
AFTER_INTERRUPT = "finished translations are kept; run the same command again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    switch = argparse.BooleanOptionalAction
    parser.add_argument("path", nargs="?", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "--corpus",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="corpora with documents (default: those in data.test of the run's preset that have documents)",
    )
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="which split of the corpora (test)"
    )
    add_corpora(parser)
    parser.add_argument("--hypotheses", metavar="FILE", help="score these translations of one corpus; needs no RUN")
    parser.add_argument("--pair", default=None, metavar="EN-DE", help="for --hypotheses: the languages (en-de)")
    parser.add_argument("--baseline", metavar="RUN|FILE", help="compare with this file, or run (scored if needed)")
    parser.add_argument("--consistency", action=switch, default=True, help="measure the consistency of terms (yes)")
    parser.add_argument("--cxmi", action=switch, default=True, help="measure the use of context by CXMI (yes)")
    parser.add_argument("--contrapro", action="store_true", help="measure the accuracy of pronouns on contrapro/")
    parser.add_argument("--items", type=int, default=0, metavar="N", help="for --contrapro: N items, spread evenly")
    parser.add_argument(
        "--shuffle-documents",
        action="store_true",
        help="translate the segments in shuffled order, so that each has the wrong context, or with --corrected "
        "the corrections of other documents; this lowers the scores of a model that uses context",
    )
    parser.add_argument(
        "--segments", metavar="LOW-HIGH", help="only documents with this many segments, such as 8-80 (default: all)"
    )
    parser.add_argument(
        "--corrected",
        action="store_true",
        help="post-edit the documents: after each segment, its reference becomes its correction, which memories hold "
        "for later segments; compared with the same run without corrections, unless --baseline names another",
    )
    parser.add_argument("--plot", metavar="FILE", help="for --corrected: BLEU by segments corrected before, as SVG")
    add_memory(parser)
    add_glossary(parser)
    add_search(parser)
    add_precision(parser)
    parser.add_argument(
        "--again",
        action="store_true",
        help="translate and score again even if results of these weights and this search exist",
    )
    parser.add_argument("--samples", type=int, default=1000, metavar="N", help="bootstrap samples; 0 for none (1000)")
    parser.add_argument("--lowercase", action="store_true", help="ignore case (default: as in the run's preset)")


def run(args: argparse.Namespace) -> None:
    """Scores each corpus, then the pronouns, and prints the tables."""
    _check(args)
    from app.scoring.report import show_evaluation

    curves = {}
    for evaluation in _score_file(args) if args.hypotheses else _score_run(args):
        show_evaluation(evaluation)
        curves[evaluation.title.partition(",")[0]] = evaluation.corrected
    if args.plot:
        from app.scoring.chart import draw_corrected

        draw_corrected({name: scores for name, scores in curves.items() if scores}, args.plot)


def _check(args: argparse.Namespace) -> None:
    """Refuses options that do not go together."""
    check_sides(args)
    if args.hypotheses and len(args.corpus) != 1:
        raise UserError("--hypotheses is the translation of one corpus: name it with --corpus")
    if args.hypotheses and (args.contrapro or args.shuffle_documents):
        raise UserError("--hypotheses uses no model: leave out --contrapro and --shuffle-documents")
    if args.hypotheses and (args.corrected or args.memory):
        raise UserError("--hypotheses uses no model: leave out --corrected and --memory")
    if args.plot and not args.corrected:
        raise UserError("--plot shows BLEU by segments corrected before: add --corrected")
    if args.plot and args.shuffle_documents:
        raise UserError("--plot counts the segments corrected before in a document: leave out --shuffle-documents")
    if args.plot:
        check_writable(args.plot)
        need("matplotlib", "plots", "--plot")
    check_files(args)
    if args.items and not args.contrapro:
        raise UserError("--items is for --contrapro: add it, or leave out --items")
    if args.items < 0:
        raise UserError(f"--items {args.items}: must be at least 1; leave it out for all items")
    if args.samples < 0:
        raise UserError(f"--samples {args.samples}: must be at least 1, or 0 for no intervals")


def _score_file(args: argparse.Namespace):
    from app.scoring.evaluation import DocumentOptions, evaluate_translations, read_baseline
    from app.scoring.metrics import check_lengths
    from app.translation.lines import read_text
    from data.corpora.corpora import Corpora
    from data.terms import open_glossary

    source, target = chosen_languages(args)
    corpora = Corpora(args.corpora, source=source, target=target)
    test = _documents(args, args.corpus[0], corpora)
    hypotheses = read_text(args.hypotheses)
    check_lengths(hypotheses, test.references, f"the translation {args.hypotheses}")
    baseline = read_baseline(chosen_baseline(args), test)
    terms = _terms(args, test, args.corpus, corpora)
    glossary = open_glossary(args.glossary, source, target) if args.glossary else None
    options = DocumentOptions(args.lowercase, args.samples)
    yield evaluate_translations(hypotheses, test, options, terms, baseline, glossary=glossary)


def _score_run(args: argparse.Namespace):
    """Yields each evaluation as soon as it is ready."""
    from app.runs.run import Run
    from app.scoring.contrapro import find_items, read_items
    from app.scoring.evaluation import DocumentOptions, evaluate_documents, evaluate_pronouns
    from data.corpora.corpora import parse_mixture

    run = with_chosen_memory(with_chosen_windows(with_chosen_precision(Run.open(args.path), args), args), args)
    data, search = run.preset.data, chosen_search(run.preset, args, (*WINDOWS, *RETRIEVAL))
    items = read_items(find_items(args.corpora), args.items) if args.contrapro else []
    corpora = run.preset.corpora(args.corpora)
    tests = {name: _documents(args, name, corpora) for name in _names(args, data.test, corpora)}
    options = DocumentOptions(
        args.lowercase or data.lowercase, args.samples, args.cxmi, args.shuffle_documents, args.again
    )
    reading = {"memory": args.memory, "corrected": args.corrected, "glossary": args.glossary}
    system = system_of(run, args.checkpoint, search, **reading)
    baseline = chosen_baseline(args)
    if any(reading.values()) and baseline is None:
        baseline = system_of(run, args.checkpoint, search)
    for name, test in tests.items():
        training = [name, *(corpus for corpus, _ in parse_mixture(data.corpora))]
        terms = _terms(args, test, training, corpora)
        yield evaluate_documents(system, test, options=options, terms=terms, baseline=baseline)
    if items:
        yield evaluate_pronouns(system, items, samples=args.samples, baseline=baseline, again=args.again)


def _documents(args: argparse.Namespace, name: str, corpora):
    """The documents of a corpus, only those of the sizes in --segments if it is given."""
    from app.scoring.testsets import load_documents

    test = load_documents(name, args.split, corpora)
    if not args.segments:
        return test
    low, dash, high = args.segments.partition("-")
    if not (low.isdecimal() and high.isdecimal() and 0 < int(low) <= int(high)):
        raise UserError(f"--segments {args.segments}: expected the smallest and largest number, such as 8-80")
    chosen = test.of_sizes(int(low), int(high))
    if not chosen.documents:
        raise UserError(f"--segments {args.segments}: the split {args.split!r} of {name} has no document of this size")
    return chosen


def _names(args: argparse.Namespace, tests, corpora) -> list[str]:
    """The corpora to score on; the list may be empty only if pronouns are scored."""
    from app.scoring.testsets import has_documents

    if args.corpus:
        return list(dict.fromkeys(args.corpus))
    found = [name for name in tests if has_documents(name, args.split, corpora)]
    if not found and not args.contrapro:
        tried = ", ".join(tests) or "none"
        raise UserError(
            f"{args.path}: no corpus with documents was found in data.test of the preset ({tried}): add "
            "--corpus NAME, and --corpora DIR if it is a folder"
        )
    return found


def _terms(args: argparse.Namespace, test, names, corpora):
    """The `TermScorer` of a test set; None if consistency is not requested."""
    if not args.consistency:
        return None
    from app.scoring.consistency import TermScorer, training_pairs

    return TermScorer(test, corpora.source, corpora.target, training_pairs(test, names, corpora))
