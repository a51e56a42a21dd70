"""The parts that encoder and decoder layers share: the feed-forward network and the residual connection."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from models import Tensor
from models.chunks import in_chunks
from models.dropout import ByteDropout
from models.gradients import next_seeds, weights_of
from models.normalisation import LayerNorm


@keras.saving.register_keras_serializable(package="weitblick")
class FeedForward(keras.layers.Layer):
    """Two dense layers with an activation between them, applied to each position separately.

    Args:
        width: model width D.
        hidden: width of the inner layer.
        activation: name of a Keras activation, such as "relu", "gelu" or "swish".
        dropout: dropout rate after the activation.
        chunks: number of portions into which positions are split; they are computed one after another, which saves
            memory and takes a little longer.

    Call arguments:
        x: tensor (B, T, D).
        training: whether dropout is on.

    Returns:
        Tensor (B, T, D).

    References:
        Vaswani et al. 2017, section 3.3, equation 2.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        activation: str = "relu",
        dropout: float = 0.0,
        chunks: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.chunks = chunks
        self.width, self.hidden, self.activation, self.rate = width, hidden, activation, dropout
        self.inner = keras.layers.Dense(hidden, activation=activation, dtype=self.dtype_policy, name="inner")
        self.outer = keras.layers.Dense(width, dtype=self.dtype_policy, name="outer")
        self.dropout = ByteDropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape: Any) -> None:
        self.inner.build((None, None, self.width))
        self.outer.build((None, None, self.hidden))

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        def network(x):
            return self.outer(self.dropout(self.inner(x), training=training))

        if self.chunks == 1:
            return network(x)
        seeds = next_seeds(self.variables) if training else []
        return in_chunks(network, self.chunks, x, weights_of([self]), seeds)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "width": self.width,
            "hidden": self.hidden,
            "activation": self.activation,
            "dropout": self.rate,
            "chunks": self.chunks,
        }


@keras.saving.register_keras_serializable(package="weitblick")
class Residual(keras.layers.Layer):
    """A residual connection with dropout and layer normalisation around a function.

    Args:
        width: model width D.
        norm: "post" for norm(x + dropout(f(x))), as in the paper, or "pre" for x + dropout(f(norm(x))), which trains
            without a careful warm-up and needs one more normalisation at the end of the stack.
        dropout: dropout rate on the function's output.
        two_streams: x is the pair of streams (x1, x2) of a reversible stack, and the result is (x2, x1 + f(x2)).

    Call arguments:
        x: tensor (B, T, D), or two of them.
        function: maps (B, T, D) to (B, T, D).
        training: whether dropout is on.

    Returns:
        Tensor (B, T, D), or two of them.

    References:
        Vaswani et al. 2017, section 5.4 (post); Xiong et al. 2020, "On Layer Normalization in the Transformer
        Architecture" (pre); Kitaev et al. 2020, "Reformer", section 3 (two streams).
    """

    def __init__(
        self, width: int, norm: str = "post", dropout: float = 0.0, two_streams: bool = False, **kwargs: Any
    ) -> None:
        # The streams are float32 in every precision.
        super().__init__(**{"autocast": not two_streams, **kwargs})
        if norm not in ("pre", "post"):
            raise ValueError(f'norm must be "pre" or "post", got {norm!r}')
        if two_streams and norm != "pre":
            raise ValueError(f'two streams need norm "pre", got {norm!r}')
        self.width, self.order, self.rate, self.two_streams = width, norm, dropout, two_streams
        self.norm = LayerNorm(dtype=self.dtype_policy, name="norm")
        self.dropout = ByteDropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape: Any, *_: Any) -> None:
        self.norm.build((None, None, self.width))

    def call(self, x: Any, function: Callable[..., Tensor], training: bool | None = None) -> Any:
        if self.two_streams:
            previous, current = x
            return current, previous + ops.cast(self.change(current, function, training), previous.dtype)
        if self.order == "pre":
            return x + self.change(x, function, training)
        return self.norm(x + self.dropout(function(x), training=training))

    def change(self, x: Tensor, function: Callable[..., Tensor], training: bool | None = None) -> Tensor:
        """What is added to x with norm = "pre": (B, T, D) -> (B, T, D)."""
        return self.dropout(function(self.norm(x)), training=training)

    def get_config(self) -> dict[str, Any]:
        own = {"width": self.width, "norm": self.order, "dropout": self.rate, "two_streams": self.two_streams}
        return {**super().get_config(), **own}
