"""Translates documents with a run's model and scores what only a document shows.

Reports s-BLEU, d-BLEU and chrF2++ with bootstrap over whole documents, the consistency of terms, and how much context
raises the reference's probability (CXMI); with --contrapro also the accuracy of pronouns. Writes scores and
translations into the run's folder results/. With --hypotheses it scores a file instead, without a model.
docs/document-scores.md says what each score can and cannot show.
"""

import functools

from app.cli.options import (
    RUN_HELP,
    WINDOWS,
    add_corpora,
    add_search,
    chosen_languages,
    chosen_search,
    with_chosen_windows,
)
from app.cli.startup import load_keras
from data.errors import UserError

HELP = "score whole documents: BLEU, consistency, use of context, pronouns"
EXAMPLES = """
  weitblick evaluate-documents runs/gru --baseline runs/none       is memory better than none?
  weitblick evaluate-documents runs/gru --corpus europarl newstest-docs --corpora ../corpora
  weitblick evaluate-documents runs/gru --contrapro --items 1000   pronouns as well
  weitblick evaluate-documents runs/gru --shuffle-documents --baseline runs/gru   is the context used at all?
  weitblick evaluate-documents runs/concat --set documents.windows=dynamic documents.tokens=512   longer windows
  weitblick evaluate-documents --hypotheses out.de --corpus europarl
"""
AFTER_INTERRUPT = "translations that were finished are kept; run the same command again"


def add_arguments(parser) -> None:
    """Declares the command's arguments."""
    import argparse

    switch = argparse.BooleanOptionalAction
    parser.add_argument("path", nargs="?", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "--corpus",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="corpora with documents. By default those of data.test in the run's preset that have some",
    )
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="which split of them (test)"
    )
    add_corpora(parser)
    parser.add_argument("--hypotheses", metavar="FILE", help="score these translations of one corpus; needs no RUN")
    parser.add_argument("--pair", default=None, metavar="EN-DE", help="for --hypotheses: the languages (en-de)")
    parser.add_argument("--baseline", metavar="RUN|FILE", help="compare with this run or file by paired bootstrap")
    parser.add_argument("--consistency", action=switch, default=True, help="measure the consistency of terms (yes)")
    parser.add_argument("--cxmi", action=switch, default=True, help="measure the use of context by CXMI (yes)")
    parser.add_argument("--contrapro", action="store_true", help="measure the accuracy of pronouns on contrapro/")
    parser.add_argument("--items", type=int, default=0, metavar="N", help="for --contrapro: N items, spread evenly")
    parser.add_argument(
        "--shuffle-documents",
        action="store_true",
        help="translate the segments in shuffled order, so that each has a wrong context; the scores of a model that "
        "uses its context fall",
    )
    add_search(parser)
    parser.add_argument(
        "--again", action="store_true", help="translate and score again even if these weights and this search did so"
    )
    parser.add_argument("--samples", type=int, default=1000, metavar="N", help="bootstrap samples; 0 for none (1000)")
    parser.add_argument("--lowercase", action="store_true", help="case counts nothing; so by default if the model's do")


def run(args) -> None:
    """Scores each corpus, then the pronouns, and prints the tables."""
    _check(args)
    from app.scoring.document_report import show_documents

    if args.hypotheses:
        show_documents(_score_file(args))
    else:
        _score_run(args)


def _check(args) -> None:
    """Refuses what does not go together."""
    if bool(args.path) == bool(args.hypotheses):
        raise UserError("name either a RUN to translate with or a file of translations with --hypotheses")
    if args.path and args.pair:
        raise UserError("--pair is for --hypotheses; the run's preset names its languages")
    if args.hypotheses and len(args.corpus) != 1:
        raise UserError("--hypotheses is the translation of one corpus: name it by --corpus")
    if args.hypotheses and (args.beam is not None or args.set or args.checkpoint != "auto" or args.again):
        raise UserError("--hypotheses uses no model: leave out --beam, --set, --checkpoint and --again")
    if args.hypotheses and (args.contrapro or args.shuffle_documents):
        raise UserError("--hypotheses uses no model: leave out --contrapro and --shuffle-documents")
    if args.items and not args.contrapro:
        raise UserError("--items says how much of ContraPro to score: add --contrapro")
    if args.items < 0:
        raise UserError(f"--items {args.items}: must be at least 1; leave it out for all items")
    if args.samples < 0:
        raise UserError(f"--samples {args.samples}: must be at least 1, or 0 for no intervals")


