"""Converts the weights of Marian's checkpoints in Hugging Face's layout into those of Weitblick's model."""

from pathlib import Path
from typing import Any

import numpy as np

from app.imports.marian_tokenizer import Vocabulary
from data.errors import UserError
from data.installing import extra_command, package_command
from data.subwords import BOS, PAD

SAFETENSORS, TORCH = "model.safetensors", "pytorch_model.bin"
# Copies of the one table of embeddings; files hold some of them.
TABLES = (
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
)
BIAS = "final_logits_bias"
# The attentions of the layers on each side, and what they attend to.
SIDES = {"encoder": {"self_attn": "self"}, "decoder": {"self_attn": "self", "encoder_attn": "source"}}
# Pieces that the search must never choose get logits this far below all others, in nats.
_NEVER = 60.0


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """The weights of a checkpoint by their names, in float32.

    Raises:
        UserError: there is no file of weights, it is damaged or holds numbers that are not finite, or the package that
            reads it is missing.
    """
    path = folder / SAFETENSORS
    if path.exists():
        found = _read_safetensors(path)
    elif (path := folder / TORCH).exists():
        found = _read_torch(path)
    else:
        raise UserError(
            f"{folder / SAFETENSORS}: the file is missing, and there is no {TORCH}; download the checkpoint again"
        )
    weights = {name: np.asarray(array, "float32") for name, array in found.items()}
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {name} has numbers that are not finite: download the checkpoint again")
    return weights


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise UserError(f"{path}: safetensors, which reads it, is not installed: {extra_command('import')}") from error
    try:
        return load_file(path)
    except (SafetensorError, TypeError, KeyError) as error:
        raise UserError(f"{path}: the weights cannot be read: {error}; download the checkpoint again") from error


def _read_torch(path: Path) -> dict[str, Any]:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path}: only PyTorch reads this file: {package_command('torch')}; or download {SAFETENSORS} if the model "
            "has it"
        ) from error
    import pickle

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        first = str(error).partition("\n")[0]
        raise UserError(f"{path}: the weights cannot be read: {first}; download the checkpoint again") from error
    return {name: tensor.float().numpy() for name, tensor in found.items()}


def convert(theirs: dict[str, np.ndarray], config: dict[str, Any], vocabulary: Vocabulary, place: Path) -> dict:
    """The weights of a `models.transformer.Transformer` that computes the same.

    Marian's positions hold all sines before all cosines, ours each sine before its cosine. The columns of everything
    that is added to them are reordered alike, which changes no result.

    Args:
        theirs: from `read_weights`.
        config: the checkpoint's `config.json`.
        vocabulary: the order of the pieces.
        place: the checkpoint, for messages.

    Returns:
        Name to array, as `app.runs.weights.read_variables` gives them.

    Raises:
        UserError: a weight is missing, has another shape or is left over.
    """
    reader = _Reader(theirs, config, place)
    found = {f"source_embedding/{name}": array for name, array in reader.embeddings(vocabulary).items()}
    for side, attentions in SIDES.items():
        for number in range(config[f"{side}_layers"]):
            ours = f"{side}/layer_{number}"
            layer = reader.layer(f"model.{side}.layers.{number}", attentions)
            found |= {f"{ours}/{name}": array for name, array in layer.items()}
    reader.refuse_rest()
    return found


