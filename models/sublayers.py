"""The parts that encoder and decoder layers share: the feed-forward network and the residual connection."""

from collections.abc import Callable
from typing import Any

import keras

from models import Tensor
from models.dropout import ByteDropout
from models.normalisation import LayerNorm


@keras.saving.register_keras_serializable(package="weitblick")
class FeedForward(keras.layers.Layer):
    """Two dense layers with an activation between them, applied to each position alone.

    Args:
        width: model width D.
        hidden: width of the inner layer.
        activation: name of a Keras activation, such as "relu" or "gelu".
        dropout: dropout rate after the activation.

    Call arguments:
        x: tensor (B, T, D).
        training: whether dropout is on.

    Returns:
        Tensor (B, T, D).

    References:
        Vaswani et al. 2017, section 3.3, equation 2.
    """

    def __init__(self, width: int, hidden: int, activation: str = "relu", dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.hidden, self.activation, self.rate = width, hidden, activation, dropout
        self.inner = keras.layers.Dense(hidden, activation=activation, dtype=self.dtype_policy, name="inner")
        self.outer = keras.layers.Dense(width, dtype=self.dtype_policy, name="outer")
        self.dropout = ByteDropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape: Any) -> None:
        self.inner.build((None, None, self.width))
        self.outer.build((None, None, self.hidden))

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        return self.outer(self.dropout(self.inner(x), training=training))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "width": self.width,
            "hidden": self.hidden,
            "activation": self.activation,
            "dropout": self.rate,
        }


@keras.saving.register_keras_serializable(package="weitblick")
class Residual(keras.layers.Layer):
    """A residual connection with dropout and layer normalisation around a function.

    Args:
        width: model width D.
        norm: "post" for norm(x + dropout(f(x))), as in the paper, or "pre" for x + dropout(f(norm(x))), which trains
            without a careful warm-up and needs one more normalisation at the end of the stack.
        dropout: dropout rate on the function's output.

    Call arguments:
        x: tensor (B, T, D).
        function: maps (B, T, D) to (B, T, D).
        training: whether dropout is on.

    Returns:
        Tensor (B, T, D).

    References:
        Vaswani et al. 2017, section 5.4 (post); Xiong et al. 2020, "On Layer Normalization in the Transformer
        Architecture" (pre).
    """

    def __init__(self, width: int, norm: str = "post", dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if norm not in ("pre", "post"):
            raise ValueError(f'norm must be "pre" or "post", got {norm!r}')
        self.width, self.order, self.rate = width, norm, dropout
        self.norm = LayerNorm(dtype=self.dtype_policy, name="norm")
        self.dropout = ByteDropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape: Any, *_: Any) -> None:
        self.norm.build((None, None, self.width))

    def call(self, x: Tensor, function: Callable[..., Tensor], training: bool | None = None) -> Tensor:
        if self.order == "pre":
            return x + self.dropout(function(self.norm(x)), training=training)
        return self.norm(x + self.dropout(function(x), training=training))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "norm": self.order, "dropout": self.rate}
