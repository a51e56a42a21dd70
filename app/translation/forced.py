"""Forced scoring: how likely given translations are in their documents."""

from collections.abc import Sequence
from typing import NamedTuple

from app.translation.decoder import Decoder, TokenScore
from data.documents import PackedWindow
from data.windows import WindowOptions, cut


class Given(NamedTuple):
    """A segment with its translation.

    Fields:
        source, target: token ids without end tokens.
        scored: whether to score it; False for context, which never follows a scored segment.
    """

    source: Sequence[int]
    target: Sequence[int]
    scored: bool


def score_documents(
    decoder: Decoder, options: WindowOptions, documents: Sequence[Sequence[Given]]
) -> list[list[TokenScore]]:
    """Scores the segments marked as scored, each given what precedes it in its document and nothing that follows.

    A segment is scored in a window that ends with it. Its context is the segments before it in its own window, sources
    and given translations, and the memory of earlier windows. Where windows have several segments, translation sees
    more, namely the later sources of the window. The memory after a window is that of the whole window, as in
    translation.

    Args:
        decoder: the model.
        options: how documents are cut.
        documents: the segments of each.

    Returns:
        For each document, the scores of its scored segments.
    """
    if decoder.first_memory is None:
        return _regrouped(
            lambda pairs: _score_alone(decoder, pairs), [[g for g in own if g.scored] for own in documents]
        )
    windows = [_windows(document, options) for document in documents]
    if decoder.remembers:
        return decoder.score_windows(windows)
    needed = [[window for window in own if window.scored < len(window.targets)] for own in windows]
    found = _regrouped(lambda flat: decoder.score_windows([[window] for window in flat]), needed)
    return [[score for scores in own for score in scores] for own in found]


def _regrouped(function, groups: list[list]) -> list[list]:
    """Calls the function once with the elements of all groups, and puts its results into the same groups."""
    found = iter(function([element for group in groups for element in group]))
    return [[next(found) for _ in group] for group in groups]


def _score_alone(decoder: Decoder, given: list[Given]) -> list[TokenScore]:
    return decoder.score([pair.source for pair in given], [pair.target for pair in given])


def _windows(document: Sequence[Given], options: WindowOptions) -> list[PackedWindow]:
    """The windows to score a document in; shortened ones do not update the memory."""
    windows = []
    for first, current, end in cut([len(given.source) for given in document], options).tolist():
        begin = current if options.sliding and not options.context_target else first
        scored = next((place for place in range(current, end) if document[place].scored), end)
        sources, targets = [given.source for given in document[first:end]], [g.target for g in document[begin:end]]
        for last in range(scored + 1, end):
            shorter = sources[: last - first], targets[: last - begin]
            windows.append(PackedWindow(*shorter, last - 1 - begin, reset=current == 0, remembered=False))
        windows.append(PackedWindow(sources, targets, len(targets) - (scored < end), reset=current == 0))
    return windows
