"""What a model looked at in a sentence while it wrote the translation, and the alignment that follows; for plots."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data.cleaning import normalise
from data.errors import UserError
from data.tokenizer import SPACE

if TYPE_CHECKING:
    from app.translation.translator import Translator

END = "(end)"


@dataclass(frozen=True)
class Attention:
    """How the pieces of a translation attend to those of their source, both with the end token.

    Args:
        source, target: the S and T pieces, as they are written in the vocabulary; a span has its own text.
        weights: (L, H, T, S); each row sums to 1 and belongs to the step that wrote its piece.
        translation: the text.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    weights: np.ndarray
    translation: str

    def alignment(self) -> tuple[list[str], list[str], np.ndarray]:
        """A soft alignment of words: the mean over heads in the layer before the last, where there is one.

        Attention is added up over the pieces of a source word and averaged over those of a target word.

        Returns:
            The words of the source and `END`, those of the target, and (words, words + 1): what part of the attention
            each target word gives to each source word.

        References:
            Garg et al. 2019, "Jointly Learning to Align and Translate with Transformer Models", section 4.1,
            https://aclanthology.org/D19-1453 (the layer before the last aligns best)
        """
        layer = max(0, len(self.weights) - 2)
        sources, targets = words_of(self.source[:-1]), words_of(self.target[:-1])
        weights = self.weights[layer].mean(axis=0)[:-1]
        summed = [weights[:, group].sum(axis=1) for group in [*sources.values(), [len(self.source) - 1]]]
        found = np.stack(summed, axis=1)
        found = np.stack([found[group].mean(axis=0) for group in targets.values()])
        return [*_texts(self.source, sources), END], _texts(self.target, targets), found


def attend(translator: "Translator", sentence: str, translation: str | None = None) -> Attention:
    """Reads how the model attends to a sentence.

    Args:
        translator: with the engine keras.
        sentence: one segment.
        translation: of the sentence; the model's own by default.

    Raises:
        UserError: there is nothing to translate, or it is longer than the model takes.
    """
    encoder, tokenizer = translator.encoder, translator.tokenizer
    if not encoder.lines([sentence])[0].parts:
        raise UserError(f'"{sentence}": there is nothing to translate in this sentence; give another')
    text = next(translator.translate([sentence])) if translation is None else translation
    (source,), (target,) = encoder.pairs([sentence], [text])
    longest, most = translator.max_length, translator.decoder.max_positions
    if len(source) > longest or (most and max(len(source), len(target)) >= most):
        raise UserError(f"the sentence has {len(source):,} tokens, and the model takes {longest:,}; give a shorter one")
    if not target:
        raise UserError(f'"{sentence}": its translation is empty; give another sentence')
    spans = _spans(translator, sentence, source)
    sides = (tuple(spans.get(id, tokenizer.piece(id)) for id in ids) for ids in (source, target))
    return Attention(*((*pieces, END) for pieces in sides), translator.decoder.attend(source, target), text)


def words_of(pieces: Sequence[str]) -> dict[int, list[int]]:
    """The pieces of each word, by the place of its first: a word begins at a space."""
    found: dict[int, list[int]] = {}
    first = 0
    for place, piece in enumerate(pieces):
        first = place if piece.startswith(SPACE) else first
        found.setdefault(first, []).append(place)
    return found


def _texts(pieces: Sequence[str], words: dict[int, list[int]]) -> list[str]:
    return ["".join(pieces[place] for place in group).replace(SPACE, "") or SPACE for group in words.values()]


def _spans(translator: "Translator", sentence: str, ids: Sequence[int]) -> dict[int, str]:
    """The texts of the numbered pieces, where all spans of a sentence have one."""
    source = translator.form.source(normalise(sentence))
    if translator.tokenizer.encode([source.text])[0] != list(ids):
        return {}
    return dict(zip(translator.span_ids, (span.text for span in source.spans), strict=False))
