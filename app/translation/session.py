"""One document being translated and corrected, segment by segment."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.presets.schema import SearchPreset
from app.retrieval.segments import SegmentStore
from app.translation.decoder import Decoded, TokenScore, token_score
from app.translation.inspection import inspect_window
from app.translation.lines import one_line
from app.translation.saved import read_saved, write_saved
from app.translation.text import EncodedLine
from app.translation.windows import Document, Line, Place, Segment, Window, WindowDecoder, segments_of
from data.errors import UserError
from data.windows import BACKWARD, next_window

if TYPE_CHECKING:
    from app.translation.translator import Translator

FORMAT = 1
# How many independent windows `stream` decodes together.
_TOGETHER = 8


@dataclass
class _Entry:
    """A line of the document: its text, what the model sees of it, and its correction, if it has one."""

    text: str
    encoded: EncodedLine
    line: Line
    segments: list[Segment]
    correction: str | None = None

    @property
    def translation(self) -> str:
        return self.line.text if self.correction is None else self.correction


class Session:
    """One document being translated and corrected.

    Each segment is translated with what memories hold of those before it. A correction replaces the model's own
    translation in every memory: in retrieval, in a memory state, and in windows that repeat earlier segments; all
    segments after it that have no correction are translated again. Segments are numbered from 1.

    Args:
        translator: a `Translator` whose engine is Keras.

    Raises:
        UserError: the translator reads documents backward, which needs whole documents.

    Example:
        >>> session = Translator.of_run(Run.open("runs/starter")).session()
        >>> session.push(["Open the folder.", "Close the folder."])
        ['Öffnen Sie das Verzeichnis.', 'Schließen Sie das Verzeichnis.']
        >>> session.correct(1, "Öffnen Sie den Ordner.")
        {2: 'Schließen Sie den Ordner.'}
    """

    def __init__(self, translator: "Translator"):
        if translator.windows.order == BACKWARD:
            raise UserError(
                'documents.order: "backward" translates a document from its end, and a session begins before that is '
                "known; translate the whole document with `weitblick translate --document`"
            )
        self.translator = translator
        self._decoder = WindowDecoder(translator)
        self._document = Document(1, translator.decoder.first_memory, growing=True)
        self._places: list[Place] = []
        self._entries: list[_Entry] = []
        # What `undo` takes back: the number of segments pushed, or a segment's number and its correction before.
        self._changes: list[int | tuple[int, str | None]] = []

    @property
    def sources(self) -> list[str]:
        """The segments so far."""
        return [entry.text for entry in self._entries]

    @property
    def translations(self) -> list[str]:
        """The translation of each segment: its correction, else the model's."""
        return [entry.translation for entry in self._entries]

    @property
    def corrections(self) -> list[str | None]:
        """The correction of each segment, None for one without."""
        return [entry.correction for entry in self._entries]

    @property
    def store(self) -> SegmentStore:
        """What retrieval may read of the document: the entries of its trusted segments; not to be changed."""
        return self._document.store

    @property
    def undoes_correction(self) -> bool:
        """Whether `undo` would take back a correction rather than segments."""
        return bool(self._changes) and not isinstance(self._changes[-1], int)

    def push(self, segments: Sequence[str], corrections: Sequence[str | None] | None = None) -> list[str]:
        """Appends segments to the document, and translates them.

        Args:
            segments: source segments, one line each.
            corrections: translations that are known already, None for a segment without one.

        Returns:
            The translation of each new segment.

        Raises:
            UserError: there are not as many corrections as segments.
        """
        corrections = [None] * len(segments) if corrections is None else corrections
        if len(corrections) != len(segments):
            raise UserError(f"{len(segments):,} segments and {len(corrections):,} corrections; expected equal numbers")
        first = len(self._entries)
        self._append(segments, corrections)
        self._changes.append(len(segments))
        self._translate()
        return self.translations[first:]

    def stream(self, segments: Sequence[str]) -> Generator[tuple[int, str], None, None]:
        """Like `push`, but yields each new segment's number and translation as soon as it is ready.

        If the iterator is closed before its end, segments that have not been translated are forgotten.
        """
        done = first = len(self._entries)
        self._append(segments, [None] * len(segments))
        try:
            for _ in self._rounds(_TOGETHER):
                while done < len(self._entries) and not self._entries[done].line.missing:
                    done += 1
                    yield done, self._entries[done - 1].translation
            while done < len(self._entries):
                done += 1
                yield done, self._entries[done - 1].translation
        finally:
            if done < len(self._entries):
                self._drop(done)
            if done > first:
                self._changes.append(done - first)

    def correct(self, number: int, text: str) -> dict[int, str]:
        """Sets the correction of a segment, and translates again all segments after it that have none.

        Args:
            number: of the segment, from 1.
            text: its right translation.

        Returns:
            The translations that changed, by the number of their segment.

        Raises:
            UserError: there is no such segment.
        """
        entry = self._entry(number)
        self._changes.append((number, entry.correction))
        return self._set(number, one_line(text))

    def undo(self) -> dict[int, str]:
        """Takes back the last correction, or the last `push`.

        Returns:
            The translations that changed, by the number of their segment.

        Raises:
            UserError: there is nothing to undo.
        """
        if not self._changes:
            raise UserError("there is nothing to undo: no segment was added or corrected")
        change = self._changes.pop()
        if isinstance(change, int):
            self._drop(len(self._entries) - change)
            return {}
        number, correction = change
        before = self._entry(number).translation
        changed = self._set(number, correction)
        after = self._entry(number).translation
        return changed if before == after else {number: after, **changed}

    def score(self, number: int) -> TokenScore | None:
        """How likely the model's own translation of a segment was in its search.

        None for a correction, for a segment in which there was nothing to translate, and for one loaded from a file.

        Raises:
            UserError: there is no such segment.
        """
        entry = self._entry(number)
        pairs = list(zip(entry.segments, entry.line.scores, strict=True))
        found = [Decoded(segment.own, score) for segment, score in pairs if score is not None]
        if entry.correction is not None or not pairs or len(found) < len(pairs):
            return None
        return _sum([token_score(decoded, self.translator.decoder.search) for decoded in found])

    def alternatives(self, number: int) -> list[tuple[str, TokenScore]]:
        """All translations of a segment that the search finds, best first, each with its score.

        The search is the one that translated the segment, with what is remembered of the segments before it.

        Raises:
            UserError: there is no such segment.
        """
        entry = self._entry(number)
        first = sum(len(own.segments) for own in self._entries[: number - 1])
        groups = [self._decoder.ways(self._window(position)) for position in range(first, first + len(entry.segments))]
        return [_joined(ways, self.translator.decoder.search) for ways in zip(*groups, strict=False)]

    def memory_use(self) -> Iterator[tuple[int, dict]]:
        """How the memory was used, see `app.translation.inspection.inspect_window`; nothing if it cannot be shown.

        Yields:
            The number of a segment with its figures; a line that was too long for the model has several.
        """
        decoder = self.translator.decoder
        if decoder.first_memory is None:
            return
        for place in self._places:
            window = self._window(place.position, whole=True)
            for segment, record in inspect_window(window, decoder, self.translator.tokenizer):
                yield segment.line.number, record

    def save(self, path: Path | str) -> None:
        """Writes the session to a JSON file, atomically."""
        lines = [
            {
                "source": entry.text,
                "correction": entry.correction,
                "parts": [[entry.line.texts[segment.place], segment.own] for segment in entry.segments],
            }
            for entry in self._entries
        ]
        write_saved(path, self.translator.tokenizer, FORMAT, "session", {"lines": lines, "changes": self._changes})

    @classmethod
    def load(cls, translator: "Translator", path: Path | str) -> "Session":
        """Continues a saved session; what was translated is not translated again, except lines that this run cuts
        elsewhere.

        Raises:
            UserError: the file is damaged, is not a session, or belongs to a model with another vocabulary.
        """
        content = read_saved(path, translator.tokenizer, FORMAT, "session", "a session's `save`")
        session = cls(translator)
        lines = content["lines"]
        session._append([line["source"] for line in lines], [line["correction"] for line in lines])
        for entry, line in zip(session._entries, lines, strict=True):
            if len(line["parts"]) != len(entry.segments):
                continue
            for segment, (text, ids) in zip(entry.segments, line["parts"], strict=True):
                entry.line.texts[segment.place], segment.own = text, ids
                # It has neither if the session was saved while it was being translated.
                segment.known = segment.known or bool(ids)
        session._changes = [change if isinstance(change, int) else tuple(change) for change in content["changes"]]
        session._translate()
        return session

    def _entry(self, number: int) -> _Entry:
        if not 1 <= number <= len(self._entries):
            raise UserError(f"there is no segment {number}; the document has {len(self._entries)} so far")
        return self._entries[number - 1]

    def _append(self, texts: Sequence[str], corrections: Sequence[str | None]) -> None:
        first = len(self._entries) + 1
        encoded = self.translator.encoder.lines(texts, first)
        for number, (text, own) in enumerate(zip(texts, encoded, strict=True), start=first):
            line = Line(number, len(own.parts), own.unchanged)
            entry = _Entry(text, own, line, segments_of(line, own.parts, (), known=False))
            self._entries.append(entry)
            self._document.extend(entry.segments)
        given = [number for number, text in enumerate(corrections, start=first) if text is not None]
        for number in given:
            self._write(number, corrections[number - first])

    def _write(self, number: int, correction: str | None) -> None:
        """Sets or takes back a correction in memories that are not states."""
        entry = self._entry(number)
        entry.correction = correction
        own = self.translator.encoder.corrections(entry.text, entry.encoded.parts, correction)
        for segment, pair in zip(entry.segments, own or [None] * len(entry.segments), strict=True):
            segment.correction, segment.known = pair, pair is not None or bool(segment.own)
            self._document.store.discard(segment.name)
        self._decoder.learn([(self._document, segment) for segment in entry.segments])

    def _set(self, number: int, correction: str | None) -> dict[int, str]:
        before = self.translations
        self._write(number, correction)
        for entry in self._entries[number:]:
            for segment in entry.segments:
                segment.known = segment.correction is not None
        self._go_back(number - 1)
        self._translate()
        after = self.translations
        return {n + 1: after[n] for n in range(number, len(after)) if after[n] != before[n]}

    def _drop(self, kept: int) -> None:
        """Forgets all entries but the first ones."""
        segments = sum(len(entry.segments) for entry in self._entries[:kept])
        for entry in self._entries[kept:]:
            for segment in entry.segments:
                self._document.store.discard(segment.name)
        self._go_back(kept, segments)
        del self._entries[kept:]
        self._translate()

    def _go_back(self, entries: int, segments: int | None = None) -> None:
        """Goes back to the window that holds the first segment after so many entries."""
        position = sum(len(entry.segments) for entry in self._entries[:entries])
        while self._places and (len(self._places) > 1 or position == 0) and self._places[-1].position > position:
            self._places.pop()
        if not self._places:
            return
        place = self._places.pop()
        for segment in self._segments()[place.position :]:
            # The new translations may not read the outputs that they replace.
            if not segment.correction:
                self._document.store.discard(segment.name)
        self._document.go_back(place, segments)

    def _window(self, position: int, whole: bool = False) -> Window:
        """The window that a segment was decoded in: before that segment or, with `whole`, when it was complete."""
        segments, options = self._segments(), self.translator.windows
        number = max(n for n, place in enumerate(self._places) if place.position <= position)
        place, after = self._places[number], [*self._places[number + 1 :], self._document.place]
        first, current, _ = next_window([len(own.ids) for own in segments], place.position, place.windows, options)
        current = current if whole else position
        # Its own translation and those of later segments did not exist yet.
        unread = [
            own.name for n, own in enumerate(segments) if n == position or (n >= place.position and not own.correction)
        ]
        store = self._document.store.without(unread)
        return place.window(segments[first : after[0].position], current - first, store)

    def _segments(self) -> list[Segment]:
        return [segment for entry in self._entries for segment in entry.segments]

    def _translate(self) -> None:
        """Decodes, from the document's place on, the segments that are not known."""
        for _ in self._rounds():
            pass

    def _rounds(self, most: int | None = None) -> Iterator[None]:
        """Decodes window after window, and yields whenever some segments are done."""
        while windows := self._next_windows(most):
            while windows:
                windows = self._decoder.decode(windows)
                yield

    def _next_windows(self, most: int | None) -> list[Window]:
        """The next window; where none depends on another, all further windows, or at most `most`."""
        windows: list[Window] = []
        while not windows or (self.translator.independent and (most is None or len(windows) < most)):
            place = self._document.place
            window = self._document.next_window(self.translator.windows)
            if window is None:
                break
            self._places.append(place)
            windows.append(window)
        return windows


def _joined(ways: Sequence[tuple[str, Decoded]], search: SearchPreset) -> tuple[str, TokenScore]:
    """A translation of a line, made from those of its parts."""
    return " ".join(text for text, _ in ways if text), _sum([token_score(decoded, search) for _, decoded in ways])


def _sum(scores: Sequence[TokenScore]) -> TokenScore:
    return TokenScore(sum(score.log_probability for score in scores), sum(score.tokens for score in scores))
