"""Pieces of text with tags in them: cut into segments, translated, and put together again with their tags."""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.translation.lines import DocumentLine, one_line
from app.translation.sentences import Cut, cut_text
from app.translation.translator import Translator

_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<[!?][^<>]*>")
# Lines that are translated together if somebody watches the progress, or may cancel.
_CHUNK = 256


class Tag(NamedTuple):
    """Something within a sentence that is kept.

    Fields:
        shown: as a model that copies tags reads it: "<b>", "</b>" or "<x3/>". In any other form it is no tag to it.
        content: what is put back in its place.
    """

    shown: str
    content: Any = None


Part = str | Tag


@dataclass(frozen=True)
class Piece:
    """A stretch of text to translate, such as a paragraph.

    Args:
        parts: texts and tags in order.
        known: its translation, if a person has given it already. Memories hold it, and it is not translated.
    """

    parts: tuple[Part, ...]
    known: str | None = None

    @property
    def tags(self) -> list[Tag]:
        """The tags in order."""
        return [part for part in self.parts if isinstance(part, Tag)]

    @property
    def texts(self) -> list[str]:
        """The texts between the tags."""
        return [part for part in self.parts if isinstance(part, str)]

    @property
    def shown(self) -> str:
        """As the model reads it, with its tags; if it has any, other signs that could be taken for tags are escaped."""
        if not self.tags:
            return "".join(self.texts)
        return "".join(part.shown if isinstance(part, Tag) else _without_tags(part) for part in self.parts)


class PieceTranslator:
    """Translates pieces; a model that copies tags sees the tags in a sentence, any other only the texts between them.

    A model that reads documents reads the pieces of each as a document.

    Args:
        translator: translates segments.
        sentences, lines: where pieces are cut, see `cut_text`.
        progress: called with the numbers of segments done and in all; may raise an exception to stop.
    """

    def __init__(
        self,
        translator: Translator,
        sentences: bool = True,
        lines: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ):
        self.translator, self.sentences, self.lines, self.progress = translator, sentences, lines, progress
        self._whole = "tags" in translator.form.copy
        self._done = self._all = 0

    def translate(self, documents: Sequence[Sequence[Piece]]) -> list[list[tuple[Part, ...]]]:
        """The translation of each piece of each document: texts, and each of its tags once."""
        flat = [(number, piece) for number, own in enumerate(documents) for piece in own]
        cuts = [self._cuts(piece) for _, piece in flat]
        numbered = zip(flat, cuts, strict=True)
        texts = iter(self.translate_cuts([(number, cut, p.known) for (number, p), own in numbered for cut in own]))
        found = [self._joined(p, [next(texts) for _ in own]) for (_, p), own in zip(flat, cuts, strict=True)]
        # Pieces whose tags the model has not kept: the texts between the tags are translated instead.
        left = [place for place, parts in enumerate(found) if parts is None]
        again = [(flat[place], text) for place in left for text in flat[place][1].texts]
        rest = iter(self.translate_cuts([(number, self._between(text), None) for (number, _), text in again]))
        for place in left:
            found[place] = _filled(flat[place][1], rest)
        ended = iter(found)
        return [[next(ended) for _ in own] for own in documents]

    def translate_cuts(self, cuts: Sequence[tuple[int, Cut, str | None]]) -> list[str]:
        """The translation of each text.

        Args:
            cuts: for each text, the number of its document, the text cut into segments, and the translation that a
                person has given, if any; such a text must be one segment.
        """
        lines = [DocumentLine(number, segment, known) for number, cut, known in cuts for segment in cut.segments]
        found = self._lines(lines)
        return [cut.joined([next(found) for _ in cut.segments]) for _, cut, _ in cuts]

    def _lines(self, lines: list[DocumentLine]) -> Iterator[str]:
        """The translation of each line."""
        self._all += len(lines)
        self._report(0)
        if reads_documents(self.translator):
            # All of a document reads a person's translations, even the lines before them. And if nobody waits for the
            # first lines, translating all lines together fills the batches better.
            whole = self.progress is None or any(line.correction is not None for line in lines)
            for hypothesis in self.translator.translate_lines(iter(lines), whole=whole):
                self._report(1)
                yield hypothesis.text
            return
        fresh = [line.text for line in lines if line.correction is None]
        size = _CHUNK if self.progress else max(len(fresh), 1)
        chunks = (self._chunk(fresh[start : start + size]) for start in range(0, len(fresh), size))
        translations = (text for chunk in chunks for text in chunk)
        yield from (next(translations) if line.correction is None else line.correction for line in lines)

    def _chunk(self, lines: list[str]) -> list[str]:
        found = self.translator.translate_all(lines)
        self._report(len(lines))
        return found

    def _report(self, count: int) -> None:
        self._done += count
        if self.progress:
            self.progress(self._done, self._all)

    def _cuts(self, piece: Piece) -> list[Cut]:
        """The cuts of a piece to translate: all of it at once, or the texts between its tags."""
        if piece.known is not None:
            return [Cut([one_line("".join(piece.texts))], ["", ""])]
        if not piece.tags or self._as_one(piece):
            return [self._cut(piece.shown)]
        return [self._between(text) for text in piece.texts]

    def _as_one(self, piece: Piece) -> bool:
        """Whether a piece with tags is translated with them; not if it shows what escapes other signs."""
        return self._whole and not any(sign in text for text in piece.texts for sign in ("&lt;", "&gt;"))

    def _between(self, text: str) -> Cut:
        """The cut of a text between tags; punctuation alone is not a segment."""
        return self._cut(text) if any(character.isalnum() for character in text) else Cut([], [text])

    def _cut(self, text: str) -> Cut:
        return cut_text(text, self.sentences, self.lines)

    def _joined(self, piece: Piece, texts: Sequence[str]) -> tuple[Part, ...] | None:
        """A piece's translation, made from those of its cuts; None if tags were lost."""
        if piece.known is not None or not piece.tags:
            return (texts[0],)
        return with_tags(texts[0], piece) if self._as_one(piece) else _filled(piece, iter(texts))


