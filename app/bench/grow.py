"""Makes a model of the base shape that translates exactly as a trained model of half its width does.

The speed of search depends on how long the translations are, so random weights will not do, and training the base shape
takes days. Widening keeps the function: each vector h of the small model becomes [h, h].

References:
    Chen et al. 2016, "Net2Net: Accelerating Learning via Knowledge Transfer", https://arxiv.org/abs/1511.05641
"""

from pathlib import Path

import numpy as np

from app.bench.vocabulary import filled_up
from app.runs.run import AVERAGED, TOKENIZER, Run
from app.runs.weights import save_arrays
from data.errors import UserError

# Added pieces have this logit in every state; the best real one is never near it.
UNUSED_LOGIT = -60.0
SHIFT = 2.0  # length of the vector that the last normalisation adds; it separates added pieces from real ones
POSITIONS = 1024
PARTS = {"query_key_value": 3, "key_value": 2}


def grow(small: Run, path: Path | str, layers: int, vocabulary: int) -> Run:
    """Writes a run of twice the width, hidden width and heads whose outputs are those of the small one.

    Args:
        small: a trained run with pre-norm layers and without pre-trained vectors.
        path: the folder of the new run.
        layers: encoder and decoder layers wanted; added layers are computed, but change nothing.
        vocabulary: pieces wanted; added pieces are never chosen.

    Returns:
        The new run, which has its weights as an average.

    Raises:
        UserError: the small model is of another kind, or not smaller.
    """
    model = small.preset.model
    if model.norm != "pre" or model.output_bias or small.preset.embeddings.vectors:
        raise UserError(f"{small.path}: only pre-norm models without word vectors and output bias can grow")
    if max(model.encoder_layers, model.decoder_layers) > layers or small.tokenizer().vocabulary_size > vocabulary:
        raise UserError(f"{small.path}: already has more than {layers} layers or {vocabulary:,} pieces")
    preset = small.preset.with_overrides(
        [
            f"model.width={2 * model.width}",
            f"model.hidden={2 * model.hidden}",
            f"model.heads={2 * model.heads}",
            f"model.encoder_layers={layers}",
            f"model.decoder_layers={layers}",
            f"tokenizer.vocabulary={vocabulary}",
            f'model.positions="{"rotary" if model.positions == "rotary" else "learned"}"',
            f"model.max_positions={model.max_positions if model.positions == 'learned' else POSITIONS}",
        ]
    )
    run = Run.create(path, preset)
    filled_up(small.tokenizer(), vocabulary).save(run.path / TOKENIZER)
    weights = widened(small.weights()[1])
    weights |= _positions(model)
    for side, count in (("encoder", model.encoder_layers), ("decoder", model.decoder_layers)):
        weights |= _idle_layers(weights, side, count, layers)
    _mark_unused(weights, vocabulary)
    run.write_summary(averaged={"updates": [0], "checksum": save_arrays(run.path / AVERAGED, weights)})
    return run


def widened(weights: dict) -> dict:
    """Each weight for vectors that hold everything twice; inputs count half, so that sums stay the same."""
    found = {}
    for name, array in weights.items():
        kind = name.rpartition("/")[2]
        parts = PARTS.get(name.split("/")[-2], 1)
        if name.endswith("_embedding/table"):
            # Reading multiplies by the root of the width; so does, in effect, the sum over twice the columns.
            found[name] = _twice(array, 1) * 0.5**0.5
        elif kind == "kernel":
            found[name] = np.concatenate([_twice(array, parts)] * 2, axis=0) / 2
        else:
            found[name] = _twice(array, parts)
    for name in ("decoder/norm/gamma", "decoder/norm/beta"):
        found[name] = found[name] * 0.5**0.5
    return found


def _twice(array: np.ndarray, parts: int) -> np.ndarray:
    """[a, b] of two parts becomes [a, a, b, b], along the last axis."""
    doubled = [half for part in np.split(array, parts, axis=-1) for half in (part, part)]
    return np.concatenate(doubled, axis=-1)


def _positions(model) -> dict:
    """The small model's sinusoids as learned positions; those of the new width have other frequencies."""
    if model.positions != "sinusoidal":
        return {}
    from keras import ops

    from models.positions import sinusoidal_positions

    table = ops.convert_to_numpy(sinusoidal_positions(ops.arange(POSITIONS), model.width))
    return {f"{side}_positions/table": _twice(table, 1) for side in ("source", "target")}


def _idle_layers(weights: dict, side: str, count: int, wanted: int) -> dict:
    """More layers like the last one, whose sublayers give zero for the residual connection to add."""
    last, found = f"{side}/layer_{count - 1}/", {}
    for number in range(count, wanted):
        for name, array in weights.items():
            if name.startswith(last):
                idle = "/output/" in name or "/feed_forward/outer/" in name
                found[name.replace(last, f"{side}/layer_{number}/")] = np.zeros_like(array) if idle else array
    return found


def _mark_unused(weights: dict, vocabulary: int) -> None:
    """Adds pieces to all tables. Of a state [h, h], their vectors, [v, -v], see only what is added to it here."""
    half = weights["decoder/norm/beta"].shape[0] // 2
    direction = np.concatenate([np.ones(half), -np.ones(half)]) * (2 * half) ** -0.5
    weights["decoder/norm/beta"] = (weights["decoder/norm/beta"] + SHIFT * direction).astype("float32")
    row = (UNUSED_LOGIT / SHIFT * direction).astype("float32")
    for name in [name for name in weights if name.endswith("_embedding/table")]:
        missing = vocabulary - len(weights[name])
        weights[name] = np.concatenate([weights[name], np.tile(row, (missing, 1))]).astype("float32")
