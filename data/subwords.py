"""Turns text into the ids of subwords and back, with one SentencePiece model."""

import codecs
import functools
import hashlib
import itertools
import re
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import sentencepiece

from data.errors import UserError
from data.spans import PIECES, piece

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = (PAD, UNK, BOS, EOS)
SPACE = "\u2581"

# How a real U+2581 begins inside a model, see `data.tokenizer`; no normalised text contains it.
_ESCAPE = "\ufdd0"
_SURROGATES = re.compile("[\ud800-\udfff]")
_seed_lock = threading.Lock()


class Subwords:
    """A SentencePiece model with the ids pad=0, unk=1, bos=2, eos=3.

    The object can be pickled.

    Args:
        proto: bytes, the serialised SentencePiece model.

    Raises:
        UserError: `proto` is not such a model, or has other special ids.

    References:
        - Kudo and Richardson 2018, SentencePiece, https://arxiv.org/abs/1808.06226
    """

    def __init__(self, proto: bytes):
        self.proto = bytes(proto)
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            # An empty string would count as loaded.
            loaded = bool(self.proto) and self._processor.LoadFromSerializedProto(self.proto)
        except RuntimeError:
            loaded = False
        if not loaded:
            raise UserError("the tokenizer is not a complete SentencePiece model")
        ids = tuple(getattr(self._processor, name)() for name in ("pad_id", "unk_id", "bos_id", "eos_id"))
        if ids != SPECIALS:
            raise UserError(f"the tokenizer has (pad, unk, bos, eos) = {ids} where {SPECIALS} is expected")

    def __reduce__(self):
        return Subwords, (self.proto,)

    @property
    def vocabulary_size(self) -> int:
        """Number of pieces, specials included."""
        return self._processor.get_piece_size()

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the model."""
        return hashlib.sha256(self.proto).hexdigest()

    @functools.cached_property
    def span_ids(self) -> range:
        """The ids of the numbered pieces of `data.spans`; none in a vocabulary without them."""
        first = self._processor.piece_to_id(piece(1))
        return range(0) if first == UNK else range(first, first + PIECES)

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Turns texts into ids, without BOS and EOS, by the most probable segmentation."""
        return self._processor.encode(_checked(texts), num_threads=1)

    def encode_sampled(self, texts: list[str], alpha: float, seed: int) -> list[list[int]]:
        """Turns texts into ids by randomly drawn segmentations: subword regularisation.

        The same texts, alpha and seed give the same ids in any thread or process.

        Args:
            texts: segments.
            alpha: for a unigram model the smoothing of the distribution that is drawn from (0.1 to 0.5 is usual; the
                smaller, the more varied); for BPE the share of merges left out (0.1 is usual). 0 means no sampling.
            seed: any integer.

        Returns:
            One list of ids per text; they decode to the same text.

        References:
            - Kudo 2018, Subword Regularization, https://arxiv.org/abs/1804.10959
            - Provilkov et al. 2020, BPE-Dropout, https://arxiv.org/abs/1910.13267
        """
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha = {alpha} is not between 0 and 1")
        if alpha == 0:
            return self.encode(texts)
        texts = _checked(texts)
        # A call for a list starts a thread, in which the library makes its generator from one global seed; with one
        # thread per call the draws depend on that seed alone. The largest seed would mean "use the clock".
        with _seed_lock:
            sentencepiece.set_random_generator_seed(seed % 0xFFFFFFFF)
            return self._processor.encode(texts, num_threads=1, enable_sampling=True, alpha=alpha, nbest_size=-1)

    def decode(self, ids: Iterable[Iterable[int]]) -> list[str]:
        """Turns ids into texts; pad, unk, bos and eos are left out, and bytes that are not UTF-8 become U+FFFD.

        Raises:
            IndexError: an id is outside the vocabulary.
        """
        rows = [[int(id) for id in row if int(id) not in SPECIALS] for row in ids]
        return self._processor.decode(rows, num_threads=1) if rows else []

    def decode_beginning(self, ids: Sequence[int]) -> str:
        """The text of ids that more will follow, without a last character some of whose bytes are still to come.

        So the text of more ids begins with the text of fewer.
        """
        spelled = itertools.takewhile(self._processor.is_byte, map(int, reversed(ids)))
        end = bytes(int(self.piece(id)[1:-1], 16) for id in spelled)[::-1]  # <0xE2> is a byte
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(end)
        unfinished, _ = decoder.getstate()
        return self.decode([ids[: len(ids) - len(unfinished)]])[0].removesuffix(_ESCAPE)

    def piece(self, id: int) -> str:
        """The piece of an id; it begins with "\u2581" where a word begins."""
        return self._processor.id_to_piece(int(id))

    def pieces(self) -> list[str]:
        """All pieces, in the order of their ids."""
        return self._processor.id_to_piece(list(range(self.vocabulary_size)))

    def graph_tokenizer(self) -> Any:
        """The same model as an operation inside a TensorFlow graph.

        Returns:
            A `tensorflow_text.SentencepieceTokenizer`: `tokenize` maps strings `(B,)` to a ragged int32 tensor of the
            ids that `encode` gives, `detokenize` maps ids to strings. Unlike `decode` it drops spaces at the very
            beginning of a text; normalised text has none.
        """
        import tensorflow as tf
        import tensorflow_text

        return tensorflow_text.SentencepieceTokenizer(model=self.proto, out_type=tf.int32)


def _checked(texts: list[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError("a list of texts is expected, not one text")
    # Half of a surrogate pair is not a character; it can only come from a damaged file or command line.
    return [text if text.isprintable() else _SURROGATES.sub("\ufffd", text) for text in texts]
