"""Documents window by window: what is decoded next, and what memories hold of it afterwards."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from app.retrieval.segments import SegmentStore
from app.translation.decoder import Decoded, Request
from app.translation.inspection import inspect_window
from app.translation.text import Correction, Part
from data.packing import PackedWindow
from data.windows import BACKWARD, WindowOptions, cut, next_window

if TYPE_CHECKING:
    from app.translation.translator import Translator


class Line:
    """A line of the input on its way to the output.

    Args:
        number: line number in the input, from 1.
        parts: number of segments it is split into; 0 for a line with nothing to translate, usually 1.
        unchanged: the translation of such a line.
        known: its translation, if a person gave it.

    `texts` holds the translations of its parts, `scores` their search scores, None for one that was not decoded.
    """

    def __init__(self, number: int, parts: int, unchanged: str = "", known: str | None = None):
        self.number, self.missing, self._unchanged = number, parts, unchanged
        self.records: list[dict] = []
        self.known = known
        self.texts = [""] * parts
        self.scores: list[float | None] = [None] * parts

    def set_part(self, place: int, text: str, score: float) -> None:
        """Stores the translation of one part."""
        self.texts[place], self.scores[place] = text, score

    @property
    def score(self) -> float:
        """The line's search score."""
        return sum(score or 0.0 for score in self.scores)

    @property
    def text(self) -> str:
        """The line's translation."""
        if self.known is not None:
            return self.known
        return " ".join(text for text in self.texts if text) if self.texts else self._unchanged


class Segment:
    """A segment as the model sees it: a line or a part of one.

    Args:
        part: its text and tokens.
        line: the line.
        place: index of the part in the line.
        correction: if it has one.
        known: whether there is nothing to decode, because it has a correction or a translation that stays.
    """

    def __init__(self, part: Part, line: Line, place: int, correction: Correction | None = None, known: bool = False):
        self.part, self.ids, self.line, self.place, self.correction = part, part.ids, line, place, correction
        self.known = known
        self.own: list[int] = []

    @property
    def name(self) -> tuple[int, int]:
        """The number of its line, and its place there."""
        return self.line.number, self.place

    @property
    def target(self) -> list[int]:
        """The tokens of its translation: of the correction, else the model's own."""
        return self.correction.target if self.correction else self.own


def segments_of(line: Line, parts: Sequence[Part], corrections: Sequence[Correction], known: bool) -> list[Segment]:
    """The segments of a line; `corrections` is empty for a line without a correction."""
    pairs = zip(parts, corrections or [None] * len(parts), strict=True)
    return [Segment(part, line, place, own, known) for place, (part, own) in enumerate(pairs)]


class Place(NamedTuple):
    """Where a window begins: the number of segments and of windows before it, and the memory."""

    position: int
    windows: int
    memory: dict | None

    def window(self, segments: "list[Segment]", current: int, store: SegmentStore) -> "Window":
        """The window as it was when its segments were decoded.

        Args:
            segments: all segments that the model sees.
            current: number of them that count as translated already.
            store: the trusted segments of the document.
        """
        document = Document(1, self.memory)
        document.store = store
        return Window(document, self.windows, segments, current)


class Document:
    """A document that is being read; past segments are kept only as long as a window may need them.

    If it is read backward, it has no window before all of it has arrived.

    Args:
        number: document number in the input, from 1.
        memory: the memory at a document's start.
        growing: whether to keep all segments, so that one can go back to an earlier place; what it has so far counts
            as the whole document, though more may come.
    """

    def __init__(self, number: int, memory: dict | None, growing: bool = False):
        self.number, self.memory, self.growing = number, memory, growing
        self.store = SegmentStore()
        self.ended, self.busy, self.ordered = growing, False, False
        self._segments: list[Segment] = []
        self._position = self._windows = 0
        # If read backward: the windows that have not been read, in the order of the document.
        self._ahead: list[list[int]] | None = None

    @property
    def place(self) -> "Place":
        """Where the next window begins."""
        return Place(self._position, self._windows, self.memory)

    def go_back(self, place: "Place", segments: int | None = None) -> None:
        """Goes back to an earlier place, and forgets all but the first `segments` of the document."""
        self._position, self._windows, self.memory = place
        self._segments = self._segments[:segments]

    def extend(self, segments: Iterable[Segment]) -> None:
        """Adds segments that were read."""
        for segment in segments:
            self._segments.append(segment)
            # Later segments read this correction, so they must wait for it.
            self.ordered |= segment.correction is not None and not segment.known

    @property
    def over(self) -> bool:
        """Whether there are no more windows."""
        return self.ended and not self.growing and self._position == len(self._segments)

    def next_window(self, options: WindowOptions) -> "Window | None":
        """The next window, if all of it has been read."""
        if options.order == BACKWARD:
            return self._window_before(options)
        if self._position == len(self._segments):
            return None
        lengths = [len(segment.ids) for segment in self._segments]
        # Unless the end is known, the shortest possible segment may follow.
        lengths += [] if self.ended else [1]
        first, current, end = next_window(lengths, self._position, self._windows, options)
        if end > len(self._segments):
            return None
        window = Window(self, self._windows, self._segments[first:end], current - first)
        if not self.growing:
            del self._segments[:first]
            end -= first
        self._position = end
        self._windows += 1
        return window

    def _window_before(self, options):
        if not self.ended or not self._segments:
            return None
        if self._ahead is None:
            self._ahead = cut([len(segment.ids) for segment in self._segments], options).tolist()[::-1]
        first, current, _ = self._ahead.pop()
        window = Window(self, self._windows, self._segments[first:], current - first)
        del self._segments[first:]
        self._windows += 1
        return window


