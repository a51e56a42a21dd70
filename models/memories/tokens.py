"""The tokens that a target memory holds, mixed in training, and the probability that the model gives each of them."""

from typing import Any

import keras
from keras import ops

from models import Tensor
from models.embedding import TokenEmbedding
from models.loss import BLOCKS, portions
from models.search.sampling import invert

# Share of windows whose tokens are drawn from the model, and share of tokens that are replaced in the others; both as
# in Voita et al.
DRAWN = 0.5
NOISE = 0.2


@keras.saving.register_keras_serializable(package="weitblick")
class StoredTokens(keras.layers.Layer):
    """What represents a token in the memory: its vector, plus p times a learnt vector.

    p is the probability that the model gives the token at its state, before the target memory is read. Apart from
    dropout, it is the same in training and in translation, where the tokens are those that the search found. The learnt
    vector starts at zero, so a model that was trained without it starts unchanged.

    In training the tokens are mixed: with probability `DRAWN`, all tokens of a window are drawn from the model;
    otherwise they are the reference's, with a share `NOISE` of them replaced by random tokens. Whole windows are drawn
    rather than single tokens, because in translation, too, a window is either the model's own or, with corrections, a
    person's.

    Args:
        width: model width D.
        seed: seed of the layer's own generator; its state is a variable and is saved with a checkpoint.

    Call arguments:
        states: (B, T, D).
        tokens: integer tensor (B, T), the token after each state.
        embedding: the layer of the output vectors.
        windows: integer tensor (B, T), the window of each state, 1 to `count`; given if tokens are to be mixed.
        kept: boolean (B, T), with `windows`: which tokens stay as they are.
        count: with `windows`: their number W.

    Returns:
        (B, T, D).

    References:
        Voita et al. 2019, "When a Good Translation is Wrong in Context", section 5, https://aclanthology.org/P19-1116
    """

    def __init__(self, width: int, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.seed = width, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any = None) -> None:
        self.trust = self.add_weight(shape=(self.width,), initializer="zeros", name="trust")

    def call(
        self,
        states: Tensor,
        tokens: Tensor,
        embedding: TokenEmbedding,
        windows: Tensor | None = None,
        kept: Tensor | None = None,
        count: int | Tensor = 0,
    ) -> Tensor:
        shape, drawn = ops.shape(tokens), None
        if windows is not None:
            tokens, drawn = self._mixed(tokens, embedding.vocabulary_size, windows, kept, count)
            drawn = tuple(ops.reshape(each, (-1,)) for each in drawn)
        rows = embedding.output_states(states)
        rows = ops.reshape(rows, (-1, rows.shape[-1]))
        tokens, shares = with_probabilities(rows, embedding.output_vectors, ops.reshape(tokens, (-1,)), drawn)
        shares = ops.cast(ops.reshape(shares, (*shape, 1)), self.compute_dtype)
        return embedding(ops.reshape(tokens, shape)) + shares * self.trust

    def _mixed(self, tokens, size, windows, kept, count):
        """The tokens with noise; and `drawn` as for `with_probabilities`, but (B, T)."""
        shape = ops.shape(tokens)

        def uniform(shape):
            return keras.random.uniform(shape, maxval=1.0 - 1e-6, dtype="float32", seed=self.seed_generator)

        places = ops.cast(ops.maximum(windows - 1, 0), "int32")
        drawn = ops.take_along_axis(uniform((shape[0], count)) < DRAWN, places, axis=1)
        any_token = keras.random.randint(shape, 0, size, dtype="int32", seed=self.seed_generator)
        noisy = ops.logical_and(uniform(shape) < NOISE, ops.logical_not(kept))
        tokens = ops.where(noisy, ops.cast(any_token, tokens.dtype), tokens)
        return tokens, (ops.logical_and(drawn, ops.logical_not(kept)), uniform(shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "seed": self.seed}


def with_probabilities(
    states: Tensor, table: Tensor, tokens: Tensor, drawn: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """How likely each token is at its state; some tokens may be drawn there. Nothing here has a gradient.

    Args:
        states: (N, D) in any float type.
        table: output vectors (V, D); the logits are the products of states and vectors.
        tokens: integer tensor (N,).
        drawn: None, or which tokens to draw, boolean (N,), and a random number for each, float32 (N,) in [0, 1).

    Returns:
        The tokens (N,), and their probabilities (N,), float32.
    """
    rows, states = ops.shape(tokens)[0], ops.stop_gradient(states)
    vectors = ops.transpose(ops.cast(ops.stop_gradient(ops.cast(table, table.dtype)), states.dtype))
    # As columns, for `portions`.
    columns = [ops.cast(each, "int32")[:, None] for each in (tokens, *(drawn or ())[:1])]
    columns += [each[:, None] for each in (drawn or ())[1:]]
    blocks = (portions(each, BLOCKS) for each in (states, *columns))
    found = [_one_portion(vectors, *parts) for parts in zip(*blocks, strict=True)]
    chosen, shares = (ops.concatenate(each)[:rows, 0] for each in zip(*found, strict=True))
    return ops.cast(chosen, tokens.dtype), shares


def _one_portion(vectors, states, tokens, drawn=None, uniform=None):
    """The tokens (n, 1) and their probabilities (n, 1)."""
    shares = ops.softmax(ops.cast(ops.matmul(states, vectors), "float32"), axis=-1)
    if drawn is not None:
        own, _ = invert(shares, uniform[:, 0])
        tokens = ops.where(ops.cast(drawn, "bool"), own[:, None], tokens)
    return tokens, ops.take_along_axis(shares, tokens, axis=-1)
