"""Translates a stream of documents: reads ahead, decodes documents side by side, and returns lines in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from app.translation.lines import FIRST_LINES, MOST_CHARACTERS, MOST_LINES, DocumentLine
from app.translation.text import EncodedLine
from app.translation.windows import Document, Line, Segment, Window, WindowDecoder, segments_of
from data.errors import UserError

if TYPE_CHECKING:
    from app.translation.translator import Translator


class Hypothesis(NamedTuple):
    """One translation and its search score: the log-probability, in beam search divided by the length penalty.

    For a line that was translated in parts, the score is the sum of the parts' scores.
    """

    text: str
    score: float


class Flow:
    """The translation of one stream of lines by a `Translator`; iterating yields the translations.

    Args:
        translator: a `Translator`.
        lines, watch, whole: see `Translator.translate_lines`.
    """

    def __init__(
        self,
        translator: "Translator",
        lines: Iterable[DocumentLine],
        watch: Callable[[dict], None] | None,
        whole: bool = False,
    ):
        self.translator, self.watch = translator, watch
        self._decoder = WindowDecoder(translator, watch is not None)
        self._lines, self._waiting = iter(lines), getattr(lines, "waiting", lambda: False)
        self._read, self._most, self._ended, self._failure = 0, FIRST_LINES, False, None
        self._whole = whole
        self._queue: deque[Line] = deque()
        self._documents: list[Document] = []
        self._current: Document | None = None
        self._name: int | None = None
        self._count = 0
        self._first_memory = translator.decoder.first_memory
        self._windows: list[Window] = []

    def __iter__(self) -> Iterator[Hypothesis]:
        while True:
            self._fill()
            yield from self._finished()
            if self._windows:
                self._windows = self._decoder.decode(self._windows)
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
            if (lines or self._windows) and (full or self._waiting()) and not self._whole:
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
        lines = [self._matched(line) for line in lines]
        encoded = self.translator.encoder.lines([line.text for line in lines], self._read + 1)
        learnt = []
        for line, own in zip(lines, encoded, strict=True):
            self._read += 1
            self._turn_to(line.document)
            segments = self._segments(line, own)
            if segments:
                self._current.extend(segments)
                learnt += [(self._current, segment) for segment in segments if segment.known]
        self._decoder.learn(learnt)
        if self._ended:
            self._turn_to(None)

    def _matched(self, line: DocumentLine) -> DocumentLine:
        """The line, with the translation that is taken from the translation memory, if any."""
        match = None if line.correction is not None else self.translator.match(line.text)
        return line if match is None else line._replace(correction=match, known=True)

    def _segments(self, line: DocumentLine, encoded: EncodedLine) -> list[Segment]:
        known = line.correction if line.known else None
        pending = Line(self._read, len(encoded.parts), encoded.unchanged, known)
        self._queue.append(pending)
        given = self.translator.encoder.corrections(line.text, encoded.parts, line.correction)
        return segments_of(pending, encoded.parts, given, known is not None)

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
            alone = independent and not document.ordered
            while (alone or not document.busy) and (window := document.next_window(options)):
                document.busy = True
                self._windows.append(window)
        self._documents = [document for document in self._documents if document.busy or not document.over]

    def _finished(self) -> Iterator[Hypothesis]:
        while self._queue and not self._queue[0].missing:
            line = self._queue.popleft()
            for record in line.records:
                self.watch(record)
            yield Hypothesis(line.text, line.score)
