"""The tokenizer of a model: subwords of source and target, and the training of one SentencePiece model for both."""

import functools
import hashlib
import io
import random
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import sentencepiece

from data.errors import UserError
from data.files import atomic_write
from data.subwords import BOS, EOS, PAD, UNK, Subwords

KINDS = ("unigram", "bpe")

# SentencePiece writes a space as U+2581 inside its pieces and so cannot tell it from a real U+2581. Its own two rule
# tables solve this: before segmentation U+2581 becomes a pair of noncharacters that no text contains, and after joining
# the pair becomes U+2581 again; a noncharacter that a text does contain is doubled. The tables are part of the model
# file, so tensorflow-text and every other SentencePiece runtime follow them too.
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


class Tokenizer:
    """Turns text into the ids of subwords and back, with a SentencePiece model for each side; both share a vocabulary.

    `train` makes one model for both sides. It spells characters that it has not seen as bytes, so that
    `decode(encode(texts)) == texts` for any text of Unicode scalar values, including spaces, tabs, control characters,
    emoji and SentencePiece's own sign for a space, U+2581. Digits are always pieces of their own, which helps a
    translation model to copy numbers. The object can be pickled.

    Args:
        source: bytes, the serialised SentencePiece model of the source.
        target: the same of the target, which has the same pieces in the same order but splits text differently; None
            if one model serves both.

    Attributes:
        source, target: `data.subwords.Subwords`, which encode and decode text of the two sides.

    Raises:
        UserError: an argument is not such a model, or the two have different pieces.

    Example:

        tokenizer = Tokenizer.train(lines, vocabulary_size=8000)
        ids = tokenizer.source.encode(["A small house."])
        tokenizer.source.decode(ids)  # ["A small house."]
    """

    def __init__(self, source: bytes, target: bytes | None = None):
        self.source = Subwords(source)
        self.target = self.source if target in (None, source) else Subwords(target)
        if self.target is not self.source and self.source.pieces() != self.target.pieces():
            raise UserError("the tokenizer's models of source and target have different pieces")

    def __reduce__(self):
        return Tokenizer, self._protos

    @property
    def _protos(self):
        return (self.source.proto,) if self.target is self.source else (self.source.proto, self.target.proto)

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
            max_lines: how many lines, drawn evenly from all of them, to learn from. This bounds the memory: the
                default takes about 1.2 GB for ordinary sentences with "unigram", a third of that with "bpe".
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
        """Reads what `save` wrote.

        Raises:
            UserError: a file is missing, damaged, or a SentencePiece model with other special ids.
        """
        try:
            protos = [
                file.read_bytes() for file in (Path(path), target_file(path)) if file == Path(path) or file.exists()
            ]
        except OSError as error:
            raise UserError(f"{path}: cannot read the tokenizer: {error.strerror}; check the folder") from error
        try:
            return cls(*protos)
        except UserError as error:
            raise UserError(f"{path}: {error}; restore it from a backup or train the run again") from error

    def save(self, path: Path | str) -> list[Path]:
        """Writes the model to `path`, and that of the target, if it differs, to `target_file(path)`.

        Returns:
            The files, each written whole or not at all.
        """
        files = [target_file(path), Path(path)]
        if self.target is self.source:
            target_file(path).unlink(missing_ok=True)
            files = [Path(path)]
        # The source's model is written last: if it exists, the tokenizer is complete.
        for file, proto in zip(files, reversed(self._protos), strict=True):
            with atomic_write(file, "wb") as opened:
                opened.write(proto)
        return files

    @property
    def vocabulary_size(self) -> int:
        """Number of pieces, specials included."""
        return self.source.vocabulary_size

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the models, for cache keys."""
        if self.target is self.source:
            return self.source.fingerprint
        return hashlib.sha256(f"{self.source.fingerprint} {self.target.fingerprint}".encode()).hexdigest()

    @property
    def span_ids(self) -> range:
        """The ids of the numbered pieces of `data.spans`; none in a vocabulary without them."""
        return self.source.span_ids

    def piece(self, id: int) -> str:
        """The piece of an id; it begins with "\u2581" where a word begins."""
        return self.source.piece(id)

    def pieces(self) -> list[str]:
        """All pieces, in the order of their ids."""
        return self.source.pieces()


def target_file(path: Path | str) -> Path:
    """Where the target's model is kept, next to the source's, if it differs from it."""
    return Path(path).with_suffix(f".target{Path(path).suffix}")


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
    """Empties the list while it is read: the trainer keeps its own copy, and a second one would waste memory."""
    while lines:
        yield lines.pop()


def _not_blank(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line and not line.isspace())


def _without_paths(proto: bytes) -> bytes:
    """Takes out the names of the temporary rule files, so that equal models are equal bytes."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(proto)
    model.normalizer_spec.ClearField("normalization_rule_tsv")
    model.denormalizer_spec.ClearField("normalization_rule_tsv")
    return model.SerializeToString(deterministic=True)


def _size_error(size: int, message: str) -> UserError:
    """Puts the trainer's message into the terms of a preset."""
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
