"""A tiny Marian checkpoint in Hugging Face's layout, written without Marian and without PyTorch."""

import io
import json
import random
from pathlib import Path

import numpy as np
import sentencepiece
from safetensors.numpy import save_file

from tests.app.toy_training import WORDS

WIDTH, HIDDEN, HEADS, LAYERS = 16, 24, 2, 2
# More than the two SentencePiece models know: vocab.json is made from text of both sides.
SIZE = 340
CONFIG = {
    "model_type": "marian",
    "architectures": ["MarianMTModel"],
    "vocab_size": SIZE,
    "d_model": WIDTH,
    "encoder_layers": LAYERS,
    "decoder_layers": LAYERS,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": HIDDEN,
    "decoder_ffn_dim": HIDDEN,
    "activation_function": "swish",
    "scale_embedding": True,
    "normalize_before": False,
    "normalize_embedding": False,
    "add_final_layer_norm": False,
    "static_position_embeddings": True,
    "tie_word_embeddings": True,
    "share_encoder_decoder_embeddings": True,
    "max_position_embeddings": 64,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "eos_token_id": 0,
    "pad_token_id": SIZE - 1,
    "decoder_start_token_id": SIZE - 1,
    "forced_eos_token_id": None,
}
GENERATION = {
    "num_beams": 4,
    "max_length": 64,
    "bad_words_ids": [[SIZE - 1]],
    "decoder_start_token_id": SIZE - 1,
    "eos_token_id": 0,
    "pad_token_id": SIZE - 1,
}


def write_checkpoint(folder, **changes) -> Path:
    """Writes all files of a checkpoint with random weights; `changes` are keys of `config.json`."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    models = {"source.spm": _spm(list(WORDS), 60), "target.spm": _spm(list(WORDS.values()), 70)}
    for name, proto in models.items():
        (folder / name).write_bytes(proto)
    write_json(folder / "vocab.json", _vocabulary(models.values()))
    write_json(folder / "config.json", {**CONFIG, **changes})
    write_json(folder / "generation_config.json", GENERATION)
    write_json(folder / "tokenizer_config.json", {"source_lang": "eng", "target_lang": "deu", "separate_vocabs": False})
    save_file(weights(), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_json(path: Path, content) -> None:
    """Writes a file of a checkpoint."""
    path.write_text(json.dumps(content), encoding="utf-8")


def _spm(words, size) -> bytes:
    draw, model = random.Random(3), io.BytesIO()
    lines = [" ".join(draw.choices(words, k=6)) + "." for _ in range(400)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=size, hard_vocab_limit=False, minloglevel=2
    )
    return model.getvalue()


def _vocabulary(protos) -> dict[str, int]:
    """All pieces of both models but one that the source needs, in an order that is that of neither."""
    processors = [sentencepiece.SentencePieceProcessor(model_proto=proto) for proto in protos]
    pieces = {one.id_to_piece(id) for one in processors for id in range(3, one.get_piece_size())}
    ordered = random.Random(4).sample(sorted(pieces - {"\u2581house"}), len(pieces) - 1)
    ordered += [f"\u2581filler{number}" for number in range(SIZE - 3 - len(ordered))]
    return {piece: id for id, piece in enumerate(["</s>", "<unk>", *ordered, "<pad>"])}


def weights() -> dict[str, np.ndarray]:
    """Random weights by Marian's names, none of them zero or one."""
    draw = np.random.default_rng(5)

    def normal(*shape, scale=1.0, mean=0.0):
        return (mean + scale * draw.normal(size=shape)).astype("float32")

    found = {"model.shared.weight": normal(SIZE, WIDTH, scale=0.5), "final_logits_bias": normal(1, SIZE, scale=0.5)}
    # A sentence ends now and then.
    found["final_logits_bias"][0, 0] = 3.0
    # Padding has no row in trained checkpoints, so that its logit is 0.
    found["model.shared.weight"][-1], found["final_logits_bias"][0, -1] = 0.0, 0.0
    for side, attentions in (("encoder", ["self_attn"]), ("decoder", ["self_attn", "encoder_attn"])):
        for number in range(LAYERS):
            layer = f"model.{side}.layers.{number}"
            denses = {f"{one}.{part}": (WIDTH, WIDTH) for one in attentions for part in _PROJECTIONS}
            denses |= {"fc1": (HIDDEN, WIDTH), "fc2": (WIDTH, HIDDEN)}
            for name, shape in denses.items():
                found[f"{layer}.{name}.weight"] = normal(*shape, scale=1.5 * shape[1] ** -0.5)
                found[f"{layer}.{name}.bias"] = normal(shape[0], scale=0.3)
            for name in [*(f"{one}_layer_norm" for one in attentions), "final_layer_norm"]:
                found[f"{layer}.{name}.weight"] = normal(WIDTH)
                found[f"{layer}.{name}.bias"] = normal(WIDTH, scale=0.2)
    return found


_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
