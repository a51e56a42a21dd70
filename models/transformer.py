"""The encoder-decoder Transformer."""

from typing import Any

import keras
from keras import ops

from models import Nested, Tensor
from models.attention import with_room
from models.decoder import Decoder
from models.dropout import ByteDropout
from models.embedding import TokenEmbedding
from models.encoder import Encoder
from models.masks import PAD, look_ahead_mask, padding_mask, score_ceilings
from models.past import Read, nothing
from models.positions import PositionEmbedding
from models.stack import LSH

TIES = ("all", "target", "none")


@keras.saving.register_keras_serializable(package="weitblick")
class Transformer(keras.Model):
    """Translates token ids to logits over the next target token.

    Args:
        vocabulary_size: number of tokens V, shared by source and target.
        encoder_layers, decoder_layers: number of layers L on each side.
        width, hidden, heads: model width D, inner width of the feed-forward networks, number of heads H.
        dropout: rate on embeddings and on each sublayer's output; attention_dropout and activation_dropout are rates
            on the attention weights and inside the feed-forward networks.
        activation: activation of the feed-forward networks.
        norm: "post" (the paper) or "pre".
        stack: how layers are joined, "plain", "reversible" or "bdia", see `models.stack.Stack`.
        attention: "full" or "lsh", see `models.lsh.LSHAttention`, whose settings are lsh_chunk, lsh_rounds and
            lsh_buckets.
        feed_forward_chunks: number of portions in which feed-forward networks are computed, see `FeedForward`.
        positions: "sinusoidal", "learned" or "rotary"; max_positions limits the learned ones.
        tie: which tables are the same: "all" (source, target, output), "target" (target and output) or "none".
        source_vectors, target_vectors: width of the stored vectors of each side if it is not D, for pre-trained ones;
            with tie = "all" the first counts.
        vectors_trainable: whether the tables for which a width was given change in training.
        output_bias: whether each token's logit has a learned bias.

    Call arguments:
        inputs: {"source": (B, S), "target": (B, T)} token ids; the target is the decoder's input and begins with the
            begin-of-sequence token.
        training: whether dropout is on.

    Returns:
        Logits (B, T, V), float32: row t scores the token after target token t.

    Example:
        model = Transformer(vocabulary_size=8000, width=256, hidden=1024, heads=4)
        logits = model({"source": source, "target": target})

    References:
        Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762
    """

    def __init__(
        self,
        vocabulary_size: int,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        width: int = 512,
        hidden: int = 2048,
        heads: int = 8,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        activation: str = "relu",
        norm: str = "post",
        stack: str = "plain",
        attention: str = "full",
        lsh_chunk: int = 64,
        lsh_rounds: int = 2,
        lsh_buckets: int = 64,
        feed_forward_chunks: int = 1,
        positions: str = "sinusoidal",
        max_positions: int = 1024,
        tie: str = "all",
        source_vectors: int | None = None,
        target_vectors: int | None = None,
        vectors_trainable: bool = True,
        output_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if tie not in TIES:
            raise ValueError(f"tie must be one of {', '.join(TIES)}, got {tie!r}")
        layer: dict[str, Any] = {
            "width": width,
            "hidden": hidden,
            "heads": heads,
            "dropout": dropout,
            "attention_dropout": attention_dropout,
            "activation_dropout": activation_dropout,
            "activation": activation,
            "norm": norm,
            "stack": stack,
            "attention": attention,
            "lsh_chunk": lsh_chunk,
            "lsh_rounds": lsh_rounds,
            "lsh_buckets": lsh_buckets,
            "feed_forward_chunks": feed_forward_chunks,
        }
        self.settings: dict[str, Any] = {
            "vocabulary_size": vocabulary_size,
            "encoder_layers": encoder_layers,
            "decoder_layers": decoder_layers,
            **layer,
            "positions": positions,
            "max_positions": max_positions,
            "tie": tie,
            "source_vectors": source_vectors,
            "target_vectors": target_vectors,
            "vectors_trainable": vectors_trainable,
            "output_bias": output_bias,
        }
        layer.update(rotary=positions == "rotary", dtype=self.dtype_policy)
        self.tie, self.max_positions = tie, max_positions
        self.positions_kind = positions
        self._make_embeddings(vocabulary_size, width, (source_vectors, target_vectors), vectors_trainable)
        self.source_positions = PositionEmbedding(
            positions, max_positions, dtype=self.dtype_policy, name="source_positions"
        )
        self.target_positions = PositionEmbedding(
            positions, max_positions, dtype=self.dtype_policy, name="target_positions"
        )
        self.dropout = ByteDropout(dropout, dtype=self.dtype_policy, name="embedding_dropout")
        self.encoder = Encoder(encoder_layers, **layer, name="encoder")
        self.decoder = Decoder(decoder_layers, **layer, name="decoder")

    def _make_embeddings(self, vocabulary_size, width, vectors, trainable):
        def table(name, vector_width=None, ties=()):
            train, bias = trainable or vector_width is None, self.tie in ties and self.settings["output_bias"]
            return TokenEmbedding(vocabulary_size, width, vector_width, train, bias, dtype=self.dtype_policy, name=name)

        # Each with the ties under which it is also the output table.
        self.source_embedding = self.target_embedding = table("source_embedding", vectors[0], ("all",))
        if self.tie != "all":
            self.target_embedding = table("target_embedding", vectors[1], ("target",))
        self.output_embedding = self.target_embedding if self.tie != "none" else table("output_embedding", None, TIES)

    @property
    def states_width(self) -> int:
        """The width of the states from which logits are made."""
        return self.settings["width"]

    @property
    def input_embeddings(self) -> dict[str, TokenEmbedding]:
        """The embeddings of what is read, by side."""
        return {"source": self.source_embedding, "target": self.target_embedding}

    @property
    def layers_in_order(self) -> list:
        """The layers of a forward pass, one after another, without those of a memory."""
        return [self.source_embedding, *self.encoder.stack, self.target_embedding, *self.decoder.stack]

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights at once; their shapes do not depend on the input's."""
        width = (None, None, self.settings["width"])
        for embedding in (self.source_embedding, self.target_embedding, self.output_embedding):
            if not embedding.built:
                embedding.build()
                embedding.built = True
        for layer in (self.source_positions, self.target_positions, self.encoder, self.decoder):
            layer.build(width)
        self.built = True

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        return self.output_embedding.logits(self.states(inputs, training=training))

    def states(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        """The decoder's states (B, T, D) from which the logits are made; arguments as for a call."""
        return self.decode(inputs["target"], self.encode(inputs["source"], training), inputs["source"], training)[0]

    def encode(self, source: Tensor, training: bool | None = None, return_weights: bool = False) -> Any:
        """Encodings (B, S, D) of source tokens (B, S); with return_weights also L attention weights (B, H, S, S)."""
        mask = self._visible(padding_mask(source), ops.not_equal(source, PAD))
        return self._read_source(source, mask, self._positions(source), training, return_weights)

    def _visible(self, mask, groups):
        """A stack's `attention_mask`: the boolean `mask`, or for LSH attention the numbers of groups (B, T)."""
        return mask if self.settings["attention"] != LSH else ops.cast(groups, "int32")

    def _read_source(self, source, mask, positions, training=None, return_weights=False, read=nothing):
        self._make_weights()
        x = self.dropout(self.source_positions(self.source_embedding(source), positions), training=training)
        own = {"attention_mask": mask, "positions": positions, "read": read}
        return self.encoder(x, **own, return_weights=return_weights, training=training)

    def decode(
        self, target: Tensor, encodings: Tensor, source: Tensor, training: bool | None = None
    ) -> tuple[Tensor, Any]:
        """States for all target positions at once.

        Args:
            target: decoder input (B, T).
            encodings: (B, S, D), from `encode(source)`.
            source: source tokens (B, S), for their padding.
            training: whether dropout is on.

        Returns:
            States (B, T, D), and a pair of lists of attention weights for each layer: on the target (B, H, T, T) and
            on the source (B, H, T, S).
        """
        states, _, weights = self._decode(target, encodings, source, training)
        return states, weights

    def keys(self, inputs: dict[str, Tensor], kind: str = "feed_forward") -> Tensor:
        """The key of each decoder position in a retrieval memory, see `models.memories.retrieval`.

        Args:
            inputs: as for a call.
            kind: "feed_forward", the input of the last layer's feed-forward network, or "output", the states from
                which the logits are made.

        Returns:
            Float32 (B, T, D).
        """
        encodings = self._encode_alone(inputs["source"])
        states, inner, _ = self._decode(inputs["target"], encodings, inputs["source"])
        return ops.cast(_key(states, inner, kind), "float32")

    def source_attention(self, inputs: dict[str, Tensor]) -> Tensor:
        """The share of its attention that each decoder position gives to each source token; for plots.

        Args:
            inputs: as for a call.

        Returns:
            Float32 (B, L, H, T, S): row t belongs to the choice of the token after target token t.
        """
        encodings = self._encode_alone(inputs["source"])
        _, _, (_, weights) = self._decode(inputs["target"], encodings, inputs["source"])
        return ops.cast(ops.stack(weights, axis=1), "float32")

    def _encode_alone(self, source):
        """The encodings of a source without anything before it."""
        return self.encode(source)

    def _decode(self, target, encodings, source, training=None):
        mask = ops.logical_and(padding_mask(target), look_ahead_mask(ops.shape(target)[1]))
        mask = self._visible(mask, ops.not_equal(target, PAD))
        source_mask, positions = padding_mask(source), self._positions(target)
        read = self._read_first("target", ops.shape(target)[0])
        return self._read_target(target, encodings, mask, source_mask, positions, training, read)

    def _read_first(self, side, batch):
        """What the layers of a side read from memories that are still empty."""
        return nothing

    def _read_target(self, target, encodings, mask, source_mask, positions, training=None, read=nothing):
        self._make_weights()
        x = self.dropout(self.target_positions(self.target_embedding(target), positions), training=training)
        own = {"attention_mask": mask, "source_mask": source_mask, "positions": positions, "read": read}
        return self.decoder(x, encodings, **own, training=training)

    def initial_state(self, source: Tensor, max_length: int) -> Nested:
        """What `step` needs to begin: the encoded source and empty caches.

        Args:
            source: source tokens (B, S).
            max_length: how many steps there may be; at most max_positions with learned positions.

        Returns:
            A nested state; axis 0 of each tensor is the batch. A search for K hypotheses of each source turns it into
            one of B * K rows, see `models.search.state`; `"shared"` and `"written"` keep one row for each source.
        """
        if self.positions_kind == "learned" and isinstance(max_length, int) and max_length > self.max_positions:
            raise ValueError(f"{max_length} steps are more than the {self.max_positions} learned positions")
        return self._state_before(source, self.encode(source), max_length)

    def _state_before(self, source, encodings, max_length):
        """The state before the first step, from the source (B, S) and its encodings (B, S, D)."""
        batch, sources = ops.shape(source)[0], self.decoder.source_keys_values(encodings)
        ceilings = score_ceilings(padding_mask(source)[:, None])
        return {
            "shared": {"sources": sources, "ceilings": ceilings},
            "written": self.decoder.empty_caches(batch, max_length),
            "entries": ops.full((batch, max_length), -1, "int32"),
            "position": ops.zeros((batch,), "int32"),
        }

    def lengthen_state(self, state: Nested, steps: int) -> Nested:
        """The state with room for `steps` more steps."""
        return with_room(state, steps)

    def step(self, tokens: Tensor, state: Nested) -> tuple[Tensor, Nested]:
        """One step of decoding with a cache, for one or more hypotheses of each source.

        Args:
            tokens: the last target token of each row (B * K,), at first the begin-of-sequence token.
            state: from `initial_state` or the previous step. All hypotheses of a source are at the same position.

        Returns:
            Logits (B * K, V) of the next token, and the state after this step.
        """
        logits, _, state = self.step_with_key(tokens, state)
        return logits, state

    def step_with_key(self, tokens: Tensor, state: Nested, kind: str = "feed_forward") -> tuple[Tensor, Tensor, Nested]:
        """Like `step`, with the key of each row (B * K, D) in float32 as its second result; `kind` as for `keys`."""
        states, inner, state = self._step_states(tokens, state)
        key = ops.cast(_key(states, inner, kind), "float32")
        return self.output_embedding.logits(self._after_stack(states, state)), key, state

    def _after_stack(self, states, state):
        """The states (B * K, D) from which the logits are made."""
        return states

    def _step_read(self, shared: Nested, beam: int) -> Read:
        """What the layers read from memories in a step."""
        return nothing

    def _step_states(self, tokens, state):
        caches, position = state["written"], state["position"]
        beam = caches[0][0].shape[3]
        place, shared = ops.reshape(position, (-1, beam))[:, :1], state["shared"]
        # How far positions are ahead of places in the caches.
        positions = place + shared["ahead"] if "ahead" in shared else place
        # What row k of a source writes now is entry k at this position.
        here = ops.equal(ops.arange(ops.shape(caches[0][0])[2], dtype="int32"), ops.expand_dims(position, 1))
        own = ops.expand_dims(ops.arange(ops.shape(tokens)[0], dtype="int32") % beam, 1)
        entries = ops.where(here, own, state["entries"])
        x = self.target_positions(self.target_embedding(ops.reshape(tokens, (-1, beam))), positions)
        x = ops.reshape(x, (-1, self.settings["width"]))
        read = self._step_read(shared, beam)
        states, inner, caches = self.decoder.step(
            x, shared["sources"], caches, entries, shared["ceilings"], positions, read, place
        )
        return states, inner, {"shared": shared, "written": caches, "entries": entries, "position": position + 1}

    def _make_weights(self):
        # Keras does so before a call, but cannot if another method has already made some of them.
        if not self.built:
            self.build()

    def _positions(self, tokens):
        """Positions (1, T) of tokens (B, T)."""
        length = ops.shape(tokens)[1]
        if self.positions_kind == "learned" and isinstance(length, int) and length > self.max_positions:
            raise ValueError(f"{length} tokens are more than the {self.max_positions} learned positions")
        return ops.expand_dims(ops.arange(length), 0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}


def _key(states, inner, kind):
    """One of two results of the decoder; see `Transformer.keys`."""
    return {"output": states, "feed_forward": inner}[kind]
