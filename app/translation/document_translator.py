"""Translates documents: what was read and written before is remembered; streamed, one segment out for each in."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from app.presets.schema import SearchPreset
from app.training.preparation import window_options
from app.translation.decoded import TokenScore
from app.translation.document_decoding import DocumentDecoding
from app.translation.document_lines import DocumentLine
from app.translation.flow import Flow
from app.translation.forced import Given, score_documents
from app.translation.line_encoder import LineEncoder
from app.translation.translator import Hypothesis
from data.errors import UserError
from data.tokenizer import Tokenizer
from data.windows import WindowOptions

ALONE = WindowOptions("segments", size=1)


class DocumentTranslator:
    """Turns the segments of documents into their translations.

    One segment in is one segment out, in the same order. A document is read window by window, and a model with a memory
    carries it from each window to the next; the segments of a window are decoded one by one, each after the outputs
    before it. Documents are decoded side by side, which changes none of them. Empty segments stay empty and are none to
    the model. Those of more than `max_length` tokens are split as `Translator` does it, and their parts are segments.

    Of a document that is being read only the memory, the last window and a bounded number of lines ahead are kept, so
    that its length costs neither room nor speed.

    Args:
        model: see `app.translation.document_decoding.DocumentDecoding`.
        tokenizer: of the model.
        search: how translations are looked for.
        options: how documents are cut into windows. A model without documents can only be given segments alone.
        lowercase: whether the model knows lower-case text only.
        max_length: tokens of the longest segment that the model can take.
        warn: is told, once, about segments that are too long; by default standard error is.

    Example:
        >>> translator = DocumentTranslator.of_run(Run.open("runs/documents"))
        >>> for document in translator.translate([["A dog barks.", "It is big."], ["Good evening."]]):
        ...     print(document)
    """

    def __init__(
        self,
        model,
        tokenizer: Tokenizer,
        search: SearchPreset | None = None,
        options: WindowOptions = ALONE,
        lowercase: bool = False,
        max_length: int = 256,
        warn: Callable[[str], None] | None = None,
    ):
        segments = options.size if options.windows == "segments" else 1
        self.tokenizer, self.options = tokenizer, options
        self.decoding = DocumentDecoding(model, search or SearchPreset(), segments)
        self.max_length = min(max_length, (self.decoding.max_positions or max_length + 1) - 1)
        self.encoder = LineEncoder(tokenizer, lowercase, self.max_length, warn)

    @classmethod
    def of_run(
        cls,
        run,
        checkpoint: str = "auto",
        search: SearchPreset | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> "DocumentTranslator":
        """The translator of a run; one that was not trained on documents translates each segment alone.

        Args:
            run: an `app.runs.run.Run`.
            checkpoint: which weights, see `Run.weights_file`.
            search: instead of that of the run's preset.
            warn: see the class.
        """
        data, search = run.preset.data, search or run.preset.search
        options = window_options(run.preset) if run.preset.documents.windows != "off" else ALONE
        model = run.load_model(checkpoint, decoding=True)
        return cls(model, run.tokenizer(), search, options, data.lowercase, data.max_length, warn)

    def translate(self, documents: Iterable[Sequence[str]]) -> Iterator[list[str]]:
        """Translates documents as they come; see `translate_lines`.

        Args:
            documents: for each its segments.

        Yields:
            For each document as many translations.
        """
        sizes: deque[int] = deque()

        def lines():
            for number, segments in enumerate(documents):
                sizes.append(len(segments))
                yield from (DocumentLine(number, segment) for segment in segments)
                # Ends the document, and stands for those without segments.
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
        self, lines: Iterable[DocumentLine], watch: Callable[[dict], None] | None = None
    ) -> Iterator[Hypothesis]:
        """Translates lines as they come.

        No line is waited for but to fill a window: what a `DocumentLines` has ready is translated before. An error in
        the input is raised after the translations of all lines before it.

        Args:
            lines: the lines of the documents.
            watch: is told how the memory was used for each segment, see `app.translation.look.look_at`, before the
                translation of its line comes out.

        Yields:
            One translation for each line, with the search's score.
        """
        return iter(Flow(self, lines, watch))

    def score(self, documents: Sequence[Sequence[tuple[str, str]]], scored: str = "all") -> list[list[TokenScore]]:
        """How likely the model finds given translations in their documents.

        Args:
            documents: for each its segments with their translations, which are the context of those after them. A pair
                of two empty ones is no segment and gets a score of 0 tokens.
            scored: "all" segments, or the "last" of each document, before which the others are context.

        Returns:
            For each document the scores of its scored segments, in nats.

        Raises:
            UserError: for a segment of more tokens than the model has positions for.
        """
        pairs = self._encode(documents)
        firsts = [max(len(own) - 1, 0) if scored == "last" else 0 for own in pairs]
        given = [
            [Given(*pair, place >= first) for place, pair in enumerate(own) if any(pair)]
            for own, first in zip(pairs, firsts, strict=True)
        ]
        found = map(iter, score_documents(self.decoding, self.options, given))
        return [
            [next(scores) if any(pair) else TokenScore(0.0, 0) for pair in own[first:]]
            for own, first, scores in zip(pairs, firsts, found, strict=True)
        ]

    @property
    def output_tokens(self) -> int:
        """How many tokens have been decoded so far, end tokens included."""
        return self.decoding.output_tokens

    @property
    def independent(self) -> bool:
        """Whether windows have nothing to do with each other, so that those of a document need not wait."""
        return not self.options.sliding and not self.decoding.remembers

    def _encode(self, documents: Sequence[Sequence[tuple[str, str]]]) -> list[list[tuple[list[int], list[int]]]]:
        flat = [pair for document in documents for pair in document]
        sides = (self.encoder.whole([pair[side] for pair in flat]) for side in (0, 1))
        most = self.decoding.max_positions
        pairs = list(zip(*sides, strict=True))
        for ids, texts in zip(pairs, flat, strict=True) if most else ():
            if max(map(len, ids)) >= most:
                raise UserError(f'more tokens than the {most - 1} that the model has positions for: "{texts[0][:60]}"')
        rest = iter(pairs)
        return [[next(rest) for _ in document] for document in documents]