def _score_file(args):
    from app.scoring.document_evaluation import DocumentOptions, evaluate_translations
    from app.scoring.documents import load_documents
    from app.scoring.results import read_baseline, read_lines
    from data.corpora.corpora import Corpora

    source, target = chosen_languages(args)
    corpora = Corpora(args.corpora, source=source, target=target)
    documents = load_documents(args.corpus[0], args.split, corpora)
    hypotheses = read_lines(args.hypotheses, documents, f"the translation {args.hypotheses}")
    baseline = read_baseline(args.baseline, documents, target) if args.baseline else None
    terms = _terms(args, documents, args.corpus, corpora)
    options = DocumentOptions(args.lowercase, args.samples)
    return evaluate_translations(hypotheses, documents, options, terms, baseline)


def _score_run(args) -> None:
    """Prints what each corpus gave as soon as it is there."""
    from app.runs.run import Run
    from app.scoring.contrapro import find_items, read_items
    from app.scoring.document_evaluation import DocumentOptions, evaluate_documents, evaluate_pronouns
    from app.scoring.document_report import show_documents, show_pronouns
    from app.scoring.documents import load_documents
    from data.corpora.corpora import parse_mixture

    folder = with_chosen_windows(Run.open(args.path), args)
    data, search = folder.preset.data, chosen_search(folder.preset, args, WINDOWS)
    items = read_items(find_items(args.corpora), args.items) if args.contrapro else []
    names = _names(args, folder.preset)
    corpora = folder.preset.corpora(args.corpora)
    texts = {name: load_documents(name, args.split, corpora) for name in names}
    options = DocumentOptions(
        args.lowercase or data.lowercase, args.samples, args.cxmi, args.shuffle_documents, args.again
    )
    translator = functools.cache(lambda: _translator(folder, args.checkpoint, search))
    chosen = {"checkpoint": args.checkpoint, "search": search, "baseline": args.baseline}
    for name, documents in texts.items():
        training = [name, *(corpus for corpus, _ in parse_mixture(data.corpora))]
        terms = _terms(args, documents, training, corpora)
        show_documents(evaluate_documents(folder, documents, translator, options=options, terms=terms, **chosen))
    if items:
        show_pronouns(evaluate_pronouns(folder, items, translator, samples=args.samples, again=args.again, **chosen))


def _names(args, preset) -> list[str]:
    """The corpora to score on; none is right only where the pronouns are to be scored."""
    from app.scoring.documents import has_documents

    if args.corpus:
        return list(dict.fromkeys(args.corpus))
    corpora = preset.corpora(args.corpora)
    found = [name for name in preset.data.test if has_documents(name, args.split, corpora)]
    if not found and not args.contrapro:
        tried = ", ".join(preset.data.test) or "none"
        raise UserError(
            f"{args.path}: no corpus in data.test of the preset ({tried}) is found here and has documents: add "
            "--corpus NAME, and --corpora DIR if it is a folder"
        )
    return found


def _translator(folder, checkpoint: str, search):
    load_keras()
    from app.translation.document_translator import DocumentTranslator

    return DocumentTranslator.of_run(folder, checkpoint, search)


def _terms(args, documents, names, corpora):
    """What measures the consistency of terms, if it shall be measured."""
    if not args.consistency:
        return None
    from app.scoring.consistency import TermScorer, training_pairs

    pairs = training_pairs(documents, names, corpora)
    return TermScorer(documents, corpora.source, corpora.target, pairs)
