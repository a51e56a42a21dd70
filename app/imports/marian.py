"""Imports a Marian model in Hugging Face's layout, such as those of OPUS-MT, as a run.

References:
    - Junczys-Dowmunt et al. 2018, "Marian: Fast Neural Machine Translation in C++", https://arxiv.org/abs/1804.00344
    - Tiedemann and Thottingal 2020, "OPUS-MT - Building open translation services for the World"
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.imports.marian_tokenizer import Vocabulary, read_tokenizer, read_vocabulary
from app.imports.marian_weights import convert, read_weights
from app.presets.preset import NAME, Preset
from app.presets.schema import DataPreset
from app.presets.text import to_toml
from app.runs.run import Run
from data.errors import UserError
from data.files import new_folder, read_json

CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer_config.json"
ACTIVATIONS = {"swish": "swish", "silu": "swish", "relu": "relu", "gelu": "gelu"}
# The values that keys of config.json must have, and why; a missing key counts as having its value.
NEEDED = {
    "tie_word_embeddings": (True, "input and output must share one table of embeddings"),
    "share_encoder_decoder_embeddings": (True, "source and target must share one vocabulary"),
    "normalize_before": (False, "only layers that normalise after each sublayer are supported"),
    "normalize_embedding": (False, "embeddings must not be normalised"),
    "add_final_layer_norm": (False, "only layers that normalise after each sublayer are supported"),
}
# Keys that are whole numbers.
SIZES = (
    "vocab_size",
    "d_model",
    "encoder_layers",
    "decoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "pad_token_id",
    "eos_token_id",
    "decoder_start_token_id",
)
# OPUS-MT names languages by two or three letters; corpora and the language filter use two.
TWO_LETTERS = {"eng": "en", "deu": "de"}


def import_marian(folder: Path | str, path: Path | str, overrides: Sequence[str] = ()) -> tuple[Run, list[str]]:
    """Turns a checkpoint into a run, which appears only when it is complete.

    Args:
        folder: the checkpoint: `config.json`, `source.spm`, `target.spm`, `vocab.json`, and `model.safetensors` or
            `pytorch_model.bin`; `generation_config.json` and `tokenizer_config.json` are read where they exist.
        path: the run folder, which must be missing or empty.
        overrides: changes of the run's preset, see `Preset.with_overrides`.

    Returns:
        The run, and lines for the user.

    Raises:
        UserError: the checkpoint is incomplete, damaged, or of an architecture that is not Marian's.
    """
    folder, path = Path(folder), Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; give one that holds {CONFIG} and the other files")
    config = read_config(folder)
    vocabulary = read_vocabulary(folder, config)
    tokenizer, kind = read_tokenizer(folder, vocabulary)
    notes: list[str] = []
    name = path.name if NAME.fullmatch(path.name) else "marian"
    preset = Preset(name, f"Marian's model from {folder.resolve().name}").with_overrides(
        [*_data(folder, config, notes), *_model(config, vocabulary, kind), *_search(folder, config, notes)]
    )
    preset = preset.with_overrides(overrides) if overrides else preset
    with new_folder(path) as made:
        run = Run.create(made, preset)
        run.save_tokenizer(tokenizer)
        run.save_average(convert(read_weights(folder), config, vocabulary, folder), [0])
        run.write_summary(imported={"format": "marian", "folder": str(folder.resolve())})
        run.load_model()  # fails here rather than in the first translation
    return Run.open(path), notes


def read_config(folder: Path) -> dict[str, Any]:
    """The checked content of `config.json`.

    Raises:
        UserError: it is missing, or describes a model that Weitblick's Transformer cannot represent.
    """
    path = folder / CONFIG
    config = read_json(path)
    if (kind := config.get("model_type")) != "marian":
        raise UserError(
            f'{path}: model_type: expected "marian", got {_json(kind)}; other architectures are not supported'
        )
    config = {"pad_token_id": config.get("decoder_start_token_id"), "eos_token_id": 0, **config}
    for key in SIZES:
        least = 0 if key.endswith("_id") else 1
        if not isinstance(config.get(key), int) or config[key] < least:
            raise UserError(f"{path}: {key}: expected a number from {least}, got {_json(config.get(key))}")
        if key.endswith("_id") and config[key] >= config["vocab_size"]:
            raise UserError(f"{path}: {key}: expected less than vocab_size = {config['vocab_size']}, got {config[key]}")
    for key in ("attention_heads", "ffn_dim"):
        own, other = (config.get(f"{side}_{key}") for side in ("encoder", "decoder"))
        if own != other:
            raise UserError(f"{path}: decoder_{key}: expected {own} as in the encoder, got {_json(other)}")
    for key, (needed, why) in NEEDED.items():
        if config.get(key, needed) != needed:
            raise UserError(f"{path}: {key}: expected {_json(needed)}, got {_json(config[key])}: {why}")
    if not config.get("scale_embedding", False):
        raise UserError(f"{path}: scale_embedding: expected true: embeddings are multiplied by the root of the width")
    if config.get("activation_function") not in ACTIVATIONS:
        known, found = ", ".join(ACTIVATIONS), _json(config.get("activation_function"))
        raise UserError(f"{path}: activation_function: expected one of {known}, got {found}")
    return config


def _json(value) -> str:
    return "nothing" if value is None else to_toml(value) if isinstance(value, str | int | float) else str(value)


def _data(folder: Path, config: dict[str, Any], notes: list[str]) -> list[str]:
    """The preset's keys on text: spans are not copied, because the vocabulary has no pieces for them."""
    found = read_json(folder / TOKENIZER) if (folder / TOKENIZER).exists() else {}
    named = [found.get(key) for key in ("source_lang", "target_lang")]
    languages = [language for language in named if isinstance(language, str) and language]
    if len(languages) < 2:
        languages = [DataPreset.source, DataPreset.target]
        notes.append(
            f"{folder / TOKENIZER} names no languages: {' and '.join(languages)} are assumed; --set data.source=... "
            "data.target=... changes that"
        )
    source, target = (TWO_LETTERS.get(language, language) for language in languages)
    most = min(config.get("max_position_embeddings", 512), 512) - 1
    return [
        f"data.source={to_toml(source)}",
        f"data.target={to_toml(target)}",
        "data.copy=[]",
        f"data.max_length={most}",
    ]