class _Reader:
    """Takes weights out of a checkpoint, checks their shapes and reorders their columns."""

    def __init__(self, theirs: dict[str, np.ndarray], config: dict[str, Any], place: Path):
        self.left, self.config, self.place = dict(theirs), config, place
        self.width, self.hidden = config["d_model"], config["encoder_ffn_dim"]
        self.order = np.arange(self.width).reshape(2, -1).T.ravel()

    def embeddings(self, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
        """The table, and the bias of the output, in the order of the vocabulary."""
        size, tables = self.config["vocab_size"], [name for name in TABLES if name in self.left]
        table, *others = [self._take(name, size, self.width) for name in tables or TABLES[:1]]
        for name, other in zip(tables[1:], others, strict=True):
            if not np.array_equal(table, other):
                raise UserError(f"{self.place}: {name} and {tables[0]} differ; only models with one are supported")
        bias = self._take(BIAS, 1, size)[0] if BIAS in self.left else np.zeros(size, "float32")
        rows = np.array(vocabulary.rows)
        # Padding too: the logit of its empty row would otherwise take part in the softmax.
        never = (rows < 0) | np.isin(np.arange(len(rows)), (PAD, BOS))
        return {
            "table": np.where(rows[:, None] < 0, np.float32(0), table[rows][:, self.order]),
            "bias": np.where(never, bias.min() - np.float32(_NEVER), bias[rows]),
        }

    def layer(self, name: str, attentions: dict[str, str]) -> dict[str, np.ndarray]:
        """A layer's weights; `attentions` maps their name of each attention to what it attends to."""
        found: dict[str, np.ndarray] = {}
        for theirs, what in attentions.items():
            query, key, value = (self._dense(f"{name}.{theirs}.{each}_proj", self.width, into=True) for each in "qkv")
            ours = f"{what}_attention"
            if what == "self":
                found |= _joined(f"{ours}/query_key_value", query, key, value)
            else:
                found |= _joined(f"{ours}/query", query) | _joined(f"{ours}/key_value", key, value)
            found |= _joined(f"{ours}/output", self._dense(f"{name}.{theirs}.out_proj", self.width, into=False))
            found |= self._norm(f"{name}.{theirs}_layer_norm", f"{ours}_residual")
        found |= _joined("feed_forward/inner", self._dense(f"{name}.fc1", self.hidden, into=True))
        found |= _joined("feed_forward/outer", self._dense(f"{name}.fc2", self.hidden, into=False))
        return found | self._norm(f"{name}.final_layer_norm", "feed_forward_residual")

    def _dense(self, name, inner, into):
        """Kernel and bias of a dense layer between the model's width and an inner one: into it, or out of it."""
        if into:
            kernel = self._take(f"{name}.weight", inner, self.width).T[self.order]
            return kernel, self._take(f"{name}.bias", inner)
        kernel = self._take(f"{name}.weight", self.width, inner).T[:, self.order]
        return kernel, self._take(f"{name}.bias", self.width)[self.order]

    def _norm(self, name, ours):
        gamma, beta = (self._take(f"{name}.{part}", self.width)[self.order] for part in ("weight", "bias"))
        return {f"{ours}/norm/gamma": gamma, f"{ours}/norm/beta": beta}

    def _take(self, name, *shape):
        if name not in self.left:
            raise UserError(f"{self.place}: the weights lack {name}, which config.json requires")
        array = self.left.pop(name)
        if array.shape != shape:
            raise UserError(f"{self.place}: {name} has shape {array.shape}, but config.json says {shape}")
        return array

    def refuse_rest(self) -> None:
        """Refuses weights that were not used; fixed positions may be among them."""
        for side in ("encoder", "decoder"):
            name = f"model.{side}.embed_positions.weight"
            if name in self.left and not self._fixed(self.left.pop(name)):
                raise UserError(f"{self.place}: {name} does not hold Marian's fixed positions, the only ones read")
        if self.left:
            raise UserError(f"{self.place}: Marian has no weights called {', '.join(sorted(self.left)[:3])}")

    def _fixed(self, table):
        """Whether positions are sines and cosines, to the accuracy of 16-bit numbers."""
        if table.ndim != 2 or table.shape[1] != self.width:
            return False
        angles = np.arange(len(table))[:, None] / 10000.0 ** (np.arange(0, self.width, 2) / self.width)
        return np.allclose(table, np.concatenate([np.sin(angles), np.cos(angles)], axis=1), atol=0.01)


def _joined(name: str, *parts: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    """Joins dense layers that have the same input into one: kernel and bias."""
    kernels, biases = zip(*parts, strict=True)
    return {f"{name}/kernel": np.concatenate(kernels, axis=1), f"{name}/bias": np.concatenate(biases)}
