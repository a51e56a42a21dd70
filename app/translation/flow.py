"""A text of documents in translation: reads ahead, decodes documents side by side, and puts out lines in order."""

from collections import deque
from collections.abc import Iterable, Iterator

from app.translation.document_lines import DocumentLine
from app.translation.look import look_at
from app.translation.translator import Hypothesis
from app.translation.windows import Document, Line, Segment, Window
from data.errors import UserError

# Lines between the one that is read and the one that is put out: few at first, so that the first output comes soon.
FIRST_LINES, MOST_LINES = 8, 4096
MOST_CHARACTERS = 1 << 20


class Flow:
    """One text on its way through a `DocumentTranslator`; iterating gives its translations.

    Args:
        translator: a `DocumentTranslator`.
        lines, watch: see `DocumentTranslator.translate_lines`.
    """

    def __init__(self, translator, lines: Iterable[DocumentLine], watch):
        self.translator, self.decoding, self.watch = translator, translator.decoding, watch
        self._lines, self._waiting = iter(lines), getattr(lines, "waiting", lambda: False)
        self._read, self._most, self._ended, self._failure = 0, FIRST_LINES, False, None
        self._queue: deque[Line] = deque()
        self._documents: list[Document] = []
        self._current: Document | None = None
        self._name: int | None = None
        self._count = 0
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
        """Reads on as long as that costs no waiting, or there is nothing else to do."""
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
        parts_of = self.translator.encoder.parts([line.text for line in lines], self._read + 1)
        for line, parts in zip(lines, parts_of, strict=True):
            self._read += 1
            self._turn_to(line.document)
            coming = Line(self._read, len(parts))
            self._queue.append(coming)
            if parts:
                self._current.extend(Segment(ids, coming, place) for place, ids in enumerate(parts))
        if self._ended:
            self._turn_to(None)

    def _turn_to(self, name: int | None) -> None:
        """Ends the document that is being read if the next line is not of it, and begins the line's."""
        if name == self._name:
            return
        if self._current:
            self._current.ended = True
        self._name, self._current = name, None
        if name is not None:
            self._count += 1
            self._current = Document(self._count, self.decoding.first_memory)
            self._documents.append(self._current)

    def _open_windows(self) -> None:
        options, independent = self.translator.options, self.translator.independent
        for document in self._documents:
            while (independent or not document.busy) and (window := document.next_window(options)):
                document.busy = True
                self._windows.append(window)
        self._documents = [document for document in self._documents if document.busy or not document.over]

    def _decode(self) -> None:
        """Decodes a segment of each window, and remembers those that are done."""
        options, windows = self.translator.options, self._windows
        found = self.decoding.search_segments([window.request(options) for window in windows])
        texts = self.translator.encoder.texts(decoded.ids for decoded in found)
        for window, decoded, text in zip(windows, found, texts, strict=True):
            segment = window.accept(decoded.ids, text, decoded.score)
            if not self.watch:
                segment.line.missing -= 1
        self._windows = [window for window in windows if not window.done]
        self._close([window for window in windows if window.done])

    def _close(self, windows: list[Window]) -> None:
        for window in windows if self.watch else ():
            for segment, look in look_at(window, self.decoding, self.translator.tokenizer):
                segment.line.looks.append(look)
                segment.line.missing -= 1
        if self.decoding.remembers:
            going_on = [window for window in windows if not window.document.over]
            memories = [window.document.memory for window in going_on]
            after = self.decoding.remember([window.packed() for window in going_on], memories)
            for window, memory in zip(going_on, after, strict=True):
                window.document.memory = memory
        for window in windows:
            window.document.busy = False

    def _finished(self) -> Iterator[Hypothesis]:
        while self._queue and not self._queue[0].missing:
            line = self._queue.popleft()
            for look in line.looks:
                self.watch(look)
            yield Hypothesis(line.text, line.score)