def _model(config: dict[str, Any], vocabulary: Vocabulary, kind: str) -> list[str]:
    """The preset's keys on tokenizer and model."""
    shape = {
        "encoder_layers": config["encoder_layers"],
        "decoder_layers": config["decoder_layers"],
        "width": config["d_model"],
        "hidden": config["encoder_ffn_dim"],
        "heads": config["encoder_attention_heads"],
        "activation": ACTIVATIONS[config["activation_function"]],
        "norm": "post",
        "positions": "sinusoidal",
        "tie": "all",
        "output_bias": True,
    }
    shape |= {key: config[key] for key in ("dropout", "attention_dropout", "activation_dropout") if key in config}
    tokenizer = {"kind": kind, "vocabulary": len(vocabulary.pieces)}
    return [
        f"{section}.{key}={to_toml(value)}"
        for section, values in (("tokenizer", tokenizer), ("model", shape))
        for key, value in values.items()
    ]


def _search(folder: Path, config: dict[str, Any], notes: list[str]) -> list[str]:
    """The preset's keys on the search, which are in `generation_config.json` or, in old checkpoints, `config.json`."""
    path = folder / GENERATION
    found = {**config, **(read_json(path) if path.exists() else {})}
    known = {config["pad_token_id"], config["decoder_start_token_id"]}
    if more := [words for words in found.get("bad_words_ids") or [] if len(words) > 1 or words[0] not in known]:
        notes.append(f"{path}: bad_words_ids forbids words other than padding, which Weitblick allows: {more[:3]}")
    beam, penalty = found.get("num_beams") or 1, found.get("length_penalty")
    penalty = 1.0 if penalty is None else float(penalty)
    if penalty < 0:
        raise UserError(f"{path}: length_penalty: expected a number from 0, got {penalty:g}")
    return [f"search.beam={beam}", f"search.length_penalty={penalty}", "search.length_offset=0.0"]
