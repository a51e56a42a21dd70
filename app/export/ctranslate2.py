"""Export to CTranslate2: a folder for `ctranslate2.Translator`, with everything to translate without Weitblick.

References:
    https://opennmt.net/CTranslate2/
"""

import hashlib
import shutil
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from app.presets.schema import SearchPreset
from app.runs.run import Run
from app.translation.ctranslate2 import SETTINGS, CTranslate2Decoder, import_ctranslate2
from app.translation.decoder import QUANTIZATIONS, Engine, Sampling, refuse_other_models
from data import spans
from data.errors import UserError
from data.files import atomic_write, new_folder, write_manifest
from data.tokenizer import BOS, EOS, UNK, Tokenizer

FORMAT = 4
FOLDER = "exports"
TOKENIZER, README, EXAMPLE, SPANS = "tokenizer.model", "README.txt", "translate.py", "spans.py"
# Sinusoidal and rotary positions have no limit of their own; an export allows at least this many.
LEAST_POSITIONS = 1024
_README = """\
A translation model from {source} to {target}, made by Weitblick for CTranslate2 (https://opennmt.net/CTranslate2/).

    pip install ctranslate2 sentencepiece
    python translate.py < text.{source} > text.{target}

translate.py is a short example for programs of your own. It normalises text as Weitblick does, and its translations
are nearly the same: CTranslate2 stops its search by another rule, so even in float32 up to four lines in a hundred
differ, with equal BLEU. Quantization changes more. Weitblick also replaces outputs that repeat themselves without end
(search.refuse_loops), which the example does not.

The files:

  model.bin, config.json, shared_vocabulary.json   for ctranslate2.Translator; weights: {weights}, {quantization}
  spans.py                                         what must be copied: found, set aside and put back
  tokenizer.model                                  for sentencepiece.SentencePieceProcessor; if there is a
                                                   tokenizer.target.model, that is for the translations
  weitblick.json                                   what else the translations depend on:
    source, target       the languages
    lowercase            {lowercase}: whether text is lower-cased
    copy, numbers        what spans.py sets aside and puts back, and how numbers are written
    capitals             {capitals}: whether a line in capitals is read as a sentence
    max_length           tokens of the longest segment that the model has seen; split longer ones at sentence marks
    max_positions        tokens at which CTranslate2 stops with an error, on either side
    search.beam          beam_size
    search.length_penalty, search.length_offset, search.max_ratio, search.max_extra   see translate.py
"""


def export(
    run: Run,
    directory: Path | str,
    checkpoint: str = "auto",
    quantization: str = "float32",
    search: SearchPreset | None = None,
) -> None:
    """Writes a run's model as a folder for CTranslate2.

    Args:
        run: an `app.runs.run.Run`.
        directory: the folder to write, which must be missing or empty.
        checkpoint: which weights, see `Run.weights`.
        quantization: how weights are stored, one of `app.translation.decoder.QUANTIZATIONS`.
        search: the search settings in `weitblick.json`; by default those of the run's preset.

    Raises:
        UserError: CTranslate2 is not installed, the model is of a kind that it does not support, its weights
            are damaged, other models join in the search, or the folder exists and is not empty.
    """
    if quantization not in QUANTIZATIONS:
        raise UserError(f"no quantization is called {quantization!r}; choose {', '.join(QUANTIZATIONS)}")
    search = search or run.preset.search
    refuse_other_models(search, "an export for CTranslate2 holds one model; use `weitblick translate`")
    import_ctranslate2()
    with new_folder(directory) as folder:
        name, _, checksum = run.weights_file(checkpoint)
        model = run.load_model(checkpoint)
        settings = _settings(run.preset, model, search)
        settings |= {"weights": name, "weights_checksum": checksum, "quantization": quantization}
        save(model, run.tokenizer(), folder, settings["max_positions"], quantization)
        run.tokenizer().save(folder / TOKENIZER)
        shutil.copyfile(Path(__file__).with_name("ctranslate2_example.py"), folder / EXAMPLE)
        shutil.copyfile(spans.__file__, folder / SPANS)
        with atomic_write(folder / README, "w") as file:
            file.write(_README.format(**settings))
        write_manifest(folder / SETTINGS, settings)


