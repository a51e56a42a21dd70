"""The unit that every corpus yields."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from data.errors import UserError

T = TypeVar("T")


class Pair(NamedTuple):
    """One source segment, its translation, and the id of the document they stand in ("" where there is none)."""

    source: str
    target: str
    doc: str = ""


def consecutive(pairs: Iterable[Pair], place: Callable[[int], str]) -> Iterator[Pair]:
    """Passes pairs on, ids of documents in one line, and refuses documents whose segments do not stand together.

    Args:
        pairs: in reading order.
        place: for the number of a pair, counted from 1, where it stands, such as "doc.train.txt, line 7".

    Raises:
        UserError: a document goes on after another one.
    """
    last, ended = "", set()
    for number, pair in enumerate(pairs, start=1):
        if "\n" in pair.doc or "\r" in pair.doc:
            pair = pair._replace(doc=" ".join(pair.doc.split()))
        if pair.doc != last:
            ended.add(last)
            if pair.doc and pair.doc in ended:
                other = f"document {last!r}" if last else "a segment without a document"
                raise UserError(
                    f"{place(number)}: document {pair.doc!r} goes on here after {other}; the segments of a document "
                    "must stand together, in reading order: sort them, or give each part an id of its own"
                )
            last = pair.doc
        yield pair


def by_document(pairs: Iterable[T], document: Callable[[T], Any] = attrgetter("doc")) -> Iterator[list[T]]:
    """The documents of pairs in reading order; a pair without an id is a document of its own.

    Args:
        pairs: `Pair`s, or whatever `document` gives the id of.
        document: the id of a pair's document; false for none.
    """
    for _, group in itertools.groupby(enumerate(pairs), lambda numbered: document(numbered[1]) or numbered[0]):
        yield [pair for _, pair in group]
