"""EOLE's names for a Transformer of Weitblick's kind and its special pieces; needs only the standard library."""

PAD, UNK, BOS, EOS = 0, 1, 2, 3
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}
POSITIONS = {"sinusoidal": "SinusoidalInterleaved", "learned": "Learned", "rotary": "Rotary"}
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "swish": "silu"}


def transformer(shape: dict, positions: str = "sinusoidal", activation: str = "relu", rows: int | None = None) -> dict:
    """The section `model` of EOLE's configuration: pre-norm, with one table for source, target and output.

    Args:
        shape: has `encoder_layers`, `decoder_layers`, `width`, `hidden` and `heads`.
        positions: one of `POSITIONS`.
        activation: one of `ACTIVATIONS`.
        rows: how many positions are learned, if they are.
    """
    return {
        "architecture": "transformer",
        "encoder": {"layers": shape["encoder_layers"]},
        "decoder": {"layers": shape["decoder_layers"]},
        "hidden_size": shape["width"],
        "transformer_ff": shape["hidden"],
        "heads": shape["heads"],
        "mlp_activation_fn": ACTIVATIONS[activation],
        "position_encoding_type": POSITIONS[positions],
        "n_positions": rows,
        "rope_config": {} if positions == "rotary" else None,
        "embeddings": {
            "word_vec_size": shape["width"],
            "position_encoding_type": POSITIONS[positions],
            "n_positions": rows,
            # EOLE multiplies by the root of the width on its own only if positions are sinusoidal.
            "normalize": positions != "sinusoidal",
        },
        "add_qkvbias": True,
        "add_final_linear_bias": True,
        "add_ffnbias": True,
        "share_embeddings": True,
        "share_decoder_embeddings": True,
        "generator_bias": False,
    }


def special_pieces(pieces: list[str]) -> dict[str, str]:
    """What EOLE's configuration calls the special pieces of a vocabulary."""
    places = {"pad": PAD, "unk": UNK, "bos": BOS, "eos": EOS, "decoder_start": BOS}
    return {f"{name}_token": pieces[number] for name, number in places.items()}