class Window:
    """A window whose segments are decoded one after another.

    Args:
        document: its document.
        number: how many windows of its document were read before it.
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
    def segment(self) -> Segment:
        """The segment to decode next."""
        return self.segments[self._current]

    def request(self, options: WindowOptions) -> Request:
        """The segment to decode next."""
        given = options.context_target or not options.sliding
        before = [segment.target for segment in self.segments[: self._current]] if given else []
        sources = [segment.ids for segment in self.segments]
        return Request(sources, before, self._current, self.document.memory)

    def advance(self) -> None:
        """Moves on to the next segment."""
        self._current += 1

    def packed(self) -> PackedWindow:
        """The window with its translations."""
        sources, targets = [s.ids for s in self.segments], [s.target for s in self.segments]
        return PackedWindow(sources, targets, self.context, reset=self.number == 0)


class WindowDecoder:
    """Decodes windows of documents side by side, and keeps their memories.

    Args:
        translator: a `Translator`.
        watch: whether to record how the memory was used, see `app.translation.inspection`.
    """

    def __init__(self, translator: "Translator", watch: bool = False):
        self.translator, self.decoder, self.watch = translator, translator.decoder, watch

    def decode(self, windows: Sequence[Window]) -> list[Window]:
        """Decodes one segment of each window, unless it is known; returns the windows that are not done."""
        options = self.translator.windows
        waiting = [window for window in windows if not window.segment.known]
        groups = self.translator.search([self._request(window, options) for window in waiting])
        found = [group[0] if group else Decoded([], 0.0) for group in groups]
        parts = [window.segment.part for window in waiting]
        texts = self.translator.encoder.texts(parts, [decoded.ids for decoded in found])
        for window, decoded, text in zip(waiting, found, texts, strict=True):
            window.segment.line.set_part(window.segment.place, text, decoded.score)
            window.segment.own = decoded.ids
        for window in windows:
            window.segment.line.missing -= not self.watch
            window.advance()
        self._close([window for window in windows if window.done])
        return [window for window in windows if not window.done]

    def ways(self, window: Window) -> list[tuple[str, Decoded]]:
        """All translations of a window's next segment that the search finds, best first, with their texts."""
        request = self._request(window, self.translator.windows)
        (found,) = self.translator.search([request], self.decoder.most)
        parts = [window.segment.part] * len(found)
        return list(zip(self.translator.encoder.texts(parts, [own.ids for own in found]), found, strict=True))

    def _request(self, window, options):
        source = window.segment.part.source
        stored = self.translator.stored(source.text, window.document.store)
        return window.request(options)._replace(stored=stored, terms=self.translator.terms(source))

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
        new = [(window.document, segment) for window in windows for segment in window.segments[window.context :]]
        # Corrections that were known from the start were learnt when they were read.
        self.learn([(document, segment) for document, segment in new if not (segment.known and segment.correction)])
        for window in windows:
            window.document.busy = False

    def learn(self, segments: Sequence[tuple[Document, Segment]]) -> None:
        """Adds segments, each with its document, to the documents' stores, if they are trusted."""
        if not self.translator.reads:
            return
        own = self.decoder.retrieval.own
        segments = [(document, segment) for document, segment in segments if not document.over]
        segments = [(document, segment) for document, segment in segments if segment.correction or own > 0]
        pairs = [segment.correction or Correction(segment.ids, segment.own) for _, segment in segments]
        found = self.decoder.entries([pair.source for pair in pairs], [pair.target for pair in pairs])
        for (document, segment), entries in zip(segments, found, strict=True):
            if not segment.correction:
                entries = entries._replace(trust=own * entries.trust)
            document.store.add(segment.name, entries, segment.part.source.text)
