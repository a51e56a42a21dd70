"""A translation memory: pairs from a file, whose entries and texts may be read in translation."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.retrieval.entries import NOTHING, Entries
from app.retrieval.index import Index, build_index
from app.retrieval.matches import best_matches
from app.retrieval.store import Store, build_store
from app.terminal import PairsBar, progress_console
from app.translation.lines import one_line
from data.bitexts.opening import open_bitext
from data.cleaning import normalise
from data.files import checksum
from data.spans import PIECE_KIND, Source, Span, is_whole, piece

if TYPE_CHECKING:
    from app.runs.run import Run
    from app.translation.translator import Translator

FOLDER = "memories"
# How many segments are compared word by word with a source.
_COMPARED = 32


class Offer(NamedTuple):
    """A stored translation of a similar source, as translation memories offer it.

    Fields:
        similarity: 0 to 1; 1 if the sources differ only in what is copied, such as numbers.
        source: the stored source, with its spans as numbered pieces.
        text: the stored translation, with the copied spans of the new source.
    """

    similarity: float
    source: str
    text: str


class TranslationMemory:
    """The segments of a store, for one translator.

    Args:
        translator: a `Translator`.
        store: the segments.
        name: its name in results.
    """

    def __init__(self, translator: "Translator", store: Store, name: str):
        self.translator, self.store, self.name = translator, store, name
        self.index: Index | None = None
        if (kind := translator.decoder.retrieval.index) != "segments":
            with PairsBar(progress_console(), f"indexing {name}", store.size) as bar:
                self.index = build_index(store, kind, bar)

    def entries(self, text: str, most: int) -> Entries:
        """What the translation of a text, with its spans as pieces, may read; at most `most` entries.

        Nothing if the search reads an index.
        """
        if self.index:
            return NOTHING
        return self.store.entries(self.store.similar(text, self.translator.decoder.retrieval.segments), most)

    def offers(self, line: str, least: float) -> list[Offer]:
        """The stored translations of sources that are similar to a line, the most similar first.

        Args:
            line: a segment.
            least: the lowest similarity, 0 to 1.
        """
        form = self.translator.form
        source = form.source(line)
        if not source.text:
            return []
        candidates = self.store.pairs(self.store.similar(source.text, _COMPARED))
        # Stored pairs have pieces only for spans that are on both sides; a line to translate, for all its spans.
        marked = {number: form.finder.mark(text) for number, text, _ in candidates}
        found = best_matches(source.text, [(number, marked[number].text, to) for number, _, to in candidates], least)
        texts = (_adapted(match.target, marked[match.number].spans, source, form.lowercase) for match in found)
        return [
            Offer(match.similarity, match.source, text)
            for match, text in zip(found, texts, strict=True)
            if text is not None
        ]


def _adapted(target: str, spans: Sequence[Span], source: Source, lowercase: bool) -> str | None:
    """A stored translation with the copied spans of a new source.

    Args:
        target: the stored translation.
        spans: those of the stored source; a numbered piece stands for one that was copied.
        source: the line to translate.
        lowercase: whether stored text is in lower case.

    Returns:
        None if it is not clear which span goes where: the number of spans differs, or a span that was translated in
        some other way than by copying, such as "two", has changed.
    """
    if len(spans) != len(source.spans):
        return None
    pairs = list(zip(spans, source.spans, strict=True))
    copied = [(span.text, own) for span, own in pairs if span.kind == PIECE_KIND]
    if any(span.text != normalise(own.text, lowercase) for span, own in pairs if span.kind != PIECE_KIND):
        return None
    pieces = [piece(number) for number in range(1, len(copied) + 1)]
    if [text for text, _ in copied] != pieces or not is_whole(target, len(copied)):
        return None
    return one_line(source._replace(spans=tuple(own for _, own in copied)).translation(target))


def open_memory(run: "Run", translator: "Translator", path: Path | str) -> TranslationMemory:
    """The translation memory of a file; its entries are computed on first use and kept in the run's folder.

    Args:
        run: the run of the translator.
        translator: a `Translator` whose engine is Keras.
        path: see `data.bitexts.open_bitext`.

    Raises:
        UserError: the file cannot be read or has no pair in the run's languages.
    """
    path = Path(path)
    data, form = run.preset.data, translator.form
    bitext = open_bitext(path, data.source, data.target)
    about = {
        "pairs": checksum(path, 32),
        "weights": run.weights_file(translator.checkpoint)[2],
        "key": run.preset.retrieval.key,
        "form": asdict(form),
        "max_length": translator.max_length,
    }
    sides = ([normalise(side, form.lowercase) for side in (pair.source, pair.target)] for pair in bitext.pairs())
    pairs = (form.pair(*pair) for pair in sides)
    folder = run.path / FOLDER / path.name
    with PairsBar(progress_console(), f"reading {path.name}") as bar:
        store = build_store(folder, pairs, lambda chunk: entries_of(translator, chunk), about, bar)
    return TranslationMemory(translator, store, path.name)


def entries_of(translator: "Translator", pairs: Sequence[tuple[str, str]]) -> list[Entries]:
    """The entries of pairs whose spans are pieces; sides that are too long for the model are cut."""
    most = translator.max_length
    sides = (translator.tokenizer.source, translator.tokenizer.target)
    encoded = (side.encode(list(texts)) for side, texts in zip(sides, zip(*pairs, strict=True), strict=True))
    return translator.decoder.entries(*([ids[:most] for ids in side] for side in encoded))
