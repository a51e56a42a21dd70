"""The unit that every corpus yields."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from data.errors import UserError

T = TypeVar("T")


class Pair(NamedTuple):
    """One source segment, its translation, and the id of their document ("" if there is none)."""

    source: str
    target: str
    doc: str = ""


def consecutive(pairs: Iterable[Pair], place: Callable[[int], str]) -> Iterator[Pair]:
    """Passes pairs on, with document ids on one line, and refuses documents whose segments are not consecutive.

    Args:
        pairs: in reading order.
        place: turns the number of a pair, counted from 1, into its place, such as "doc.train.txt, line 7".

    Raises:
        UserError: a document continues after another one.
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
                    f"{place(number)}: document {pair.doc!r} continues here after {other}; the segments of a document "
                    "must be consecutive, in reading order: sort them, or give each part its own id"
                )
            last = pair.doc
        yield pair


def by_document(pairs: Iterable[T], document: Callable[[T], Any] = attrgetter("doc")) -> Iterator[list[T]]:
    """Groups pairs in reading order by document; a pair without an id is a document of its own.

    Args:
        pairs: `Pair`s, or anything else for which `document` gives the id.
        document: gives the id of a pair's document; a false value for none.
    """
    for _, group in itertools.groupby(enumerate(pairs), lambda numbered: document(numbered[1]) or numbered[0]):
        yield [pair for _, pair in group]
