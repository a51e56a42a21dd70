"""What a model looked at in a sentence while it wrote the translation, and the word alignment from that; for plots."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data.cleaning import normalise
from data.errors import UserError
from data.subwords import SPACE

if TYPE_CHECKING:
    from app.translation.translator import Translator

END = "(end)"
_BYTES = re.compile("(<0x[0-9A-F]{2}>)+")


@dataclass(frozen=True)
class Attention:
    """How the pieces of a translation attend to those of their source, both with the end token.

    Args:
        source, target: the S and T pieces, as the vocabulary writes them; a span is shown by its own text.
        weights: (L, H, T, S); each row sums to 1 and belongs to the step that wrote its piece.
        translation: the text.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    weights: np.ndarray
    translation: str

    def alignment(self) -> tuple[list[str], list[str], np.ndarray]:
        """A soft alignment of words: the mean over heads in the layer before the last, if there is one.

        Attention is added up over the pieces of a source word and averaged over those of a target word.

        Returns:
            The source words and `END`, the target words, and (target words, source words + 1): the share of its
            attention that each target word gives to each source word.

        References:
            Garg et al. 2019, "Jointly Learning to Align and Translate with Transformer Models", section 4.1,
            https://aclanthology.org/D19-1453 (the layer before the last aligns best)
        """
        layer = max(0, len(self.weights) - 2)
        sources, targets = pieces_by_word(self.source[:-1]), pieces_by_word(self.target[:-1])
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
    encoder, tokenizer, most = translator.encoder, translator.tokenizer, translator.decoder.max_positions
    form = translator.form.source(normalise(sentence))
    (alone,) = tokenizer.source.encode([form.text])
    if not alone:
        raise UserError(f'"{sentence}": there is nothing to translate in this sentence; give another')
    if len(alone) > translator.max_length:
        raise UserError(
            f"the sentence has {len(alone):,} tokens, and the model takes {translator.max_length:,}; give a shorter one"
        )
    text = next(translator.translate([sentence])) if translation is None else translation
    (source,), (target,) = encoder.pairs([sentence], [text])
    if not target:
        raise UserError(f'"{sentence}": its translation is empty; give another')
    if most and max(len(source), len(target)) >= most:
        raise UserError(
            f"the translation has {len(target):,} tokens, and the model takes {most - 1:,}; give a shorter one"
        )
    # What the numbered pieces stand for, if all spans of the sentence have one.
    spans = dict(zip(translator.span_ids, form.spans, strict=False)) if alone == source else {}

    def pieces(ids: Sequence[int]) -> tuple[str, ...]:
        return (*(spans[id].text if id in spans else tokenizer.piece(id) for id in ids), END)

    return Attention(pieces(source), pieces(target), translator.decoder.attend(source, target), text)


def pieces_by_word(pieces: Sequence[str]) -> dict[int, list[int]]:
    """The places of each word's pieces, by the place of its first piece; a word begins at a space."""
    found: dict[int, list[int]] = {}
    first = 0
    for place, piece in enumerate(pieces):
        first = place if piece.startswith(SPACE) else first
        found.setdefault(first, []).append(place)
    return found


def _texts(pieces: Sequence[str], words: dict[int, list[int]]) -> list[str]:
    joined = ("".join(pieces[place] for place in group).replace(SPACE, "") for group in words.values())
    return [_BYTES.sub(_from_bytes, text) or SPACE for text in joined]


def _from_bytes(match: re.Match) -> str:
    """The letters that pieces of single bytes spell."""
    return bytes.fromhex(match[0].replace("<0x", "").replace(">", "")).decode("utf-8", "replace")
