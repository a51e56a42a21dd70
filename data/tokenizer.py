"""Subwords: one SentencePiece model for both languages, lossless for any Unicode text."""

import functools
import hashlib
import io
import random
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from data.errors import UserError
from data.files import atomic_write
from data.spans import PIECES, piece

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIALS = (PAD, UNK, BOS, EOS)
KINDS = ("unigram", "bpe")
SPACE = "\u2581"

# SentencePiece writes a space as U+2581 inside its pieces and so cannot tell it from a real U+2581. Its own two rule
# tables mend that: before segmentation U+2581 becomes a pair of noncharacters that no text contains, after joining the
# pair becomes U+2581 again; a noncharacter that a text does contain is doubled. They travel inside the model file, so
# tensorflow-text and every other SentencePiece runtime follow them too.
_ESCAPE = "2581\tFDD0 FDD1\nFDD0\tFDD0 FDD0\n"
_UNESCAPE = "FDD0 FDD1\t2581\nFDD0 FDD0\tFDD0\n"

# The trainer's sums depend on how many threads share them; a fixed number makes every machine train the same model.
_TRAINER_THREADS = 16
_TRAINER_OPTIONS = {
    "pad_id": PAD,
    "unk_id": UNK,
    "bos_id": BOS,
    "eos_id": EOS,
    "byte_fallback": True,
    "split_digits": True,
    "character_coverage": 0.9999,
    "remove_extra_whitespaces": False,
    "add_dummy_prefix": True,
    "max_sentence_length": 1 << 16,
    "num_threads": _TRAINER_THREADS,
    "minloglevel": 2,
}
_SURROGATES = re.compile("[\ud800-\udfff]")
_seed_lock = threading.Lock()


class Tokenizer:
    """A SentencePiece model with the ids pad=0, unk=1, bos=2, eos=3, and bytes for characters it has not seen.

    `decode(encode(texts)) == texts` for any text of Unicode scalar values: spaces, tabs, control characters, emoji and
    SentencePiece's own sign for a space, U+2581, included. Digits are always pieces of their own, which helps a
    translation model to copy numbers. The object can be pickled.

    Args:
        proto: bytes, the serialised SentencePiece model.

    Raises:
        UserError: `proto` is not such a model, or one with other special ids.

    Example:

        tokenizer = Tokenizer.train(lines, vocabulary_size=8000)
        ids = tokenizer.encode(["A small house."])
        tokenizer.decode(ids)  # ["A small house."]

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
            raise UserError("the tokenizer is not a whole SentencePiece model")
        ids = tuple(getattr(self._processor, name)() for name in ("pad_id", "unk_id", "bos_id", "eos_id"))
        if ids != SPECIALS:
            raise UserError(f"the tokenizer has (pad, unk, bos, eos) = {ids} where {SPECIALS} is expected")

    def __reduce__(self):
        return Tokenizer, (self.proto,)

    @classmethod
    def train(
        cls,
        lines: Iterable[str],
        vocabulary_size: int,
        kind: str = "unigram",
        seed: int = 0,
        max_lines: int = 500_000,
        symbols: Sequence[str] = (),
    ) -> "Tokenizer":
        """Learns the pieces from text of both languages.

        The same lines, options and seed give the same model, byte for byte, on every machine.

        Args:
            lines: segments, in any order; read once, never held all at once.
            vocabulary_size: number of pieces, of which 4 are special and 256 stand for bytes.
            kind: "unigram" (Kudo 2018) or "bpe" (Sennrich et al. 2016).
            seed: chooses the sample when there are more than `max_lines` lines.
            max_lines: how many lines, drawn evenly from all of them, are learned from. Bounds the memory: about
                1.2 GB for the default of ordinary sentences with "unigram", a third of that with "bpe".
            symbols: texts that are always one piece, such as the numbered pieces of `data.spans`.

        Returns:
            A `Tokenizer`.

        Raises:
            UserError: the text allows no vocabulary of this size (the message says which sizes it does allow), there
                is no text, or the kind is unknown.

        References:
            - Kudo 2018, Subword Regularization, https://arxiv.org/abs/1804.10959
            - Sennrich et al. 2016, Neural Machine Translation of Rare Words with Subword Units,
              https://arxiv.org/abs/1508.07909
        """
        if kind not in KINDS:
            raise UserError(f'tokenizer.kind = "{kind}" is unknown; choose one of {", ".join(KINDS)}')
        chosen = sample_lines(lines, max_lines, seed)
        if not chosen:
            raise UserError("there is no text to train a tokenizer on: every line is empty")
        return cls(_train(chosen, vocabulary_size, kind, symbols))

    @classmethod
    def load(cls, path: Path | str) -> "Tokenizer":
        """Reads a model that `save` wrote.

        Raises:
            UserError: the file is missing, damaged, or a SentencePiece model with other special ids.
        """
        try:
            proto = Path(path).read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot read the tokenizer: {error.strerror}; check the folder") from error
        try:
            return cls(proto)
        except UserError as error:
            raise UserError(f"{path}: {error}; take it from a backup or train the run anew") from error

    def save(self, path: Path | str) -> None:
        """Writes the model to `path`, whole or not at all."""
        with atomic_write(path, "wb") as file:
            file.write(self.proto)

    @property
    def vocabulary_size(self) -> int:
        """Number of pieces, specials included."""
        return self._processor.get_piece_size()

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the model, for the keys of caches."""
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

        Same texts, alpha and seed: same ids, in any thread or process.

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
        # The library's generator is made, from one global seed, in the thread that a call for a list starts; with one
        # thread per call the draws depend on that seed alone. Its largest value would mean "take the clock".
        with _seed_lock:
            sentencepiece.set_random_generator_seed(seed % 0xFFFFFFFF)
            return self._processor.encode(texts, num_threads=1, enable_sampling=True, alpha=alpha, nbest_size=-1)

    def decode(self, ids: Iterable[Iterable[int]]) -> list[str]:
        """Turns ids into texts; pad, unk, bos and eos are left out, bytes that are not UTF-8 become U+FFFD.

        Raises:
            IndexError: an id is outside the vocabulary.
        """
        rows = [[int(id) for id in row if int(id) not in SPECIALS] for row in ids]
        return self._processor.decode(rows, num_threads=1) if rows else []

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