def save(
    model: Any,
    tokenizer: Tokenizer,
    folder: Path | str,
    max_positions: int = LEAST_POSITIONS,
    quantization: str = "float32",
) -> None:
    """Writes the files that CTranslate2 itself reads: `model.bin`, `config.json` and `shared_vocabulary.json`.

    Args:
        model: a `models.transformer.Transformer`.
        tokenizer: its `data.tokenizer.Tokenizer`.
        folder: an existing folder to write to.
        max_positions: how many positions are written, if they are sinusoidal.
        quantization: one of `app.translation.decoder.QUANTIZATIONS`.

    Raises:
        UserError: for a model that CTranslate2 does not support, or weights that are not finite.
    """
    from models.normalisation import EPSILON

    spec = specification(model, max_positions)
    pieces = tokenizer.pieces()
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = (pieces[i] for i in (UNK, BOS, EOS))
    spec.config.decoder_start_token = pieces[BOS]
    spec.config.add_source_eos, spec.config.layer_norm_epsilon = True, EPSILON
    spec.validate()
    spec.optimize(quantization=quantization.replace("bfloat16", "float32"))
    if "bfloat16" in quantization:
        _round_floats(spec)
    spec.save(str(folder))


def specification(model: Any, max_positions: int = LEAST_POSITIONS) -> Any:
    """A model's weights in the form that CTranslate2 needs.

    Args:
        model: a `models.transformer.Transformer`.
        max_positions: rows of the table of sinusoidal positions.

    Returns:
        A `ctranslate2.specs.TransformerSpec` without vocabularies.

    Raises:
        UserError: for a model that CTranslate2 does not support, or weights that are not finite.
    """
    from models.transformer import Transformer

    if type(model) is not Transformer:
        raise UserError(
            f"a model of the kind {type(model).__name__} cannot be exported to CTranslate2, which computes only "
            "plain Transformers and has no place for a memory or other custom parts"
        )
    settings = model.settings
    if settings["stack"] == "reversible" or settings["attention"] != "full":
        key = "attention" if settings["attention"] != "full" else "stack"
        raise UserError(
            f'model.{key}: "{settings[key]}" cannot be exported to CTranslate2, which computes only plain stacks with '
            "full attention: translate with the engine keras, or export a SavedModel"
        )
    specs = import_ctranslate2().specs
    common = {
        "pre_norm": settings["norm"] == "pre",
        "activation": getattr(specs.Activation, settings["activation"].upper()),
    }
    if settings["positions"] == "rotary":
        common |= {"rotary_dim": 0, "rotary_interleave": True}
    layers, heads = (settings["encoder_layers"], settings["decoder_layers"]), settings["heads"]
    encoder = specs.transformer_spec.TransformerEncoderSpec(layers[0], heads, **common)
    decoder = specs.transformer_spec.TransformerDecoderSpec(layers[1], heads, **common)
    encoder.embeddings[0].weight = _table(model.source_embedding)
    decoder.embeddings.weight = _table(model.target_embedding)
    decoder.projection.weight = _table(model.output_embedding)
    if model.output_embedding.bias is not None:
        decoder.projection.bias = _array(model.output_embedding.bias)
    if settings["positions"] != "rotary":
        encoder.position_encodings.encodings = _positions(model.source_positions, settings, max_positions)
        decoder.position_encodings.encodings = _positions(model.target_positions, settings, max_positions)
    _fill_stack(encoder, model.encoder)
    _fill_stack(decoder, model.decoder)
    return specs.TransformerSpec(encoder, decoder)


def _round_floats(spec) -> None:
    """Converts float32 arrays to bfloat16, for which CTranslate2 itself would need PyTorch."""
    from ml_dtypes import bfloat16

    for name, variable in spec.variables().items():
        if getattr(variable, "dtype", "") == "float32" and not (variable.is_scalar() or name.endswith("_scale")):
            variable.array = variable.array.astype(bfloat16)


