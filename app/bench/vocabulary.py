"""Vocabularies of a given size, even if the text allows fewer pieces."""

from data.tokenizer import Tokenizer


def filled_up(tokenizer: Tokenizer, size: int) -> Tokenizer:
    """A tokenizer that encodes and decodes as the given one does, with unused pieces up to a size.

    Args:
        tokenizer: has at most `size` pieces.
        size: pieces wanted, V.

    Returns:
        A tokenizer with V pieces; encoding never gives one of the added ones.
    """
    from sentencepiece import sentencepiece_model_pb2

    missing = size - tokenizer.vocabulary_size
    if missing < 0:
        raise ValueError(f"the vocabulary has {tokenizer.vocabulary_size} pieces, more than {size}")
    if not missing:
        return tokenizer
    model = sentencepiece_model_pb2.ModelProto.FromString(tokenizer.source.proto)
    for number in range(missing):
        kind = sentencepiece_model_pb2.ModelProto.SentencePiece.UNUSED
        model.pieces.add(piece=f"<unused {number}>", score=0.0, type=kind)
    model.trainer_spec.vocab_size = size
    return Tokenizer(model.SerializeToString(deterministic=True))
