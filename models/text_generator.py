"""A language model: word vectors, layers of self-attention, a recurrent layer and a softmax over the next token."""

from typing import Any, NamedTuple

import keras
from keras import ops

from models import KeysValues, Nested, Tensor
from models.attention import cache_places, with_room
from models.dropout import ByteDropout
from models.embedding import TokenEmbedding
from models.encoder import Encoder, EncoderLayer
from models.masks import PAD, group_mask, look_ahead_mask
from models.normalisation import LayerNorm
from models.positions import PositionEmbedding


@keras.saving.register_keras_serializable(package="weitblick")
class CausalLayer(EncoderLayer):
    """An `EncoderLayer` whose positions attend to no later one, with a cache for computing position by position."""

    causal = True

    def prefill(self, x: Tensor, attention_mask: Tensor, positions: Tensor) -> tuple[Tensor, KeysValues]:
        """Like a call without dropout, but also returns the cache: keys and values, each (B, H, T, 1, D/H)."""
        cache: list[Tensor] = []

        def attend(x):
            queries, *keys_values = self.attention.queries_keys_values(x, positions)
            cache.extend(ops.expand_dims(part, 3) for part in keys_values)
            return self.attention.attend_after(None, queries, *keys_values, attention_mask)[0]

        x = self.attention_residual(x, function=attend)
        return self.feed_forward_residual(x, function=self.feed_forward), (cache[0], cache[1])

    def step(
        self, x: Tensor, cache: KeysValues, places: Tensor, ceilings: Tensor, positions: Tensor
    ) -> tuple[Tensor, KeysValues]:
        """One more position of each hypothesis of a search: (B * K, D) -> (B * K, D) and the cache.

        Args: see `models.attention.SelfAttention.step`.
        """
        written = []

        def attend(x):
            output, cached = self.attention.step(x, cache, places, ceilings, positions)
            written.append(cached)
            return output

        x = self.attention_residual(x, function=attend)
        return self.feed_forward_residual(x, function=self.feed_forward), written[0]


@keras.saving.register_keras_serializable(package="weitblick")
class CausalStack(Encoder):
    """L causal layers; arguments and call as for `Encoder`."""

    layer_class = CausalLayer

    def prefill(self, x: Tensor, attention_mask: Tensor, positions: Tensor) -> tuple[Tensor, list[KeysValues]]:
        """The states (B, T, D) of a text that is already known, and the caches filled by it."""
        x, caches = self.begun(x), []
        for layer in self.stack:
            x, cache = layer.prefill(x, attention_mask, positions)
            caches.append(cache)
        return self.ended(x), caches

    def step(
        self, x: Tensor, caches: list[KeysValues], entries: Tensor, position: Tensor
    ) -> tuple[Tensor, list[KeysValues], Tensor]:
        """One more position of each hypothesis of a search.

        Args:
            x: (B * K, D).
            caches: one for each layer; empty for a stack without layers.
            entries: (B * K, T) int32, see `models.attention.cache_places`.
            position: (B * K,) int32, the current position.

        Returns:
            The states (B * K, D), the caches, and the entries with this position.
        """
        if not caches:
            return self.ended(self.begun(x)), caches, entries
        beam = caches[0][0].shape[3]
        here = ops.equal(ops.arange(ops.shape(entries)[1], dtype="int32"), position[:, None])
        own = ops.arange(ops.shape(x)[0], dtype="int32")[:, None] % beam
        entries = ops.where(here, own, entries)
        positions = ops.reshape(position, (-1, beam))[:, :1]
        places, ceilings = cache_places(caches[0][0], entries, positions)
        x, written = self.begun(x), []
        for layer, cache in zip(self.stack, caches, strict=True):
            x, cache = layer.step(x, cache, places, ceilings, positions)
            written.append(cache)
        return self.ended(x), written, entries


class _Marks(NamedTuple):
    """Which positions (B, T) are real, begin a window, begin a document, and are remembered; boolean."""

    real: Tensor
    first: Tensor
    begins: Tensor
    remembered: Tensor


