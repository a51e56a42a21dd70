"""What the encoder and the decoder have in common: a stack of layers of the same shape."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from models import Tensor
from models.attention import SelfAttention
from models.gradients import next_seeds, weights_of
from models.lsh import LSHAttention
from models.normalisation import LayerNorm
from models.reversible import BDIA, Coupling, Euler, Step, chain, on_grid
from models.sublayers import FeedForward, Residual

# How layers are joined.
PLAIN, REVERSIBLE, BDIA_STACK = "plain", "reversible", "bdia"
STACKS = (PLAIN, REVERSIBLE, BDIA_STACK)
# How a sequence attends to itself.
FULL, LSH = "full", "lsh"
ATTENTIONS: dict[str, type[SelfAttention]] = {FULL: SelfAttention, LSH: LSHAttention}


class Sublayer(NamedTuple):
    """A part of a layer: the `function` that it computes with the weights of `layer`, and the residual around it."""

    residual: Residual
    layer: keras.layers.Layer
    function: Callable[..., Tensor]

    @property
    def layers(self) -> tuple[keras.layers.Layer, keras.layers.Layer]:
        """The layers that hold its variables."""
        return self.residual, self.layer


class TransformerLayer(keras.layers.Layer):
    """Self-attention and a feed-forward network, each with a residual connection; subclasses define how they are used.

    Args:
        width: model width D.
        hidden: inner width of the feed-forward network.
        heads: number of heads H.
        dropout, attention_dropout, activation_dropout: rates after each sublayer, on the attention weights, and inside
            the feed-forward network.
        activation: activation of the feed-forward network.
        norm: "pre" or "post".
        rotary: use rotary positions.
        stack: "plain", "reversible" or "bdia", see `Stack`; the last two need norm = "pre".
        attention: "full" or "lsh"; with "lsh", attention masks are groups, see `LSHAttention`.
        lsh_chunk, lsh_rounds, lsh_buckets: settings of `LSHAttention`.
        feed_forward_chunks: number of portions in which the feed-forward network is computed.

    In a reversible stack, the layer's input x and its output are each the pair of streams.
    """

    # True if no position attends to a later one.
    causal = False

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
        stack: str = PLAIN,
        attention: str = FULL,
        lsh_chunk: int = 64,
        lsh_rounds: int = 2,
        lsh_buckets: int = 64,
        feed_forward_chunks: int = 1,
        **kwargs: Any,
    ) -> None:
        # The streams are float32 in every precision.
        super().__init__(**{"autocast": stack != REVERSIBLE, **kwargs})
        if stack not in STACKS:
            raise ValueError(f"stack must be one of {', '.join(STACKS)}, got {stack!r}")
        if attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {', '.join(ATTENTIONS)}, got {attention!r}")
        if stack != PLAIN and norm != "pre":
            raise ValueError(f'stack "{stack}" needs norm "pre", got {norm!r}')
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
            "stack": stack,
            "attention": attention,
            "lsh_chunk": lsh_chunk,
            "lsh_rounds": lsh_rounds,
            "lsh_buckets": lsh_buckets,
            "feed_forward_chunks": feed_forward_chunks,
        }
        own: dict[str, Any] = {"dtype": self.dtype_policy, "name": "self_attention"}
        if attention == LSH:
            own |= {"causal": self.causal, "chunk": lsh_chunk, "rounds": lsh_rounds, "buckets": lsh_buckets}
        self.attention = ATTENTIONS[attention](width, heads, attention_dropout, rotary, **own)
        self.attention_residual = self._new_residual("self_attention")
        self.feed_forward = FeedForward(
            width,
            hidden,
            activation,
            activation_dropout,
            feed_forward_chunks,
            dtype=self.dtype_policy,
            name="feed_forward",
        )
        self.feed_forward_residual = self._new_residual("feed_forward")

    def _new_residual(self, name):
        width, norm, rate, stack = (self.settings[key] for key in ("width", "norm", "dropout", "stack"))
        return Residual(width, norm, rate, stack == REVERSIBLE, dtype=self.dtype_policy, name=f"{name}_residual")

    def build(self, input_shape: Any, *_: Any) -> None:
        for layer in (self.attention, self.attention_residual, self.feed_forward, self.feed_forward_residual):
            layer.build(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}


class Stack(keras.layers.Layer):
    """L layers of one kind and shape, and the final normalisation that pre-norm needs.

    With stack = "reversible" there are two streams, both of which start as the stack's input; the output is their mean.
    Each sublayer reads one and adds to the other. With stack = "bdia" it is an ordinary stack, but in training each two
    successive layers are averaged with a random weight. Neither keeps the layers' activations in training, see
    `models.reversible`.

    Args:
        layers: number of layers L.
        width, hidden, heads, **settings: as for `TransformerLayer`.

    References:
        Kitaev et al. 2020, "Reformer: The Efficient Transformer", section 3 (reversible); Zhang et al. 2025, "On Exact
        Bit-level Reversible Transformers Without Changing Architectures", section 4 (bdia).
    """

    layer_class = TransformerLayer

    def __init__(self, layers: int, width: int, hidden: int, heads: int, **settings: Any) -> None:
        own = {key: settings.pop(key) for key in ("name", "dtype", "trainable") if key in settings}
        super().__init__(**own)
        self.kind = settings.get("stack", PLAIN)
        self.settings: dict[str, Any] = {"layers": layers, "width": width, "hidden": hidden, "heads": heads, **settings}
        self.stack = [
            self.layer_class(width, hidden, heads, **settings, dtype=self.dtype_policy, name=f"layer_{i}")
            for i in range(layers)
        ]
        # Pre-norm leaves the last sum unnormalised.
        self.norm = LayerNorm(dtype=self.dtype_policy, name="norm") if settings.get("norm") == "pre" else None
        # For averaging layers.
        self.seed_generator = keras.random.SeedGenerator() if self.kind == BDIA_STACK else None

    def build(self, input_shape: Any, *_: Any) -> None:
        for layer in self.stack:
            layer.build(input_shape)
        if self.norm:
            self.norm.build(input_shape)

    @property
    def forgets(self) -> bool:
        """True if training keeps no activations of the layers."""
        return self.kind != PLAIN

    def begun(self, x: Tensor) -> Any:
        """The first layer's input, from that of the stack (..., D)."""
        if self.kind != REVERSIBLE:
            return x
        x = ops.cast(x, "float32")
        return x, x

    def ended(self, x: Any) -> Tensor:
        """The stack's output (..., D), from that of its last layer."""
        if self.kind == REVERSIBLE:
            x = (x[0] + x[1]) / 2
        return self.norm(x) if self.norm else x

    def recomputed(self, x: Tensor, given: tuple, **settings: Any) -> Tensor:
        """The stack's output in training, without keeping activations of the layers.

        Args:
            x: (B, T, D).
            given: float tensors that are passed to all layers.
            **settings: further arguments of the layers' `sublayers`.
        """
        if self.kind == BDIA_STACK:
            return self._averaged(x, given, settings)
        steps = []
        for layer in self.stack:
            fixed = next_seeds(layer.variables)
            for number, part in enumerate(layer.sublayers(*given, **settings)):

                def change(x, *given, layer=layer, number=number):
                    part = layer.sublayers(*given, **settings)[number]
                    return part.residual.change(x, part.function, training=True)

                steps.append(Step(change, weights_of(part.layers), fixed, Coupling()))
        return self.ended(chain(steps, x, x, *given))

    def _averaged(self, x, given, settings):
        steps: list[Step] = []
        for layer in self.stack:

            def change(x, *given, layer=layer):
                after = x
                for part in layer.sublayers(*given, **settings):
                    after = after + ops.cast(part.residual.change(after, part.function, training=True), "float32")
                return after - x

            rule = BDIA(self._gammas(ops.shape(x)[0])) if steps else Euler()
            steps.append(Step(change, weights_of([layer]), next_seeds(layer.variables), rule))
        x = on_grid(x)
        return self.ended(chain(steps, x, x, *given)[1])

    def _gammas(self, batch):
        """1/2 or -1/2 for each row: (B, 1, 1) float32."""
        heads = keras.random.randint((batch, 1, 1), 0, 2, dtype="int32", seed=self.seed_generator)
        return ops.cast(heads, "float32") - 0.5

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}
