"""Documents in translation: what has been read of them, and the windows that are being decoded."""

from collections.abc import Iterable

from app.translation.document_decoding import Request
from data.documents import PackedWindow
from data.windows import WindowOptions, next_window


class Line:
    """A line of the input on its way to the output.

    Args:
        number: that in the input, from 1.
        parts: how many segments it is for the model; 0 for an empty line, most often 1.
    """

    def __init__(self, number: int, parts: int):
        self.number, self.missing, self.score = number, parts, 0.0
        self.looks: list[dict] = []
        self._texts = [""] * parts

    def set_part(self, place: int, text: str, score: float) -> None:
        """Notes the translation of one part."""
        self._texts[place] = text
        self.score += score

    @property
    def text(self) -> str:
        """The line's translation."""
        return " ".join(text for text in self._texts if text)


class Segment:
    """What the model takes for a segment: a line or a part of one.

    Args:
        ids: the source tokens.
        line: the line.
        place: which of its parts.
    """

    def __init__(self, ids: list[int], line: Line, place: int):
        self.ids, self.line, self.place = ids, line, place
        self.target: list[int] | None = None


class Document:
    """A document of which some segments have been read; past ones are kept only as long as a window may need them.

    Args:
        number: that in the input, from 1.
        memory: the memory at a document's start.
    """

    def __init__(self, number: int, memory):
        self.number, self.memory = number, memory
        self.ended = self.busy = False
        self._segments: list[Segment] = []
        self._position = self._windows = 0

    def extend(self, segments: Iterable[Segment]) -> None:
        """Adds segments that were read."""
        self._segments += segments

    @property
    def over(self) -> bool:
        """Whether no window will come any more."""
        return self.ended and self._position == len(self._segments)

    def next_window(self, options: WindowOptions) -> "Window | None":
        """The next window, if all of it has been read."""
        if self._position == len(self._segments):
            return None
        lengths = [len(segment.ids) for segment in self._segments]
        # The shortest segment that may follow, unless the end is known.
        lengths += [] if self.ended else [1]
        first, current, end = next_window(lengths, self._position, self._windows, options)
        if end > len(self._segments):
            return None
        window = Window(self, self._windows, self._segments[first:end], current - first)
        del self._segments[:first]
        self._position = end - first
        self._windows += 1
        return window


class Window:
    """A window whose segments are decoded one after another.

    Args:
        document: its document.
        number: how many windows of the document came before.
        segments: all that the model sees.
        current: how many of them are context that has been translated already.
    """

    def __init__(self, document: Document, number: int, segments: list[Segment], current: int):
        self.document, self.number, self.segments = document, number, segments
        self.context = self._current = current

    @property
    def done(self) -> bool:
        """Whether all segments have a translation."""
        return self._current == len(self.segments)

    def request(self, options: WindowOptions) -> Request:
        """The segment to decode next."""
        given = options.context_target or not options.sliding
        before = [segment.target for segment in self.segments[: self._current]] if given else []
        return Request([segment.ids for segment in self.segments], before, self._current, self.document.memory)

    def accept(self, ids: list[int], text: str, score: float) -> Segment:
        """Takes the translation of the segment that was asked for."""
        segment = self.segments[self._current]
        segment.target = ids
        segment.line.set_part(segment.place, text, score)
        self._current += 1
        return segment

    def packed(self) -> PackedWindow:
        """The window with its translations."""
        sources, targets = [s.ids for s in self.segments], [s.target for s in self.segments]
        return PackedWindow(sources, targets, self.context, reset=self.number == 0)
