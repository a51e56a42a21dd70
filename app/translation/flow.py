"""Translates a stream of documents: reads ahead, decodes documents side by side, and returns lines in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from app.translation.decoder import Decoded, Request
from app.translation.inspection import inspect_window
from app.translation.lines import DocumentLine
from app.translation.text import Part
from data.documents import PackedWindow
from data.errors import UserError
from data.windows import WindowOptions, next_window

if TYPE_CHECKING:
    from app.translation.translator import Translator

# Limits on the lines read ahead of the output: few at first, so that the first output comes soon.
FIRST_LINES, MOST_LINES = 8, 4096
MOST_CHARACTERS = 1 << 20


class Hypothesis(NamedTuple):
    """One translation and its search score: the log-probability, in beam search divided by the length penalty.

    For a line that was translated in parts, the score is the sum of the parts' scores.
    """

    text: str
    score: float


class Line:
    """A line of the input on its way to the output.

    Args:
        number: line number in the input, from 1.
        parts: number of segments it is split into; 0 for a line with nothing to translate, usually 1.
        unchanged: the translation of such a line.
    """

    def __init__(self, number: int, parts: int, unchanged: str = ""):
        self.number, self.missing, self.score, self._unchanged = number, parts, 0.0, unchanged
        self.records: list[dict] = []
        self._texts = [""] * parts

    def set_part(self, place: int, text: str, score: float) -> None:
        """Stores the translation of one part."""
        self._texts[place] = text
        self.score += score

    @property
    def text(self) -> str:
        """The line's translation."""
        return " ".join(text for text in self._texts if text) if self._texts else self._unchanged


class Segment:
    """A segment as the model sees it: a line or a part of one.

    Args:
        part: its text and tokens.
        line: the line.
        place: index of the part in the line.
    """

    def __init__(self, part: Part, line: Line, place: int):
        self.part, self.ids, self.line, self.place = part, part.ids, line, place
        self.target: list[int] | None = None


