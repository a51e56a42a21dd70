"""The encoder: a stack of self-attention and feed-forward layers over the source."""

from collections.abc import Callable
from typing import Any

import keras

from models import Tensor
from models.past import NOTHING, Read, Reading, nothing
from models.stack import Stack, Sublayer, TransformerLayer


@keras.saving.register_keras_serializable(package="weitblick")
class EncoderLayer(TransformerLayer):
    """Self-attention, then a feed-forward network, each with a residual connection.

    Args:
        width, hidden, heads and so on: see `TransformerLayer`.

    Call arguments:
        x: tensor (B, S, D).
        attention_mask: boolean, broadcastable to (B, S, S).
        positions: integer tensor (B, S) or (1, S), for rotary.
        read: maps the input of self-attention to what is read from memories.
        return_weights: also return the attention weights (B, H, S, S).
        training: whether dropout is on.

    Returns:
        Tensor (B, S, D), or that and the weights.
    """

    def call(
        self,
        x: Tensor,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        read: Callable[[Tensor], Reading] = NOTHING,
        return_weights: bool = False,
        training: bool | None = None,
    ) -> Any:
        weights: list[Tensor] = []
        for part in self.sublayers(attention_mask, positions, read, weights, training):
            x = part.residual(x, function=part.function, training=training)
        return (x, weights[0]) if return_weights else x

    def sublayers(
        self,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        read: Callable[[Tensor], Reading] = NOTHING,
        weights: list[Tensor] | None = None,
        training: bool | None = None,
    ) -> list[Sublayer]:
        """The parts of a call with these arguments; attention weights are appended to `weights`."""

        def attend(x):
            found = read(x)
            own = {"attention_mask": attention_mask, "positions": positions, "past": found.past}
            output, attention = self.attention(x, **own, return_weights=True, training=training)
            if weights is not None:
                weights.append(attention)
            return found.plus(output)

        def feed_forward(x):
            return self.feed_forward(x, training=training)

        return [
            Sublayer(self.attention_residual, self.attention, attend),
            Sublayer(self.feed_forward_residual, self.feed_forward, feed_forward),
        ]


@keras.saving.register_keras_serializable(package="weitblick")
class Encoder(Stack):
    """L encoder layers over embedded source tokens.

    Args:
        layers: number of layers L.
        **settings: as for `EncoderLayer`.

    Call arguments:
        x: embedded source (B, S, D).
        attention_mask: boolean, broadcastable to (B, S, S); usually `padding_mask(source)`.
        positions: integer tensor (B, S) or (1, S), for rotary.
        read: what each layer reads from memories, see `models.past.Read`.
        return_weights: also return a list of L attention weights (B, H, S, S).
        training: whether dropout is on.

    Returns:
        Encodings (B, S, D), or those and the list of weights. A stack that keeps no activations returns no weights in
        training.

    References:
        Vaswani et al. 2017, section 3.1.
    """

    layer_class = EncoderLayer

    def call(
        self,
        x: Tensor,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        read: Read = nothing,
        return_weights: bool = False,
        training: bool | None = None,
    ) -> Any:
        if training and self.forgets:
            found = self.recomputed(x, (), attention_mask=attention_mask, positions=positions, training=True)
            return (found, []) if return_weights else found
        weights, x = [], self.begun(x)
        for number, layer in enumerate(self.stack):
            own = {"attention_mask": attention_mask, "positions": positions, "read": read(number)}
            x, attention = layer(x, **own, return_weights=True, training=training)
            weights.append(attention)
        x = self.ended(x)
        return (x, weights) if return_weights else x
