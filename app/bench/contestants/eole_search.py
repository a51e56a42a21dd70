"""Translates with EOLE's own inference in PyTorch, with the same weights as CTranslate2."""

import functools
import json
from pathlib import Path

import numpy as np

from app.bench.contestants.eole_model import EOS, PRECISIONS, special_pieces, transformer
from app.bench.contestants.prepared import Prepared
from app.bench.contestants.protocol import Channel, serve_translations

LONGEST_OUTPUT = 256
# GNMT's length penalty, as in Weitblick, and the plain power of the length, as in CTranslate2.
GNMT_OFFSET, PENALTIES = 5.0, {True: "wu", False: "avg"}
KINDS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
# CTranslate2's parts of a layer, and EOLE's names for them or, in order, for the parts that are joined in them.
PARTS = {
    "self_attention/layer_norm": ["input_layernorm"],
    "self_attention/linear_0": ["self_attn.linear_query", "self_attn.linear_keys", "self_attn.linear_values"],
    "self_attention/linear_1": ["self_attn.final_linear"],
    "attention/layer_norm": ["precontext_layernorm"],
    "attention/linear_0": ["context_attn.linear_query"],
    "attention/linear_1": ["context_attn.linear_keys", "context_attn.linear_values"],
    "attention/linear_2": ["context_attn.final_linear"],
    "ffn/layer_norm": ["post_attention_layernorm"],
    "ffn/linear_0": ["mlp.gate_up_proj"],
    "ffn/linear_1": ["mlp.down_proj"],
}


def main() -> None:
    """Translates whatever the benchmark sends, with the setting that comes with it."""
    channel = Channel()
    from eole.config.run import PredictConfig
    from eole.inference_engine import InferenceEnginePY

    spec = channel.spec
    exported = Path(spec["run"])
    prepared = Prepared(exported)
    search = prepared.search
    folder = Path(spec["arrays"]).with_name("eole")
    folder.mkdir(exist_ok=True)
    write_model(exported, Path(spec["arrays"]), folder)

    @functools.cache
    def loaded(compute, batch_tokens):
        return InferenceEnginePY(
            PredictConfig(
                model_path=str(folder),
                src="",
                compute_dtype=PRECISIONS[compute],
                beam_size=spec["beam"],
                length_penalty=PENALTIES[search["length_offset"] == GNMT_OFFSET],
                alpha=search["length_penalty"],
                max_length=LONGEST_OUTPUT,
                max_length_ratio=0,
                batch_type="tokens",
                batch_size=batch_tokens,
                fuse_kvq=True,
            )
        )

    def translate(lines, setting):
        def decode(sources):
            # EOLE joins and splits pieces at spaces, and adds no end token to sources.
            end = prepared.tokenizer.id_to_piece(EOS)
            joined = [" ".join([*pieces, end]) for pieces in sources]
            _, _, found = loaded(setting["compute"], setting["batch_tokens"]).infer_list(joined)
            return [best[0].split(" ") if best[0] else [] for best in found]

        return prepared.translate(lines, decode)

    serve_translations(channel, translate)


def write_model(exported: Path, arrays: Path, folder: Path) -> None:
    """Writes a folder that EOLE loads.

    Args:
        exported: a folder for CTranslate2, from which the description of the model is taken.
        arrays: the weights, under CTranslate2's names.
        folder: an existing folder.

    Raises:
        ValueError: EOLE has no such model.
    """
    from safetensors.numpy import save_file

    described = json.loads((exported / "weitblick.json").read_text(encoding="utf-8"))["model"]
    pieces = json.loads((exported / "shared_vocabulary.json").read_text(encoding="utf-8"))
    if described["norm"] != "pre":
        raise ValueError("EOLE's decoder is pre-norm")
    with np.load(arrays) as stored:
        theirs = renamed(dict(stored), described["positions"])
    save_file(theirs, folder / "model.00.safetensors")
    specials = special_pieces(pieces)
    start = specials["decoder_start_token"]
    vocabulary = {"src": pieces, "tgt": pieces, "specials": specials, "decoder_start_token": start}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    learned = theirs.get("src_emb.pe.weight")
    rows = None if learned is None else len(learned)
    model = transformer(described, described["positions"], described["activation"], rows)
    config = {"src_vocab": "", "data": {}, "share_vocab": True, **specials, "model": model, "training": {}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def renamed(arrays: dict[str, np.ndarray], positions: str) -> dict[str, np.ndarray]:
    """The weights under EOLE's names; if all three tables are the same, EOLE reads only that of the source.

    Args:
        arrays: name to array, as `ctranslate2.specs.TransformerSpec` has them.
        positions: "sinusoidal", "learned" or "rotary".

    Raises:
        ValueError: there are several tables, or weights that EOLE has no place for.
    """
    table, *others = [
        arrays.pop(name)
        for name in ("encoder/embeddings_0/weight", "decoder/embeddings/weight", "decoder/projection/weight")
    ]
    if not all(np.array_equal(table, other) for other in others):
        raise ValueError("only models with one table for source, target and output are given to EOLE")
    found = {"src_emb.embeddings.weight": table}
    for side, embedding in (("encoder", "src_emb"), ("decoder", "tgt_emb")):
        if positions == "sinusoidal":
            found[f"{embedding}.pe.pe"] = arrays.pop(f"{side}/position_encodings/encodings")[:, None]
        elif positions == "learned":
            # EOLE multiplies the sum of piece and position by the root of the width, Weitblick the piece alone.
            encodings = arrays.pop(f"{side}/position_encodings/encodings")
            found[f"{embedding}.pe.weight"] = encodings / np.float32(encodings.shape[1] ** 0.5)
        for kind in ("gamma", "beta"):
            found[f"{side}.layer_norm.{KINDS[kind]}"] = arrays.pop(f"{side}/layer_norm/{kind}")
    for name, array in arrays.items():
        side, layer, part = name.split("/", 2)
        part, _, kind = part.rpartition("/")
        if part not in PARTS:
            raise ValueError(f"EOLE has no place for {name}")
        prefix = f"{side}.transformer_layers.{layer.removeprefix('layer_')}"
        for piece, values in zip(PARTS[part], np.split(array, len(PARTS[part])), strict=True):
            found[f"{prefix}.{piece}.{KINDS[kind]}"] = values
    return found


if __name__ == "__main__":
    main()