def reads_documents(translator: Translator) -> bool:
    """Whether a translator reads more of a document than the segment that it translates."""
    return translator.decoder.first_memory is not None or translator.reads


def with_tags(translation: str, piece: Piece) -> tuple[Part, ...] | None:
    """The parts of a piece's translation in which the model copied the tags.

    Returns:
        None if the tags are not those of the piece, elements overlap, or one has lost its text.
    """
    shown = _TAG.findall(translation)
    if sorted(shown) != sorted(tag.shown for tag in piece.tags) or _overlap(shown) > _overlap(
        [t.shown for t in piece.tags]
    ):
        return None
    left: dict[str, deque[Tag]] = defaultdict(deque)
    for tag in piece.tags:
        left[tag.shown].append(tag)
    texts = [_with_signs(text) for text in _TAG.split(translation)]
    parts: list[Part] = [texts[0]]
    for name, text in zip(shown, texts[1:], strict=True):
        parts += [left[name].popleft(), text]
    # If the model has put the tags side by side, it is not clear what they enclose.
    return None if _bare(parts) - _bare(piece.parts) else tuple(part for part in parts if part)


def _bare(parts: Sequence[Part]) -> Counter[str]:
    """The number of elements without text, by opening tag."""
    opened: list[str] = []
    bare: Counter[str] = Counter()
    for part in parts:
        if isinstance(part, str):
            opened = [""] * len(opened) if any(character.isalnum() for character in part) else opened
        elif part.shown.startswith("</"):
            bare += Counter([name] if opened and (name := opened.pop()) else [])
        elif not part.shown.endswith("/>"):
            opened.append(part.shown)
    return bare


def _overlap(shown: Sequence[str]) -> int:
    """How many closing tags do not close the element that was opened last."""
    opened, wrong = list[str](), 0
    for tag in shown:
        name = re.split(r"[\s/>]", tag.lstrip("</"), maxsplit=1)[0]
        if tag.startswith("</"):
            if opened and opened[-1] == name:
                opened.pop()
            else:
                wrong += 1
        elif not tag.endswith("/>") and tag[1] not in "!?":
            opened.append(name)
    return wrong


def _filled(piece: Piece, texts: Iterator[str]) -> tuple[Part, ...]:
    """A piece with other texts between its tags."""
    return tuple(part if isinstance(part, Tag) else next(texts) for part in piece.parts)


def _without_tags(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _with_signs(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">")
