"""The encoder: a stack of self-attention and feed-forward layers over the source."""

import keras

from models.attention import MultiHeadAttention
from models.sublayers import FeedForward, Residual, layer_norm


class EncoderLayer(keras.layers.Layer):
    """Self-attention, then a feed-forward network, each with a residual connection.

    Args:
        width: model width D.
        hidden: inner width of the feed-forward network.
        heads: number of heads H.
        dropout, attention_dropout, activation_dropout: rates after each sublayer, on the attention weights and inside
            the feed-forward network.
        activation: activation of the feed-forward network.
        norm: "pre" or "post".
        rotary: use rotary positions.

    Call arguments:
        x: tensor (B, S, D).
        attention_mask: boolean, broadcastable to (B, S, S).
        positions: integer tensor (B, S) or (1, S), for rotary.
        return_weights: also return the attention weights (B, H, S, S).
        training: whether dropout is on.

    Returns:
        Tensor (B, S, D), or that and the weights.
    """

    def __init__(
        self,
        width,
        hidden,
        heads,
        dropout=0.1,
        attention_dropout=0.0,
        activation_dropout=0.0,
        activation="relu",
        norm="post",
        rotary=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.settings = {
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
        policy = self.dtype_policy
        self.attention = MultiHeadAttention(
            width, heads, attention_dropout, rotary, dtype=policy, name="self_attention"
        )
        self.attention_residual = Residual(width, norm, dropout, dtype=policy, name="attention_residual")
        self.feed_forward = FeedForward(
            width, hidden, activation, activation_dropout, dtype=policy, name="feed_forward"
        )
        self.feed_forward_residual = Residual(width, norm, dropout, dtype=policy, name="feed_forward_residual")

    def build(self, input_shape):
        for layer in (self.attention, self.attention_residual, self.feed_forward, self.feed_forward_residual):
            layer.build(input_shape)

    def call(self, x, attention_mask=None, positions=None, return_weights=False, training=None):
        weights = []

        def attend(x):
            output, attention = self.attention(
                x, attention_mask=attention_mask, positions=positions, return_weights=True, training=training
            )
            weights.append(attention)
            return output

        x = self.attention_residual(x, function=attend, training=training)
        x = self.feed_forward_residual(x, function=lambda x: self.feed_forward(x, training=training), training=training)
        return (x, weights[0]) if return_weights else x

    def get_config(self):
        return {**super().get_config(), **self.settings}


class Encoder(keras.layers.Layer):
    """L encoder layers over embedded source tokens.

    Args:
        layers: number of layers L.
        **settings: as for `EncoderLayer`.

    Call arguments:
        x: embedded source (B, S, D).
        attention_mask: boolean, broadcastable to (B, S, S); usually `padding_mask(source)`.
        positions: integer tensor (B, S) or (1, S), for rotary.
        return_weights: also return a list of L attention weights (B, H, S, S).
        training: whether dropout is on.

    Returns:
        Encodings (B, S, D), or those and the list of weights.

    References:
        Vaswani et al. 2017, section 3.1.
    """

    def __init__(self, layers: int, width: int, hidden: int, heads: int, **settings):
        own = {key: settings.pop(key) for key in ("name", "dtype", "trainable") if key in settings}
        super().__init__(**own)
        self.settings = {"layers": layers, "width": width, "hidden": hidden, "heads": heads, **settings}
        self.stack = [
            EncoderLayer(width, hidden, heads, **settings, dtype=self.dtype_policy, name=f"layer_{i}")
            for i in range(layers)
        ]
        # Pre-norm leaves the last sum unnormalised.
        self.norm = layer_norm("norm", self.dtype_policy) if settings.get("norm") == "pre" else None

    def build(self, input_shape):
        for layer in self.stack:
            layer.build(input_shape)
        if self.norm:
            self.norm.build(input_shape)

    def call(self, x, attention_mask=None, positions=None, return_weights=False, training=None):
        weights = []
        for layer in self.stack:
            x, attention = layer(
                x, attention_mask=attention_mask, positions=positions, return_weights=True, training=training
            )
            weights.append(attention)
        x = self.norm(x) if self.norm else x
        return (x, weights) if return_weights else x

    def get_config(self):
        return {**super().get_config(), **self.settings}