def _fill_stack(spec, stack) -> None:
    for part, layer in zip(spec.layer, stack.stack, strict=True):
        _fill_dense(part.self_attention.linear[0], layer.attention.query_key_value)
        _fill_dense(part.self_attention.linear[1], layer.attention.output_dense)
        _fill_norm(part.self_attention.layer_norm, layer.attention_residual.norm)
        if hasattr(layer, "source_attention"):
            _fill_dense(part.attention.linear[0], layer.source_attention.query)
            _fill_dense(part.attention.linear[1], layer.source_attention.key_value)
            _fill_dense(part.attention.linear[2], layer.source_attention.output_dense)
            _fill_norm(part.attention.layer_norm, layer.source_attention_residual.norm)
        _fill_dense(part.ffn.linear_0, layer.feed_forward.inner)
        _fill_dense(part.ffn.linear_1, layer.feed_forward.outer)
        _fill_norm(part.ffn.layer_norm, layer.feed_forward_residual.norm)
    if stack.norm is not None:
        _fill_norm(spec.layer_norm, stack.norm)


def _fill_dense(spec, dense) -> None:
    spec.weight, spec.bias = np.ascontiguousarray(_array(dense.kernel).T), _array(dense.bias)


def _fill_norm(spec, norm) -> None:
    spec.gamma, spec.beta = _array(norm.gamma), _array(norm.beta)


def _table(embedding) -> np.ndarray:
    """(V, D): the vectors, after their projection if they have one; CTranslate2 multiplies them by D^0.5 itself."""
    table = _array(embedding.table)
    return table if embedding.projection is None else table @ _array(embedding.projection)


def _positions(layer, settings, rows: int) -> np.ndarray:
    """(rows, D); CTranslate2's own sinusoids have other frequencies and another order of columns."""
    from keras import ops

    from models.positions import sinusoidal_positions

    if settings["positions"] == "learned":
        return _array(layer.table)
    return _array(sinusoidal_positions(ops.arange(rows), settings["width"]))


def _array(variable) -> np.ndarray:
    from keras import ops

    array = np.asarray(ops.convert_to_numpy(variable), "float32")
    if not np.isfinite(array).all():
        name = getattr(variable, "path", "a weight")
        raise UserError(f"{name} has numbers that are not finite: the weights are damaged; take another checkpoint")
    return array


def _settings(preset, model, search: SearchPreset) -> dict:
    """The content of `weitblick.json`: all that the translations depend on, except the weights."""
    most = model.max_positions
    if model.positions_kind != "learned":
        most = max(LEAST_POSITIONS, preset.data.max_length + 1, search.most_tokens(preset.data.max_length))
    return {
        "format": FORMAT,
        "name": preset.name,
        "source": preset.data.source,
        "target": preset.data.target,
        "lowercase": preset.data.lowercase,
        "copy": preset.data.copy,
        "numbers": preset.data.numbers,
        "capitals": preset.data.capitals,
        "max_length": min(preset.data.max_length, most - 1),
        "max_positions": most,
        "model": asdict(preset.model),
        "search": asdict(search),
        "versions": {name: version(name) for name in ("ctranslate2", "keras", "numpy", "sentencepiece")},
    }


def ctranslate2_engine(quantization: str) -> Engine:
    """The engine that translates with CTranslate2; exports a run into its folder `exports` on first use.

    Args:
        quantization: see `export`.
    """

    def open_decoder(run, checkpoint: str, search: SearchPreset, sampling: Sampling | None) -> CTranslate2Decoder:
        return CTranslate2Decoder(_exported(run, checkpoint, quantization), search, sampling)

    return Engine("ctranslate2", quantization, open_decoder)


def export_folder(run: Run, checkpoint: str, quantization: str) -> Path:
    """The folder for a run's export of these weights, whether it exists or not."""
    _, _, checksum = run.weights_file(checkpoint)
    contents = f"{FORMAT} {checksum} {run.tokenizer().fingerprint}"
    digest = hashlib.blake2b(contents.encode(), digest_size=8).hexdigest()
    return run.path / FOLDER / f"ctranslate2-{quantization}-{checkpoint}-{digest}"


def _exported(run, checkpoint: str, quantization: str) -> Path:
    """The folder of the export of these weights, made if it is missing; exports of earlier weights are removed."""
    folder = export_folder(run, checkpoint, quantization)
    if not folder.exists():
        # The decoder gets its own search settings, and refuses other models in them.
        alone = replace(run.preset.search, ensemble=(), language_model="")
        try:
            export(run, folder, checkpoint, quantization, alone)
        except UserError:
            # Another process may have made it at the same time.
            if not folder.exists():
                raise
        for earlier in folder.parent.glob(f"ctranslate2-{quantization}-{checkpoint}-*"):
            if earlier != folder:
                shutil.rmtree(earlier, ignore_errors=True)
    return folder
