"""Token vectors, used to read tokens and, when tied, to predict them."""

from typing import Any

import keras
from keras import ops

from models import Tensor
from models.loss import BLOCKS, portions


@keras.saving.register_keras_serializable(package="weitblick")
class TokenEmbedding(keras.layers.Layer):
    """A table of token vectors that also works backwards, from states to logits.

    Vectors start from a normal distribution of standard deviation D^-0.5 and are multiplied by D^0.5 when read, so
    that the same table fits both ends of a tied model.

    Args:
        vocabulary_size: number of tokens V.
        width: model width D.
        vector_width: width of the stored vectors if it is not D (pre-trained word vectors); a learned projection
            without bias converts between the two.
        table_trainable: whether the vectors change in training.
        output_bias: whether each token's logit has a learned bias.

    Call arguments:
        tokens: integer tensor (...,).

    Returns:
        Tensor (..., D).

    References:
        Vaswani et al. 2017, section 3.4; Press and Wolf 2017, "Using the Output Embedding to Improve Language Models".
    """

    def __init__(
        self,
        vocabulary_size: int,
        width: int,
        vector_width: int | None = None,
        table_trainable: bool = True,
        output_bias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size, self.width = vocabulary_size, width
        self.vector_width = vector_width or width
        self.table_trainable, self.output_bias = table_trainable, output_bias

    def build(self, input_shape: Any = None) -> None:
        deviation = self.width**-0.5
        self.table = self.add_weight(
            shape=(self.vocabulary_size, self.vector_width),
            initializer=keras.initializers.RandomNormal(stddev=deviation),
            trainable=self.table_trainable,
            name="table",
        )
        self.projection = None
        if self.vector_width != self.width:
            self.projection = self.add_weight(
                shape=(self.vector_width, self.width), initializer="glorot_uniform", name="projection"
            )

        self.bias = None
        if self.output_bias:
            self.bias = self.add_weight(
                shape=(self.vocabulary_size,), initializer="zeros", name="bias", dtype="float32", autocast=False
            )

    def call(self, tokens: Tensor) -> Tensor:
        x = ops.take(self.table, tokens, axis=0)
        x = ops.cast(x, self.compute_dtype)
        if self.projection is not None:
            x = ops.matmul(x, self.projection)
        return x * self.width**0.5

    def output_states(self, states: Tensor) -> Tensor:
        """States (..., D) as vectors (..., E) whose products with `output_vectors` are the logits."""
        states = self._projected(states)
        if self.bias is None:
            return states
        return ops.concatenate([states, ops.ones_like(states[..., :1])], axis=-1)

    @property
    def output_vectors(self) -> Tensor:
        """(V, E): the table or, with a bias, the table and the bias as its last column."""
        if self.bias is None:
            return self.table
        table = ops.convert_to_tensor(self.table)
        return ops.concatenate([table, ops.cast(self.bias, table.dtype)[:, None]], axis=-1)

    def logits(self, states: Tensor) -> Tensor:
        """One score for each token: (..., D) -> float32 (..., V)."""
        states = self._projected(states)
        scores = ops.cast(ops.matmul(states, ops.transpose(ops.cast(self.table, states.dtype))), "float32")
        return scores if self.bias is None else scores + ops.convert_to_tensor(self.bias)

    def likeliest(self, states: Tensor) -> Tensor:
        """The likeliest token at each state, without a gradient: (..., D) -> int32 (...). Never holds all logits."""
        rows = ops.stop_gradient(self.output_states(states))
        shape, rows = ops.shape(rows)[:-1], ops.reshape(rows, (-1, rows.shape[-1]))
        vectors = ops.transpose(ops.cast(self.output_vectors, rows.dtype))
        found = [ops.argmax(ops.matmul(each, vectors), axis=-1) for each in portions(rows, BLOCKS)]
        return ops.reshape(ops.cast(ops.concatenate(found)[: ops.shape(rows)[0]], "int32"), shape)

    def _projected(self, states):
        return states if self.projection is None else ops.matmul(states, ops.transpose(self.projection))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "width": self.width,
            "vector_width": self.vector_width,
            "table_trainable": self.table_trainable,
            "output_bias": self.output_bias,
        }
