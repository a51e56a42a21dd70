"""Translates lines and documents in a stream, one output line for each input line."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.presets.schema import SearchPreset
from app.retrieval.entries import NOTHING, Entries, concatenated
from app.retrieval.segments import SegmentStore
from app.runs.gate import GateWeights, read_gate
from app.runs.run import Run
from app.translation.batch_plan import Share
from app.translation.decoder import KERAS, Decoded, Decoder, Engine, Forms, Request, Sampling, TokenScore
from app.translation.faults import choose
from app.translation.flow import Flow, Hypothesis
from app.translation.forced import Given, score_given
from app.translation.lines import DocumentLine, chunks
from app.translation.terms import TermEncoder, word_borders
from app.translation.text import EncodedLine, LineEncoder, Part, print_warning
from data.errors import UserError
from data.forms import PLAIN, TextForm
from data.spans import Source
from data.terms import Glossary
from data.tokenizer import Tokenizer
from data.windows import ALONE, WindowOptions

if TYPE_CHECKING:
    from app.translation.memory import Offer, TranslationMemory
    from app.translation.session import Session


class Translator:
    """Turns lines, or the segments of documents, into their translations.

    Each input line gives one output line, in the same order. Empty lines, and lines of white space, stay empty; the
    model does not see them. Lines of more than `max_length` tokens are split at sentence ends, clauses, spaces or, if
    need be, anywhere. The parts are translated one by one and joined with spaces; a warning names the first such line.

    A line is a document of one segment: `translate`, `nbest`, `translate_all` and `score_pairs` take each line alone.
    `translate_documents`, `translate_lines` and `score` read documents window by window, and a model with a memory
    carries it from each window to the next; the segments of a window are decoded one by one, each after the outputs
    before it. Documents are decoded side by side. Only the memory of a document, its last window and a bounded
    number of lines ahead are kept, so its length affects neither memory use nor speed; a document that is read backward
    is kept until its end is known.

    Args:
        decoder: the model with its search.
        tokenizer: the model's.
        windows: how documents are cut into windows. A model that does not read documents takes segments alone.
        form: how text is written for the model.
        checkpoint: the name of the weights, see `Run.weights_file`.
        max_length: the longest source, in tokens, that the model can take at once.
        warn: called once with a warning about lines that are too long; prints it on standard error by default.

    Example:
        >>> translator = Translator.of_run(Run.open("runs/starter"))
        >>> for line in translator.translate(open_lines("manual.txt")):
        ...     print(line, flush=True)
        >>> for document in translator.translate_documents([["A dog barks.", "It is big."], ["Good evening."]]):
        ...     print(document)
    """

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Tokenizer,
        windows: WindowOptions = ALONE,
        form: TextForm = PLAIN,
        max_length: int = 256,
        warn: Callable[[str], None] | None = None,
        checkpoint: str = "auto",
    ):
        self.decoder, self.tokenizer, self.windows, self.form = decoder, tokenizer, windows, form
        self.checkpoint = checkpoint
        self.memory: TranslationMemory | None = None
        self._terms: TermEncoder | None = None
        self.fuzzy: float | None = None
        self.max_length = min(max_length, (decoder.max_positions or max_length + 1) - 1)
        self.encoder = LineEncoder(tokenizer, form, self.max_length, warn)

    @classmethod
    def of_model(
        cls,
        model: Any,
        tokenizer: Tokenizer,
        search: SearchPreset | None = None,
        windows: WindowOptions = ALONE,
        sampling: Sampling | None = None,
        retrieval: tuple[Any, GateWeights | None] | None = None,
        **rest,
    ) -> "Translator":
        """The translator of a Keras model.

        Args:
            model: see `app.translation.keras_decoder.KerasDecoder`.
            tokenizer, windows: see the class.
            search: the search settings.
            sampling: settings for random sampling; None for search.
            retrieval: how stored entries are read: the settings of `[memory.retrieval]`, and a gate if one was learnt.
            rest: more arguments of the class.
        """
        # Other engines do not need Keras, which takes seconds to load.
        from app.translation.keras_decoder import KerasDecoder

        segments = windows.size if windows.windows == "segments" else 1
        decoder = KerasDecoder(
            model,
            search or SearchPreset(),
            sampling,
            segments,
            _span_ids(tokenizer),
            retrieval,
            word_borders(tokenizer),
        )
        return cls(decoder, tokenizer, windows, **rest)

    @classmethod
    def of_run(
        cls,
        run: Run,
        checkpoint: str = "auto",
        search: SearchPreset | None = None,
        engine: Engine = KERAS,
        sampling: Sampling | None = None,
        warn: Callable[[str], None] | None = None,
        memory: Path | str | None = None,
        glossary: Glossary | None = None,
    ) -> "Translator":
        """The translator of a run; one that was not trained on documents translates each segment alone.

        Args:
            run: an `app.runs.run.Run`.
            checkpoint: which weights, see `Run.weights_file`.
            search: replaces the search settings of the run's preset.
            engine: the program that computes the model.
            sampling, warn: see `of_model` and the class.
            memory: the file of a translation memory to read, see `app.translation.memory.open_memory`.
            glossary: terms to translate as it says.
        """
        preset, search = run.preset, search or run.preset.search
        tokenizer, windows = run.tokenizer(), preset.window_options()
        rest: dict[str, Any] = {"form": preset.text_form(), "max_length": preset.data.max_length, "warn": warn}
        rest["checkpoint"] = checkpoint
        if engine.open:
            translator = cls(engine.open(run, checkpoint, search, sampling), tokenizer, windows, **rest)
        else:
            retrieval = preset.retrieval, read_gate(run)
            model = run.load_model(checkpoint, decoding=True, search=search)
            translator = cls.of_model(model, tokenizer, search, windows, sampling, retrieval, **rest)
        if glossary:
            translator.use_glossary(glossary, warn or print_warning)
        if memory:
            from app.translation.memory import open_memory

            translator.use(open_memory(run, translator, memory))
        return translator

    def translate(self, lines: Iterable[str]) -> Iterator[str]:
        """Translates lines as they come.

        Lines are taken in chunks, small ones at first, so that the first output comes soon; lines that a `LineReader`
        has ready are translated before waiting for more. An error in the input is raised after the translations of all
        lines before it.

        Args:
            lines: source segments, without line ends.

        Yields:
            One translation for each line.
        """
        return (found[0].text for found in self.nbest(lines, 1))

    def nbest(self, lines: Iterable[str], count: int) -> Iterator[list[Hypothesis]]:
        """Like `translate`, with several translations of each line.

        Args:
            lines: source segments.
            count: translations per line; in beam search at most the beam size.

        Yields:
            For each line, 1 to `count` translations, best first (samples in the order drawn). An empty line has only an
            empty translation. The k-th translation of a line in parts joins the k-th of each part.
        """
        number = 1
        for chunk in chunks(lines):
            yield from self._translate_chunk(chunk, count, number)
            number += len(chunk)

    def translate_all(self, lines: Sequence[str], progress: Callable[[float], None] | None = None) -> list[str]:
        """Translates all lines of a list together, which is the fastest way.

        Args:
            lines: source segments.
            progress: called after each batch with the share of the work that is done, 0 to 1.

        Returns:
            One translation for each line.
        """
        return [found[0].text for found in self._translate_chunk(lines, 1, 1, progress)]

    def score_pairs(self, sources: Sequence[str], targets: Sequence[str]) -> list[TokenScore]:
        """How likely the model finds given translations.

        Args:
            sources, targets: lists of the same length.

        Returns:
            For each pair, the sum of the natural log-probabilities of the target's tokens, and their number with the
            end token.

        Raises:
            UserError: for different numbers of lines, or a line of more tokens than the model has positions for.
        """
        if len(sources) != len(targets):
            raise UserError(
                f"there are {len(sources):,} source lines and {len(targets):,} target lines; "
                "line n of one must belong to line n of the other"
            )
        sides = self.encoder.pairs(sources, targets)
        most = self.decoder.max_positions
        for number, pair in enumerate(zip(*sides, strict=True), start=1):
            if most and max(map(len, pair)) >= most:
                raise UserError(f"line {number} has more tokens than the {most - 1} that the model has positions for")
        return self.decoder.score(*sides)

    def translate_documents(self, documents: Iterable[Sequence[str]]) -> Iterator[list[str]]:
        """Translates documents as they come; see `translate_lines`.

        Args:
            documents: the segments of each.

        Yields:
            For each document, the translations of its segments.
        """
        sizes: deque[int] = deque()

        def lines():
            for number, segments in enumerate(documents):
                sizes.append(len(segments))
                yield from (DocumentLine(number, segment) for segment in segments)
                # Ends the document, even if it has no segments.
                yield DocumentLine(None, "")

        found: list[str] = []
        for hypothesis in self.translate_lines(lines()):
            if len(found) == sizes[0]:
                yield found
                sizes.popleft()
                found = []
            else:
                found.append(hypothesis.text)

    def translate_lines(
        self, lines: Iterable[DocumentLine], watch: Callable[[dict], None] | None = None, whole: bool = False
    ) -> Iterator[Hypothesis]:
        """Translates lines as they come.

        It waits for a line only to fill a window: lines that a `DocumentLines` has ready are translated first. An error
        in the input is raised after the translations of all lines before it.

        Args:
            lines: the lines of the documents.
            watch: called for each segment with how the memory was used, see `app.translation.inspection`, before the
                translation of its line is yielded.
            whole: whether all lines are read before any is translated, so that the first of a document can read
                corrections that come late in it.

        Yields:
            One translation for each line, with its search score.
        """
        return iter(Flow(self, lines, watch, whole))

    def session(self, state: Path | str | None = None) -> "Session":
        """One document being translated and corrected, see `app.translation.session.Session`; `state` is a file that
        `Session.save` wrote, to continue from.
        """
        from app.translation.session import Session

        return Session.load(self, state) if state else Session(self)

    def score(self, documents: Sequence[Sequence[tuple[str, str]]], scored: str = "all") -> list[list[TokenScore]]:
        """How likely the model finds given translations in their documents.

        Args:
            documents: for each, the pairs of segment and translation; each pair is context for those after it. A pair
                of two empty strings is not a segment and gets a score of 0 tokens.
            scored: "all" segments, or only the "last" of each document, with the others as its context.

        Returns:
            For each document, the scores of its scored segments, in nats.

        Raises:
            UserError: for a segment of more tokens than the model has positions for.
        """
        pairs = self._encode(documents)
        firsts = [max(len(own) - 1, 0) if scored == "last" else 0 for own in pairs]
        given = [
            [Given(*pair, place >= first) for place, pair in enumerate(own) if any(pair)]
            for own, first in zip(pairs, firsts, strict=True)
        ]
        found = map(iter, score_given(self.decoder, self.windows, given))
        return [
            [next(scores) if any(pair) else TokenScore(0.0, 0) for pair in own[first:]]
            for own, first, scores in zip(pairs, firsts, found, strict=True)
        ]

    @property
    def reads(self) -> bool:
        """Whether trusted segments are read, see `models.memories.retrieval`."""
        return self.decoder.retrieval is not None and self.decoder.retrieval.weight > 0

    def use(self, memory: "TranslationMemory") -> None:
        """Reads a translation memory from now on."""
        self.memory = memory
        if memory.index:
            self.decoder.read_index(memory.index.nearest)

    def offers(self, line: str, least: float) -> "list[Offer]":
        """What the translation memory has for a line, see `TranslationMemory.offers`; nothing without one."""
        return self.memory.offers(line, least) if self.memory else []

    def match(self, line: str) -> str | None:
        """The stored translation that is taken for a line, the best of those at least `fuzzy` similar; None without."""
        if self.fuzzy is None:
            return None
        return next((offer.text for offer in self.offers(line, self.fuzzy)), None)

    def stored(self, text: str, store: SegmentStore | None = None) -> Callable[[], Entries] | None:
        """What the translation of a segment may read: trusted segments of its document, and of the memory.

        Args:
            text: the segment, with its spans as pieces.
            store: the trusted segments of its document.

        Returns:
            A function that gives the entries when they are needed; None for nothing.
        """
        memory, segments = self.memory, store if store else None
        if not self.reads or not (memory or segments):
            return None

        def entries():
            count, most = self.decoder.retrieval.segments, self.decoder.retrieval.entries
            own = segments.entries(segments.similar(text, count, most), most) if segments else NOTHING
            room = most - len(own.tokens)
            return concatenated([own, memory.entries(text, room)]) if memory and room > 0 else own

        return entries

    def use_glossary(self, glossary: Glossary, warn: Callable[[str], None] | None = None) -> None:
        """Translates the terms of a glossary as it says, and warns of those that it cannot enforce; raises a UserError
        if the engine takes no glossary.
        """
        if self.decoder.words is None:
            raise UserError("only the engine keras takes a glossary: leave out --engine")
        self._terms = TermEncoder(glossary, self.tokenizer, self.form)
        if warn:
            self._terms.check(warn)

    def terms(self, source: Source) -> Sequence[Forms]:
        """The terms that the translation of a segment must contain."""
        return self._terms.terms(source.text, source.spans) if self._terms else ()

    @property
    def lowercase(self) -> bool:
        """Whether the model knows only lower-cased text."""
        return self.form.lowercase

    @property
    def span_ids(self) -> range:
        """The ids of the numbered pieces that stand for what is copied."""
        return _span_ids(self.tokenizer)

    @property
    def output_tokens(self) -> int:
        """How many tokens have been decoded so far, end tokens included."""
        return self.decoder.output_tokens

    @property
    def independent(self) -> bool:
        """Whether windows do not depend on each other, so that those of a document can be decoded side by side."""
        return not (self.windows.sliding or self.decoder.remembers or (self.reads and self.decoder.retrieval.own > 0))

    def search(
        self, requests: Sequence[Request], count: int = 1, progress: Callable[[list[int]], None] | None = None
    ) -> list[list[Decoded]]:
        """The best outputs of each segment, as `Decoder.decode_segments` finds them; outputs that loop or miss a copy
        are replaced, see `app.translation.faults.choose`.
        """
        most, found = self.decoder.most, self.decoder.decode_segments(requests, count, progress)

        def again(rows: list[int]) -> list[list[Decoded]]:
            return self.decoder.decode_segments([requests[row] for row in rows], most)

        sources = [request.sources[request.current] for request in requests]
        more = again if most > count else None
        return choose(found, sources, self.span_ids, more, self.decoder.search.refuse_loops)

    def _translate_chunk(
        self, lines: Sequence[str], count: int, number: int, progress: Callable[[float], None] | None = None
    ) -> list[list[Hypothesis]]:
        """Translates some lines of the input, the first of which is line `number`."""
        encoded = [
            EncodedLine([], match) if (match := self.match(line)) else own
            for line, own in zip(lines, self.encoder.lines(lines, number), strict=True)
        ]
        parts = [part for line in encoded for part in line.parts]
        memory, report = self.decoder.first_memory, progress and Share([len(part.ids) for part in parts], progress)
        requests = [
            Request([part.ids], [], 0, memory, self.stored(part.source.text), self.terms(part.source)) for part in parts
        ]
        decoded = iter(self._texts(parts, self.search(requests, count, report)))
        return [_join([next(decoded) for _ in line.parts], line.unchanged) for line in encoded]

    def _texts(self, parts: list[Part], decoded: list[list[Decoded]]) -> list[list[Hypothesis]]:
        owners = (part for part, group in zip(parts, decoded, strict=True) for _ in group)
        texts = iter(self.encoder.texts(owners, [found.ids for group in decoded for found in group]))
        return [[Hypothesis(next(texts), found.score) for found in group] for group in decoded]

    def _encode(self, documents: Sequence[Sequence[tuple[str, str]]]) -> list[list[tuple[list[int], list[int]]]]:
        flat = [pair for document in documents for pair in document]
        sides = self.encoder.pairs(*([pair[side] for pair in flat] for side in (0, 1)))
        most = self.decoder.max_positions
        pairs = list(zip(*sides, strict=True))
        for ids, texts in zip(pairs, flat, strict=True) if most else ():
            if max(map(len, ids)) >= most:
                raise UserError(f'more tokens than the {most - 1} that the model has positions for: "{texts[0][:60]}"')
        rest = iter(pairs)
        return [[next(rest) for _ in document] for document in documents]


def _span_ids(tokenizer: Any) -> range:
    """The ids of the numbered pieces; a tokenizer without any need not know of them."""
    return getattr(tokenizer, "span_ids", range(0))


def _join(parts: list[list[Hypothesis]], unchanged: str) -> list[Hypothesis]:
    """Makes the translations of a line from those of its parts."""
    if not parts:
        return [Hypothesis(unchanged, 0.0)]
    count = min(map(len, parts))
    ranks = [[part[rank] for part in parts] for rank in range(count)] or [[Hypothesis("", 0.0)]]
    return [Hypothesis(" ".join(h.text for h in rank if h.text), sum(h.score for h in rank)) for rank in ranks]
