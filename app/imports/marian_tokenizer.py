"""Turns Marian's two SentencePiece models and its vocabulary into a tokenizer of Weitblick."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.files import read_json
from data.subwords import BOS, EOS, PAD, SPECIALS, UNK
from data.tokenizer import Tokenizer

VOCABULARY, SOURCE, TARGET = "vocab.json", "source.spm", "target.spm"
NAMES = {PAD: "<pad>", UNK: "<unk>", BOS: "<s>", EOS: "</s>"}
# A search is fastest where the vocabulary divides into groups of about this size, see `models.search.ranking`.
_MULTIPLE = 64
# How far below all pieces SentencePiece scores an unknown one.
_UNKNOWN_PENALTY = 10.0
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


@dataclass(frozen=True)
class Vocabulary:
    """The pieces of a model, in the order of Weitblick.

    Attributes:
        pieces: the pieces by id.
        rows: Marian's id of each piece, and -1 for pieces that only fill up the vocabulary. The token that Marian's
            decoder starts with, usually the padding, also begins a sequence here, so its id may occur twice.
    """

    pieces: list[str]
    rows: list[int]


def read_vocabulary(folder: Path, config: dict[str, Any]) -> Vocabulary:
    """Reads `vocab.json` and puts its pieces into the order of Weitblick: pad, unk, bos, eos, and the others as before.

    Args:
        folder: the checkpoint.
        config: its `config.json`.

    Raises:
        UserError: the file is missing, does not fit the configuration, or belongs to several target languages.
    """
    path, size = folder / VOCABULARY, config["vocab_size"]
    found = read_json(path)
    ids = list(found.values())
    if not all(isinstance(id, int) and 0 <= id < size for id in ids) or len(set(ids)) != len(ids):
        raise UserError(f"{path}: expected pieces, each with its own number below vocab_size = {size} of config.json")
    if codes := sorted(piece for piece in found if piece.startswith(">>") and piece.endswith("<<")):
        raise UserError(
            f"{path}: the model translates into several languages, named at the beginning of its input ({codes[0]}), "
            "but Weitblick's models into one; import a model of one target language"
        )
    if NAMES[UNK] not in found:
        raise UserError(f'{path}: expected a piece "{NAMES[UNK]}" for unknown text')
    rows = [config["pad_token_id"], found[NAMES[UNK]], config["decoder_start_token_id"], config["eos_token_id"]]
    names = {id: piece for piece, id in found.items()}
    rest = sorted(set(range(size)) - {rows[PAD], rows[UNK], rows[EOS]})
    pieces = [NAMES[special] for special in SPECIALS] + [_name(names.get(id, f"<{id}>")) for id in rest]
    rows += rest
    missing = -len(pieces) % _MULTIPLE
    pieces += [f"<unused {number}>" for number in range(missing)]
    return Vocabulary(pieces, rows + [-1] * missing)


def _name(piece: str) -> str:
    """The name of an ordinary piece, which must differ from those of the special ones."""
    return piece + "'" if piece in NAMES.values() else piece


def read_tokenizer(folder: Path, vocabulary: Vocabulary) -> tuple[Tokenizer, str]:
    """The tokenizer of a checkpoint, and the kind of its models, "unigram" or "bpe".

    Raises:
        UserError: a SentencePiece model is missing or damaged, or of another kind.
    """
    models = [_read_model(folder / name) for name in (SOURCE, TARGET)]
    kinds = {model.trainer_spec.model_type for model in models}
    specification = models[0].trainer_spec
    known = {specification.UNIGRAM: "unigram", specification.BPE: "bpe"}
    if len(kinds) > 1 or not kinds <= set(known):
        raise UserError(f"{folder / TARGET}: expected SentencePiece models that are both unigram or both bpe")
    protos = [_renumbered(model, vocabulary.pieces) for model in models]
    return Tokenizer(*protos), known[kinds.pop()]


def _read_model(path: Path) -> Any:
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    try:
        model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: the file is missing; download the checkpoint again") from None
    except DecodeError:
        model = None
    if not model or not model.pieces:
        raise UserError(f"{path}: this is not a SentencePiece model; download the checkpoint again")
    return model


def _renumbered(model: Any, pieces: Sequence[str]) -> bytes:
    """The model with other pieces; it uses those that it had before, with their scores.

    A piece that the vocabulary lacks is split into smaller ones; Marian's tokenizer would treat it as unknown.
    """
    from sentencepiece import sentencepiece_model_pb2

    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    usable = {kinds.NORMAL, kinds.USER_DEFINED}
    has_bytes = model.trainer_spec.byte_fallback and set(_BYTES) <= set(pieces)
    if has_bytes:
        usable.add(kinds.BYTE)
    own = {piece.piece: piece for piece in model.pieces if piece.type in usable}
    lowest = min(piece.score for piece in own.values())
    del model.pieces[:]
    for id, name in enumerate(pieces):
        if id in SPECIALS:
            model.pieces.add(piece=name, score=0.0, type=kinds.UNKNOWN if id == UNK else kinds.CONTROL)
        elif name in own:
            model.pieces.append(own[name])
        elif len(name) == 1:
            # A letter that only the other side has; Marian's tokenizer looks it up in the vocabulary.
            model.pieces.add(piece=name, score=lowest - _UNKNOWN_PENALTY, type=kinds.NORMAL)
        else:
            model.pieces.add(piece=name, score=0.0, type=kinds.UNUSED)
    specification = model.trainer_spec
    specification.byte_fallback, specification.vocab_size = has_bytes, len(pieces)
    for name, id in (("pad", PAD), ("unk", UNK), ("bos", BOS), ("eos", EOS)):
        setattr(specification, f"{name}_id", id)
        setattr(specification, f"{name}_piece", NAMES[id])
    return model.SerializeToString(deterministic=True)
