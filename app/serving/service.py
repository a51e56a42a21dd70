"""What the server does with texts for every API: translates them in batches, with context and glossaries."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.formats.base import FileDocument
from app.formats.markup import Block, Tags, read_markup, written
from app.formats.translation import translate_document
from app.serving.batches import BatchedDecoder, Batches
from app.serving.limits import Limits, RefusedError
from app.translation.lines import DocumentLine
from app.translation.pieces import PieceTranslator
from app.translation.sentences import cut_text
from app.translation.session import Session
from app.translation.text import LineEncoder
from app.translation.translator import Translator
from data.language import LanguageJudge
from data.packing import PackedWindow
from data.terms import Glossary
from data.windows import BACKWARD, FORWARD, cut

LANGUAGES = {"en": "English", "de": "German"}


@dataclass(frozen=True)
class Wishes:
    """How texts are translated.

    Args:
        tags: the tags of texts with markup; None for plain text.
        sentences, lines: see `app.translation.sentences.cut_text`.
        context: text before each of the texts; it is read into the model's memory and not translated.
        glossary: says how its terms are translated.
        alternatives: how many more translations of each text, if it has no markup.
    """

    tags: Tags | None = None
    sentences: bool = True
    lines: bool = True
    context: str = ""
    glossary: Glossary | None = None
    alternatives: int = 0


class Translated(NamedTuple):
    """A text's translation, and alternatives to it, the likeliest first."""

    text: str
    alternatives: list[str]


class Service:
    """Translates for many users with one model.

    Args:
        translator: the model's translator; from now on only this service may use it.
        source, target: the model's languages.
        limits: the server's limits.
        observe: see `Batches`.
    """

    def __init__(
        self,
        translator: Translator,
        source: str = "en",
        target: str = "de",
        limits: Limits | None = None,
        observe: Callable[[str, int, float], None] = lambda *_: None,
    ):
        self.source, self.target, self.limits = source, target, limits or Limits()
        self.batches = Batches(translator.decoder, observe=observe)
        self.takes_glossaries = translator.decoder.words is not None
        self.most = translator.decoder.most
        self._translator = copy.copy(translator)
        # The operator need not know about long lines.
        self._translator.encoder = LineEncoder(
            translator.tokenizer, translator.form, translator.max_length, warn=lambda _: None
        )
        self._judge = LanguageJudge(source, target)

    @property
    def opens_documents(self) -> bool:
        """Whether a document can be translated before its end is known."""
        return self._translator.windows.order != BACKWARD

    def translator(self, until: float | None = None, glossary: Glossary | None = None, context: str = "") -> Translator:
        """A translator for one request or document.

        Args:
            until: when to give up, by `time.monotonic()`; None for never.
            glossary: the terms; None for those that the server was started with.
            context: the text that its documents come after.
        """
        own = copy.copy(self._translator)
        own.decoder = BatchedDecoder(self.batches, until)
        if glossary:
            own.use_glossary(glossary)
        if context and own.decoder.remembers:
            own.decoder = BatchedDecoder(self.batches, until, _memory_after(own, cut_text(context).segments))
        return own

    def translate(self, texts: Sequence[str], wishes: Wishes, until: float | None = None) -> list[Translated]:
        """Translates texts, each on its own; a model with a memory reads each of them as a document.

        Args:
            texts: what to translate.
            wishes: how to translate it.
            until: when to give up, by `time.monotonic()`; None for never.

        Raises:
            OverdueError: it would take longer.
        """
        translator = self.translator(until, wishes.glossary, wishes.context)
        best = self._translate(translator, texts, wishes)
        if not wishes.alternatives or wishes.tags:
            return [Translated(text, []) for text in best]
        more = self._translate_ways(translator, texts, wishes)
        return [
            Translated(text, [other for other in dict.fromkeys(ways) if other != text][: wishes.alternatives])
            for text, ways in zip(best, more, strict=True)
        ]

    def stream(self, segments: Sequence[str], wishes: Wishes, until: float | None = None) -> Iterator[str]:
        """Like `translate`, for the segments of one plain text; yields each translation as soon as it is ready."""
        translator = self.translator(until, wishes.glossary, wishes.context)
        found = translator.translate_lines(DocumentLine(1, segment) for segment in segments)
        yield from (hypothesis.text for hypothesis in found)

    def translate_file(
        self, document: FileDocument, name: str, glossary: Glossary | None, progress: Callable[[int, int], None]
    ) -> bytes:
        """Translates a file, however long that takes; see `translate_document`."""
        return translate_document(document, name, self.translator(None, glossary), progress)

    def refuse_foreign(self, texts: Sequence[str]) -> None:
        """Refuses text that is clearly not in the model's language; for requests that do not name their language."""
        if any(self._judge.is_foreign(text) for text in texts):
            raise RefusedError(
                400, f"the text is not in {LANGUAGES.get(self.source, self.source)}, the language that is translated"
            )

    def warm_up(self) -> None:
        """Does everything once, so that the first user does not wait for the model to be compiled."""
        self.translate(["One. Two."], Wishes(context="Before."))
        if self.opens_documents:
            session = Session(self.translator())
            session.push(["One.", "Two."])
            session.correct(1, "Eins.")

    def stop(self) -> None:
        """Finishes what is being translated, and takes nothing new."""
        self.batches.stop()

    def _translate(self, translator: Translator, texts: Sequence[str], wishes: Wishes) -> list[str]:
        pieces = PieceTranslator(translator, wishes.sentences, wishes.lines)
        if not wishes.tags:
            cuts = [cut_text(text, wishes.sentences, wishes.lines) for text in texts]
            return pieces.translate_cuts([(number, cut, None) for number, cut in enumerate(cuts)])
        read = [read_markup(text, wishes.tags) for text in texts]
        blocks = [[part.piece for part in own if isinstance(part, Block)] for own in read]
        found = iter([parts for own in pieces.translate(blocks) for parts in own])
        return ["".join(part if isinstance(part, str) else written(next(found)) for part in own) for own in read]

    def _translate_ways(self, translator: Translator, texts: Sequence[str], wishes: Wishes) -> list[list[str]]:
        """Several translations of each text; each segment is translated alone."""
        cuts = [cut_text(text, wishes.sentences, wishes.lines) for text in texts]
        # Always as many as possible: each other number would have to be compiled.
        found = iter(list(translator.nbest([segment for own in cuts for segment in own.segments], self.most)))
        ways = []
        for own in cuts:
            groups = [next(found) for _ in own.segments]
            # A segment without letters, or found in a translation memory, has one translation.
            most = max(map(len, groups), default=0)
            ranked = [[group[min(rank, len(group) - 1)].text for group in groups] for rank in range(most)]
            ways.append([own.joined(texts) for texts in ranked])
        return ways


def _memory_after(translator: Translator, segments: Sequence[str]) -> dict | None:
    """The memory of a document after segments that are read and not translated."""
    parts = [part.ids for line in translator.encoder.lines(segments) for part in line.parts]
    memory, options = translator.decoder.first_memory, translator.windows
    if memory is None or not parts or options.order != FORWARD:
        return memory
    for number, (_, current, end) in enumerate(cut([len(ids) for ids in parts], options).tolist()):
        window = PackedWindow(parts[current:end], [], 0, reset=number == 0)
        (memory,) = translator.decoder.remember([window], [memory])
    return memory