@keras.saving.register_keras_serializable(package="weitblick")
class TextGenerator(keras.Model):
    """Scores the next token of a text, and carries what it has read from window to window.

    Embedded tokens pass through layers of self-attention, which see the window up to each token; the output of a long
    short-term memory over all of the document's tokens is added to the result. The state of this recurrent layer is
    what is carried: it is the memory state of a document, like that of a `models.document.DocumentTransformer`. The
    targets of a corpus are the text; sources are ignored.

    Args:
        vocabulary_size: number of tokens V.
        layers: number of self-attention layers L; with 0 there is only the recurrent layer.
        width, hidden, heads, dropout, attention_dropout, activation_dropout, activation, norm: see `TransformerLayer`.
        positions, max_positions: see `models.transformer.Transformer`.
        tied: whether the table of token vectors is also that of the output.
        vectors, vectors_trainable: width of pre-trained token vectors if it is not D, and whether they change.

    Call arguments:
        inputs: as for `document_states`.
        training: whether dropout is on.

    Returns:
        Logits (B, T, V), float32, where each row of the batch starts a document: position t scores the token after
        token t.

    References:
        Hochreiter and Schmidhuber 1997, "Long Short-Term Memory"; Vaswani et al. 2017 for the layers; Merity 2019,
        "Single Headed Attention RNN", for attention and a recurrent layer together.
    """

    def __init__(
        self,
        vocabulary_size: int,
        layers: int = 4,
        width: int = 256,
        hidden: int = 1024,
        heads: int = 4,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        activation: str = "relu",
        norm: str = "pre",
        positions: str = "rotary",
        max_positions: int = 1024,
        tied: bool = True,
        vectors: int | None = None,
        vectors_trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        layer: dict[str, Any] = {
            "width": width,
            "hidden": hidden,
            "heads": heads,
            "dropout": dropout,
            "attention_dropout": attention_dropout,
            "activation_dropout": activation_dropout,
            "activation": activation,
            "norm": norm,
        }
        self.settings: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "layers": layers,
            **layer,
            "positions": positions,
            "max_positions": max_positions,
            "tied": tied,
            "vectors": vectors,
            "vectors_trainable": vectors_trainable,
        }
        self.positions_kind, self.max_positions = positions, max_positions
        options: dict[str, Any] = {"dtype": self.dtype_policy}
        train = vectors_trainable or vectors is None
        self.target_embedding = TokenEmbedding(
            vocabulary_size, width, vectors, train, name="target_embedding", **options
        )
        self.output_embedding = (
            self.target_embedding
            if tied
            else TokenEmbedding(vocabulary_size, width, name="output_embedding", **options)
        )
        self.positions = PositionEmbedding(positions, max_positions, name="positions", **options)
        self.dropout = ByteDropout(dropout, name="embedding_dropout", **options)
        self.stack = CausalStack(layers, **layer, rotary=positions == "rotary", name="stack", **options)
        # Keras' orthogonal matrix cannot be made in bfloat16.
        self.cell = keras.layers.LSTMCell(width, recurrent_initializer="glorot_uniform", name="cell", **options)
        self.cell_dropout = ByteDropout(dropout, name="cell_dropout", **options)
        self.norm = LayerNorm(name="norm", **options)

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights at once; their shapes do not depend on the input's."""
        width = (None, None, self.settings["width"])
        for embedding in dict.fromkeys((self.target_embedding, self.output_embedding)):
            embedding.build()
            embedding.built = True
        for layer in (self.positions, self.stack, self.norm):
            layer.build(width)
        self.cell.build((None, self.settings["width"]))
        self.cell.built = self.built = True

    @property
    def input_embeddings(self) -> dict[str, TokenEmbedding]:
        """The embedding of what is read, by side."""
        return {"target": self.target_embedding}

    @property
    def layers_in_order(self) -> list:
        """The layers of a forward pass, one after another."""
        return [self.target_embedding, *self.stack.stack, self.norm]

    @property
    def loss_names(self) -> list[str]:
        """The names of extra losses; there are none."""
        return []

    @property
    def extra_losses(self) -> dict[str, Tensor]:
        """Extra losses by name; there are none."""
        return {}

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        memory = self.initial_memory(ops.shape(inputs["target"])[0])
        return self.output_embedding.logits(self.document_states(inputs, memory, training)[0])

    @property
    def states_width(self) -> int:
        """The width of the states from which logits are made."""
        return self.settings["width"]

    def initial_memory(self, batch: int | Tensor) -> Nested:
        """The state at the start of documents: a dictionary of tensors with the batch as axis 0."""
        zeros = ops.zeros((batch, self.settings["width"]), "float32")
        return {"cell": zeros, "hidden": zeros}

    def document_states(
        self, inputs: dict[str, Tensor], memory: Nested, training: bool | None = None, own_choices: bool = False
    ) -> tuple[Tensor, Nested]:
        """The states of all windows of a batch, from which logits are made, and the memory after them.

        Args:
            inputs: "target" (B, T), "target_windows", "target_positions", "target_remembered" and "resets", as for a
                `DocumentTransformer`.
            memory: from `initial_memory` or the previous call.
            training: whether dropout is on.
            own_choices: has no effect, as a text has no other side.
        """
        windows, positions = inputs["target_windows"], inputs["target_positions"]
        mask = ops.logical_and(group_mask(windows, windows), look_ahead_mask(ops.shape(windows)[1]))
        x = self.dropout(self.positions(self.target_embedding(inputs["target"]), positions), training=training)
        x = self.stack(x, attention_mask=mask, positions=positions, training=training)
        number = ops.maximum(ops.cast(windows, "int32") - 1, 0)
        resets = ops.take_along_axis(ops.cast(inputs["resets"], "int32"), number, axis=1)
        real = ops.not_equal(windows, 0)
        first = ops.logical_and(real, ops.equal(positions, 0))
        remembered = ops.logical_and(real, inputs["target_remembered"] > 0)
        found, memory = self._recurrent(x, _Marks(real, first, ops.logical_and(first, resets > 0), remembered), memory)
        return self.norm(x + self.cell_dropout(found, training=training)), memory

    def remember(self, inputs: dict[str, Tensor], memory: Nested) -> Nested:
        """The memory after the windows in `inputs`; arguments as for `document_states`."""
        return self.document_states(inputs, memory)[1]

    def _recurrent(self, x, marks, memory):
        """The recurrent layer's output at each position (B, T, D), and its state after the last remembered one.

        A window continues from what was remembered before it.
        """
        inputs = self._cell_inputs(x)

        def advance(states, given):
            here = _Marks(*ops.split(given[..., inputs.shape[-1] :] > 0, len(_Marks._fields), axis=-1))
            kept = [ops.where(here.begins, 0.0, part) for part in states[2:]]
            before = [ops.where(here.first, *pair) for pair in zip(kept, states[:2], strict=True)]
            after = self._cell(given[..., : inputs.shape[-1]], before)
            after = [ops.where(here.real, *pair) for pair in zip(after, before, strict=True)]
            kept = [ops.where(here.remembered, *pair) for pair in zip(after, kept, strict=True)]
            # The same for both results, because Keras' scan on TensorFlow requires them to have one structure.
            return [*after, *kept], [*after, *kept]

        given = ops.concatenate([inputs, *(ops.cast(mark, inputs.dtype)[..., None] for mark in marks)], axis=-1)
        start = [memory["hidden"], memory["cell"]]
        (*_, hidden, cell), (found, *_) = ops.scan(advance, [*start, *start], ops.swapaxes(given, 0, 1))
        return ops.cast(ops.swapaxes(found, 0, 1), x.dtype), {"cell": cell, "hidden": hidden}

    def _cell_inputs(self, x):
        """What the recurrent layer's gates get from its inputs: (..., D) -> (..., 4 * D)."""
        kernel, bias = (ops.cast(weight, x.dtype) for weight in (self.cell.kernel, self.cell.bias))
        return ops.matmul(x, kernel) + bias

    def _cell(self, inputs, state):
        """The state of the recurrent layer after a position, (B, D) each; the first part is its output.

        It is float32 in every precision: bfloat16 would lose what is added in small amounts.
        """
        hidden, cell = state
        recurrent = ops.matmul(ops.cast(hidden, inputs.dtype), ops.cast(self.cell.recurrent_kernel, inputs.dtype))
        write, keep, new, show = ops.split(ops.cast(inputs + recurrent, "float32"), 4, axis=-1)
        cell = ops.sigmoid(keep) * cell + ops.sigmoid(write) * ops.tanh(new)
        return [ops.sigmoid(show) * ops.tanh(cell), cell]

    def initial_state(self, prefix: Tensor, steps: int, memory: Nested | None = None) -> Nested:
        """What `step` needs to continue after a prefix.

        Args:
            prefix: (B, P) tokens that the window begins with, except the last, which is the input of the first step;
                padded at the end; P may be 0.
            steps: how many steps there may be.
            memory: the memory before the window; by default that of a document's start.

        Returns:
            A nested state, see `models.search.state`.
        """
        batch, length = ops.shape(prefix)
        memory = self.initial_memory(batch) if memory is None else memory
        real, positions = ops.not_equal(prefix, PAD), ops.arange(length, dtype="int32")[None]
        mask = ops.logical_and(real[:, None], look_ahead_mask(length))
        x, caches = self.stack.prefill(self.positions(self.target_embedding(prefix), positions), mask, positions)
        nowhere = ops.zeros_like(real)
        _, after = self._recurrent(x, _Marks(real, nowhere, nowhere, real), memory)
        entries, position = ops.where(real, 0, -1), ops.sum(ops.cast(real, "int32"), axis=1)
        return with_room({**after, "entries": entries, "position": position, "written": caches}, steps)

    def lengthen_state(self, state: Nested, steps: int) -> Nested:
        """The state with room for `steps` more steps."""
        return with_room(state, steps)

    def step(self, tokens: Tensor, state: Nested) -> tuple[Tensor, Nested]:
        """Logits (N, V) of the token after `tokens` (N,), and the state after it."""
        position = state["position"]
        x = self.positions(self.target_embedding(tokens[:, None]), position[:, None])
        x, caches, entries = self.stack.step(x[:, 0], state["written"], state["entries"], position)
        hidden, cell = self._cell(self._cell_inputs(x), [state["hidden"], state["cell"]])
        logits = self.output_embedding.logits(self.norm(x + ops.cast(hidden, x.dtype)))
        after = {"cell": cell, "hidden": hidden, "entries": entries, "position": position + 1, "written": caches}
        return logits, after

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}