class Document:
    """A document that is being read; past segments are kept only as long as a window may need them.

    Args:
        number: document number in the input, from 1.
        memory: the memory at a document's start.
    """

    def __init__(self, number: int, memory: dict | None):
        self.number, self.memory = number, memory
        self.ended = self.busy = False
        self._segments: list[Segment] = []
        self._position = self._windows = 0

    def extend(self, segments: Iterable[Segment]) -> None:
        """Adds segments that were read."""
        self._segments += segments

    @property
    def over(self) -> bool:
        """Whether there are no more windows."""
        return self.ended and self._position == len(self._segments)

    def next_window(self, options: WindowOptions) -> "Window | None":
        """The next window, if all of it has been read."""
        if self._position == len(self._segments):
            return None
        lengths = [len(segment.ids) for segment in self._segments]
        # Unless the end is known, the shortest possible segment may follow.
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
        number: index of the window in its document, from 0.
        segments: all segments that the model sees.
        current: number of them that are context, translated already.
    """

    def __init__(self, document: Document, number: int, segments: list[Segment], current: int):
        self.document, self.number, self.segments = document, number, segments
        self.context = self._current = current

    @property
    def done(self) -> bool:
        """Whether all segments have a translation."""
        return self._current == len(self.segments)

    @property
    def part(self) -> Part:
        """What is decoded next."""
        return self.segments[self._current].part

    def request(self, options: WindowOptions) -> Request:
        """The segment to decode next."""
        given = options.context_target or not options.sliding
        before = [segment.target for segment in self.segments[: self._current]] if given else []
        return Request([segment.ids for segment in self.segments], before, self._current, self.document.memory)

    def accept(self, ids: list[int], text: str, score: float) -> Segment:
        """Stores the translation of the requested segment."""
        segment = self.segments[self._current]
        segment.target = ids
        segment.line.set_part(segment.place, text, score)
        self._current += 1
        return segment

    def packed(self) -> PackedWindow:
        """The window with its translations."""
        sources, targets = [s.ids for s in self.segments], [s.target for s in self.segments]
        return PackedWindow(sources, targets, self.context, reset=self.number == 0)


class Flow:
    """The translation of one stream of lines by a `Translator`; iterating yields the translations.

    Args:
        translator: a `Translator`.
        lines, watch: see `Translator.translate_lines`.
    """

    def __init__(self, translator: "Translator", lines: Iterable[DocumentLine], watch: Callable[[dict], None] | None):
        self.translator, self.decoder, self.watch = translator, translator.decoder, watch
        self._lines, self._waiting = iter(lines), getattr(lines, "waiting", lambda: False)
        self._read, self._most, self._ended, self._failure = 0, FIRST_LINES, False, None
        self._queue: deque[Line] = deque()
        self._documents: list[Document] = []
        self._current: Document | None = None
        self._name: int | None = None
        self._count = 0
        self._first_memory = self.decoder.first_memory
        self._windows: list[Window] = []

    def __iter__(self) -> Iterator[Hypothesis]:
        while True:
            self._fill()
            yield from self._finished()
            if self._windows:
                self._decode()
                yield from self._finished()
            elif self._ended:
                break
        if self._failure:
            raise self._failure

    def _fill(self) -> None:
        """Reads more lines while they are ready, or while there is nothing else to do."""
        lines: list[DocumentLine] = []
        characters = 0
        while not self._ended:
            full = len(self._queue) + len(lines) >= self._most or characters > MOST_CHARACTERS
            if (lines or self._windows) and (full or self._waiting()):
                break
            try:
                lines.append(next(self._lines))
                characters += len(lines[-1].text)
            except StopIteration:
                self._ended = True
            except UserError as error:
                self._ended, self._failure = True, error
        self._most = min(2 * self._most, MOST_LINES)
        self._take(lines)
        self._open_windows()

    def _take(self, lines: list[DocumentLine]) -> None:
        encoded = self.translator.encoder.lines([line.text for line in lines], self._read + 1)
        for line, (parts, unchanged) in zip(lines, encoded, strict=True):
            self._read += 1
            self._turn_to(line.document)
            pending = Line(self._read, len(parts), unchanged)
            self._queue.append(pending)
            if parts:
                self._current.extend(Segment(part, pending, place) for place, part in enumerate(parts))
        if self._ended:
            self._turn_to(None)

    def _turn_to(self, name: int | None) -> None:
        """If the next line belongs to another document, ends the current one and begins the new one."""
        if name == self._name:
            return
        if self._current:
            self._current.ended = True
        self._name, self._current = name, None
        if name is not None:
            self._count += 1
            self._current = Document(self._count, self._first_memory)
            self._documents.append(self._current)

    def _open_windows(self) -> None:
        options, independent = self.translator.windows, self.translator.independent
        for document in self._documents:
            while (independent or not document.busy) and (window := document.next_window(options)):
                document.busy = True
                self._windows.append(window)
        self._documents = [document for document in self._documents if document.busy or not document.over]

    def _decode(self) -> None:
        """Decodes one segment of each window, and closes the windows that are done."""
        options, windows = self.translator.windows, self._windows
        found = self._search([window.request(options) for window in windows])
        parts = [window.part for window in windows]
        texts = self.translator.encoder.texts(parts, [decoded.ids for decoded in found])
        for window, decoded, text in zip(windows, found, texts, strict=True):
            segment = window.accept(decoded.ids, text, decoded.score)
            if not self.watch:
                segment.line.missing -= 1
        self._windows = [window for window in windows if not window.done]
        self._close([window for window in windows if window.done])

    def _search(self, requests: list[Request]) -> list[Decoded]:
        def search(rows: list[int]) -> list[list[Decoded]]:
            return self.decoder.decode_segments([requests[row] for row in rows], self.decoder.most)

        sources = [request.sources[request.current] for request in requests]
        found = self.translator.without_faults(self.decoder.decode_segments(requests), sources, 1, search)
        return [group[0] if group else Decoded([], 0.0) for group in found]

    def _close(self, windows: list[Window]) -> None:
        for window in windows if self.watch else ():
            for segment, record in inspect_window(window, self.decoder, self.translator.tokenizer):
                segment.line.records.append(record)
                segment.line.missing -= 1
        if self.decoder.remembers:
            continued = [window for window in windows if not window.document.over]
            memories = [window.document.memory for window in continued]
            after = self.decoder.remember([window.packed() for window in continued], memories)
            for window, memory in zip(continued, after, strict=True):
                window.document.memory = memory
        for window in windows:
            window.document.busy = False

    def _finished(self) -> Iterator[Hypothesis]:
        while self._queue and not self._queue[0].missing:
            line = self._queue.popleft()
            for record in line.records:
                self.watch(record)
            yield Hypothesis(line.text, line.score)
