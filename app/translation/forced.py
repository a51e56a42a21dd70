"""Forced scoring: how likely given translations are in their documents."""

from collections.abc import Sequence
from typing import NamedTuple

from app.translation.decoder import Decoder, TokenScore
from data.packing import PackedWindow
from data.windows import WindowOptions, cut


class Given(NamedTuple):
    """A segment with its translation.

    Fields:
        source, target: token ids without end tokens.
        scored: whether to score it; False for context, which never comes after a scored segment.
    """

    source: Sequence[int]
    target: Sequence[int]
    scored: bool


def score_given(
    decoder: Decoder, options: WindowOptions, documents: Sequence[Sequence[Given]]
) -> list[list[TokenScore]]:
    """Scores the segments marked as scored, each given what is read before it in its document and nothing after it.

    A segment is scored in a window that ends with it. Its context is the segments before it in its own window, sources
    and given translations, and the memory of windows read before. Where windows have several segments, translation sees
    more, namely the later sources of the window. The memory after a window is that of the whole window, as in
    translation.

    Args:
        decoder: the model.
        options: how documents are cut.
        documents: the segments of each.

    Returns:
        For each document, the scores of its scored segments, in its order.
    """
    if decoder.first_memory is None:
        return _regrouped(
            lambda pairs: _score_alone(decoder, pairs), [[g for g in own if g.scored] for own in documents]
        )
    windows = [_windows(document, options) for document in documents]
    if decoder.remembers:
        found = decoder.score_windows(windows)
    else:
        needed = [[window for window in own if window.scored < len(window.targets)] for own in windows]
        scores = _regrouped(lambda flat: decoder.score_windows([[window] for window in flat]), needed)
        found = [[score for group in own for score in group] for own in scores]
    return [_in_order(own, document, options) for own, document in zip(found, documents, strict=True)]


def _in_order(scores: list[TokenScore], document: Sequence[Given], options: WindowOptions) -> list[TokenScore]:
    """The scores of a document's windows in the order of its segments."""
    read = (place for _, current, end in _cut(document, options) for place in range(current, end))
    places = [place for place in read if document[place].scored]
    return [score for _, score in sorted(zip(places, scores, strict=True))]


def _cut(document: Sequence[Given], options: WindowOptions) -> list[list[int]]:
    return cut([len(given.source) for given in document], options).tolist()


def _regrouped(function, groups: list[list]) -> list[list]:
    """Calls the function once with the elements of all groups, and puts its results into the same groups."""
    found = iter(function([element for group in groups for element in group]))
    return [[next(found) for _ in group] for group in groups]


def _score_alone(decoder: Decoder, given: list[Given]) -> list[TokenScore]:
    return decoder.score([pair.source for pair in given], [pair.target for pair in given])


def _windows(document: Sequence[Given], options: WindowOptions) -> list[PackedWindow]:
    """The windows to score a document in; shortened ones do not update the memory."""
    windows = []
    for number, (first, current, end) in enumerate(_cut(document, options)):
        begin = current if options.sliding and not options.context_target else first
        scored = next((place for place in range(current, end) if document[place].scored), end)
        sources, targets = [given.source for given in document[first:end]], [g.target for g in document[begin:end]]
        for last in range(scored + 1, end):
            shorter = sources[: last - first], targets[: last - begin]
            windows.append(PackedWindow(*shorter, last - 1 - begin, reset=number == 0, remembered=False))
        windows.append(PackedWindow(sources, targets, len(targets) - (scored < end), reset=number == 0))
    return windows
