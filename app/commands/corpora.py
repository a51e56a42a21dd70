"""Lists the corpora that presets can name, or tells about one and shows its first pairs.

A folder with files such as en.train.txt, de.train.txt and, where documents are known, doc.train.txt is a corpus. Such
folders are looked for in the folders of --corpora and of the variable WEITBLICK_CORPORA.
"""

HELP = "list the corpora, or show one"
EXAMPLES = """
  weitblick corpora                                        what there is
  weitblick corpora software                               fetch it, count it, show some of it
  weitblick corpora multi30k --corpora ../corpora
"""
AFTER_INTERRUPT = "what was fetched so far is kept"
SHOWN = 3


def add_arguments(parser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a corpus of the list, or the path of a folder")
    parser.add_argument("--corpora", nargs="+", default=[], metavar="DIR", help="folders that hold corpus folders")
    parser.add_argument("--source", default="en", metavar="LANGUAGE", help="language to translate from (en)")
    parser.add_argument("--target", default="de", metavar="LANGUAGE", help="language to translate into (de)")


def run(args) -> None:
    """Prints the list or the corpus."""
    from data.corpora import list_corpora, open_corpus

    if args.name is None:
        for corpus in list_corpora(args.corpora, args.source, args.target):
            print(f"{corpus.name:<20} {_sizes(corpus)}  {corpus.description}")
    else:
        _show(open_corpus(args.name, args.source, args.target, args.corpora))


def _sizes(corpus) -> str:
    """Pairs of train / validation / test, as far as they are known without fetching."""
    sizes = [corpus.size(split) if split in corpus.splits() else 0 for split in ("train", "validation", "test")]
    if None in sizes:
        return f"{'not fetched yet':>27}"
    columns = zip(sizes, (9, 6, 6), strict=True)
    return " / ".join(f"{size:>{width},}" if size else f"{'-':>{width}}" for size, width in columns)


def _show(corpus) -> None:
    corpus.prepare()
    for what in ("description", "licence", "obtain"):
        print(f"{what:<12} {getattr(corpus, what)}")
    print(f"{'documents':<12} {'yes' if corpus.has_documents else 'no'}")
    for split in corpus.splits():
        print(f"{split:<12} {corpus.size(split):,} pairs")
    for number, pair in enumerate(corpus.pairs(corpus.splits()[0])):
        if number == SHOWN:
            break
        print(f"\n{corpus.source}: {pair.source}\n{corpus.target}: {pair.target}")
