"""What the encoder and the decoder have in common: layers of one shape, one upon another."""

from typing import Any

import keras

from models.attention import SelfAttention
from models.normalisation import LayerNorm
from models.sublayers import FeedForward, Residual


class TransformerLayer(keras.layers.Layer):
    """Self-attention and a feed-forward network, each with a residual connection; subclasses define how they are used.

    Args:
        width: model width D.
        hidden: inner width of the feed-forward network.
        heads: number of heads H.
        dropout, attention_dropout, activation_dropout: rates after each sublayer, on the attention weights and inside
            the feed-forward network.
        activation: activation of the feed-forward network.
        norm: "pre" or "post".
        rotary: use rotary positions.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        heads: int,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        activation: str = "relu",
        norm: str = "post",
        rotary: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings: dict[str, Any] = {
            "width": width,
            "hidden": hidden,
            "heads": heads,
            "dropout": dropout,
            "attention_dropout": attention_dropout,
            "activation_dropout": activation_dropout,
            "activation": activation,
            "norm": norm,
            "rotary": rotary,
        }
        self.attention = SelfAttention(
            width, heads, attention_dropout, rotary, dtype=self.dtype_policy, name="self_attention"
        )
        self.attention_residual = self._new_residual("self_attention")
        self.feed_forward = FeedForward(
            width, hidden, activation, activation_dropout, dtype=self.dtype_policy, name="feed_forward"
        )
        self.feed_forward_residual = self._new_residual("feed_forward")

    def _new_residual(self, name):
        width, norm, rate = (self.settings[key] for key in ("width", "norm", "dropout"))
        return Residual(width, norm, rate, dtype=self.dtype_policy, name=f"{name}_residual")

    def build(self, input_shape: Any, *_: Any) -> None:
        for layer in (self.attention, self.attention_residual, self.feed_forward, self.feed_forward_residual):
            layer.build(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}


class Stack(keras.layers.Layer):
    """L layers of one kind and shape, and the normalisation at their end that pre-norm needs.

    Args:
        layers: number of layers L.
        width, hidden, heads, **settings: as for `TransformerLayer`.
    """

    layer_class = TransformerLayer

    def __init__(self, layers: int, width: int, hidden: int, heads: int, **settings: Any) -> None:
        own = {key: settings.pop(key) for key in ("name", "dtype", "trainable") if key in settings}
        super().__init__(**own)
        self.settings: dict[str, Any] = {"layers": layers, "width": width, "hidden": hidden, "heads": heads, **settings}
        self.stack = [
            self.layer_class(width, hidden, heads, **settings, dtype=self.dtype_policy, name=f"layer_{i}")
            for i in range(layers)
        ]
        # Pre-norm leaves the last sum unnormalised.
        self.norm = LayerNorm(dtype=self.dtype_policy, name="norm") if settings.get("norm") == "pre" else None

    def build(self, input_shape: Any, *_: Any) -> None:
        for layer in self.stack:
            layer.build(input_shape)
        if self.norm:
            self.norm.build(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}
