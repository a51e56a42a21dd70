"""Lists the corpora that presets can name, or shows one; loads corpora into a warehouse and refines them there.

A corpus is a folder with files such as en.train.txt, de.train.txt and, if documents are known, doc.train.txt. Corpus
folders are searched for in the folders that --corpora and the environment variable WEITBLICK_CORPORA name.

A warehouse is a DuckDB file or a data set in BigQuery, see docs/warehouse.md.
"""

import argparse
import inspect

from app.cli import aligned, beam, passages, warehouse
from app.cli.options import add_actions, add_languages
from data.errors import UserError

HELP = "list or show corpora; load, clean and query them in a warehouse"
EXAMPLES = """
  weitblick corpora list                                   all corpora
  weitblick corpora show software                          fetch it, count it, show its first pairs
  weitblick corpora show multi30k --corpora ../corpora
  weitblick corpora passages runs/gru mdn mdn-context      text where context matters
  weitblick corpora aligned web-pages web-aligned          without lines that are not translations
  weitblick corpora load software notes.tmx --warehouse corpora.duckdb
  weitblick corpora clean --into cleaned --near 0.8 --warehouse corpora.duckdb
  weitblick corpora translate cleaned --run runs/starter --into translated --warehouse corpora.duckdb
  weitblick corpora sql "SELECT corpus, COUNT(*) AS n FROM cleaned GROUP BY corpus" --warehouse corpora.duckdb
"""
AFTER_INTERRUPT = "fetched files and fully loaded corpora are kept"
SHOWN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the actions and their arguments."""
    own = {
        "list": ("list the corpora that presets can name", add_languages, _list),
        "show": ("fetch a corpus, count it and show its first pairs", _add_show, _show),
    }
    prepare = "clean corpora with Apache Beam, on this machine or a cluster"
    context = "write the passages of a corpus whose context matters most, to train on them more often"
    translations = "write the pairs of a corpus whose words align best, and leave out wrong ones"
    others = {
        "prepare": (prepare, beam.add, beam.prepare),
        "passages": (context, passages.add, passages.passages),
        "aligned": (translations, aligned.add, aligned.aligned),
        **warehouse.ACTIONS,
    }
    epilogs = {"prepare": beam.EPILOG, "passages": passages.EPILOG, "aligned": aligned.EPILOG}
    helps = {name: text for name, (text, *_) in {**own, **others}.items()}
    actions = add_actions(parser, "action", helps)
    for name, (text, add, do) in own.items():
        action = actions.add_parser(name, description=text[0].upper() + text[1:] + ".")
        add(action)
        action.set_defaults(do=do)
    for name, (_, add, do) in others.items():
        in_warehouse = name in warehouse.ACTIONS
        texts = {"description": inspect.getdoc(do), "epilog": epilogs.get(name, warehouse.EPILOG)}
        action = actions.add_parser(name, formatter_class=parser.formatter_class, **texts)
        if in_warehouse:
            warehouse.add_warehouse(action)
        add(action)
        action.set_defaults(do=do)


def run(args: argparse.Namespace) -> None:
    """Runs the chosen action."""
    args.do(args)


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a corpus from the list, or the path of a folder")
    add_languages(parser)


def _list(args: argparse.Namespace) -> None:
    from data.corpora.corpora import Corpora

    for corpus in Corpora(args.corpora, source=args.source, target=args.target).all():
        print(f"{corpus.name:<20} {_sizes(corpus)}  {corpus.description}")


def _sizes(corpus) -> str:
    """The pairs of train / validation / test, if they are known without fetching."""
    sizes = [corpus.size(split) if split in corpus.splits() else 0 for split in ("train", "validation", "test")]
    if None in sizes:
        return f"{'not fetched yet':>27}"
    columns = zip(sizes, (9, 6, 6), strict=True)
    return " / ".join(f"{size:>{width},}" if size else f"{'-':>{width}}" for size, width in columns)


def _show(args: argparse.Namespace) -> None:
    from data.corpora.corpora import Corpora

    corpus = Corpora(args.corpora, source=args.source, target=args.target).open(args.name)
    corpus.prepare()
    for what in ("description", "licence", "obtain"):
        print(f"{what:<12} {getattr(corpus, what)}")
    print(f"{'documents':<12} {'yes' if corpus.has_documents else 'no'}")
    for split in corpus.splits():
        print(f"{split:<12} {corpus.size(split):,} pairs")
    if not corpus.splits():
        raise UserError(f"{args.name}: has no pair")
    for number, pair in enumerate(corpus.pairs(corpus.splits()[0])):
        if number == SHOWN:
            break
        print(f"\n{corpus.source}: {pair.source}\n{corpus.target}: {pair.target}")