def _train(lines: list[str], size: int, kind: str, symbols: Sequence[str]) -> bytes:
    """Runs SentencePiece's trainer; empties `lines`."""
    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        escape, unescape = Path(folder, "escape.tsv"), Path(folder, "unescape.tsv")
        escape.write_text(_ESCAPE, encoding="utf-8")
        unescape.write_text(_UNESCAPE, encoding="utf-8")
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_handed_over(lines),
                model_writer=model,
                vocab_size=size,
                model_type=kind,
                user_defined_symbols=list(symbols),
                normalization_rule_tsv=str(escape),
                denormalization_rule_tsv=str(unescape),
                **_TRAINER_OPTIONS,
            )
        except RuntimeError as error:
            raise _size_error(size, str(error)) from error
    return _without_paths(model.getvalue())


def sample_lines(lines: Iterable[str], count: int, seed: int) -> list[str]:
    """Draws up to `count` lines that are not blank, evenly from all of them, in one pass (Vitter's algorithm R)."""
    generator = random.Random(seed)
    chosen: list[str] = []
    for number, line in enumerate(_not_blank(lines)):
        if number < count:
            chosen.append(line)
        elif (place := generator.randrange(number + 1)) < count:
            chosen[place] = line
    return chosen


def _handed_over(lines: list[str]) -> Iterator[str]:
    """Empties the list while it is read: the trainer keeps its own copy, and two would be one too many."""
    while lines:
        yield lines.pop()


def _not_blank(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line and not line.isspace())


def _checked(texts: list[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError("a list of texts is expected, not one text")
    # Half of a surrogate pair is no character; it can only stem from a damaged file or command line.
    return [text if text.isprintable() else _SURROGATES.sub("\ufffd", text) for text in texts]


def _without_paths(proto: bytes) -> bytes:
    """Takes out the names of the temporary rule files, so that equal models are equal bytes."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(proto)
    model.normalizer_spec.ClearField("normalization_rule_tsv")
    model.denormalizer_spec.ClearField("normalization_rule_tsv")
    return model.SerializeToString(deterministic=True)


def _size_error(size: int, message: str) -> UserError:
    """Says in the preset's words what the trainer says in its own."""
    if most := re.search(r"too high .* value <= (\d+)", message):
        return UserError(
            f"tokenizer.vocabulary = {size} is more than the training text allows; set tokenizer.vocabulary to "
            f"{most[1]} or less, or train on more text"
        )
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return UserError(
            f"tokenizer.vocabulary = {size} is too small for the characters of the training text; set "
            f"tokenizer.vocabulary to {least[1]} or more"
        )
    return UserError(f"the tokenizer could not be trained with tokenizer.vocabulary = {size}: {message}")
