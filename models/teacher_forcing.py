"""What `fit` trains: a Transformer that is given the true target up to each position."""

from typing import Any

import keras
from keras import ops, tree

from models import Tensor
from models.loss import smoothed_cross_entropy


@keras.saving.register_keras_serializable(package="weitblick")
class TeacherForcing(keras.Model):
    """Wraps a Transformer with its training loss, so that `compile` and `fit` work on every backend.

    The wrapped model's logits never leave the loss, which is formed straight from the decoder's states.

    Args:
        transformer: the model to train.
        smoothing: label smoothing, share of the uniform distribution.

    Call arguments:
        inputs: {"source": (B, S), "target": (B, T)}.
        training: whether dropout is on.

    Returns:
        The decoder's states (B, T, D). Labels for `fit` are token ids (B, T), padded with `transformer.pad_id`. The
        loss of a batch is the sum over its target tokens, divided by their number or, where `fit` gets sample weights
        (B,), all equal, by that weight: with gradient accumulation, the mean number of tokens in the update's batches.
        Extra losses of layers (`add_loss`) are added.
        Metrics are `loss`, with the smoothed cross-entropy, `nll`, the plain negative log-likelihood, both the mean in
        nats per target token, and `tokens`, the number of target tokens.
    """

    def __init__(self, transformer: Any, smoothing: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.transformer = transformer
        self.smoothing = smoothing
        self.trackers = {
            "loss": keras.metrics.Mean("loss"),
            "nll": keras.metrics.Mean("nll"),
            "tokens": keras.metrics.Sum("tokens"),
        }

    def build(self, input_shape: Any = None) -> None:
        if not self.transformer.built:
            self.transformer.build()
        self.built = True

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        return self.transformer.states(inputs, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor | None = None,
        y_pred: Tensor | None = None,
        sample_weight: Tensor | None = None,
        training: bool | None = True,
    ) -> Tensor:
        tokens = ops.sum(self._real(y)) if sample_weight is None else ops.max(sample_weight)
        loss, likelihood = self.token_losses(y, y_pred, tokens)
        if self.losses:
            loss = loss + self.extra_loss()
        self.note(loss, likelihood, tokens)
        return loss

    def extra_loss(self) -> Tensor:
        """The sum of what layers added by `add_loss` in the last call; 0 where there is nothing."""
        return sum((ops.cast(ops.sum(loss), "float32") for loss in self.losses), start=ops.zeros((), "float32"))

    def token_losses(self, labels: Tensor, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What some rows add to the losses of their batch.

        Args:
            labels: target ids (B, T) of these rows.
            states: the decoder's states (B, T, D), as `call` returns them.
            tokens: the number of target tokens in the whole batch, of which these rows may be a part.

        Returns:
            Two scalars: the sums of smoothed loss and of negative log-likelihood, both divided by `tokens`.
        """
        embedding = self.transformer.output_embedding
        states = embedding.output_states(states)
        rows = ops.reshape(states, (-1, states.shape[-1]))
        # An empty batch has loss 0 and no gradient, not NaN.
        weights = ops.reshape(self._real(labels), (-1,)) / ops.maximum(tokens, 1.0)
        return smoothed_cross_entropy(rows, embedding.table, ops.reshape(labels, (-1,)), weights, self.smoothing)

    def note(self, loss: Tensor, likelihood: Tensor, tokens: Tensor) -> None:
        """Adds the losses of a whole batch to the metrics."""
        self.trackers["loss"].update_state(loss, sample_weight=tokens)
        self.trackers["nll"].update_state(likelihood, sample_weight=tokens)
        self.trackers["tokens"].update_state(tokens)

    def _real(self, labels):
        return ops.cast(ops.not_equal(labels, self.transformer.pad_id), "float32")

    def compute_metrics(
        self, x: Any, y: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        return self.get_metrics_result()

    def get_metrics_result(self) -> dict[str, Tensor]:
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self.trackers.values())

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "smoothing": self.smoothing}
        return {**config, "transformer": keras.saving.serialize_keras_object(self.transformer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TeacherForcing":
        config["transformer"] = keras.saving.deserialize_keras_object(config["transformer"])
        return cls(**config)


@keras.saving.register_keras_serializable(package="weitblick")
class DocumentTeacherForcing(TeacherForcing):
    """The same for a `DocumentTransformer`: from one batch to the next it carries the memory of its lanes.

    Gradients end at the beginning of a batch, which makes it truncated back-propagation over the batch's windows
    (Williams and Peng 1990, "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Networks").

    Args:
        transformer: the model to train.
        smoothing: see `TeacherForcing`.
        lanes: rows B of each batch. Row b goes on where row b of the batch before ended.
        own_choices: see `DocumentTransformer.document_states`.

    Call arguments:
        inputs: as for `DocumentTransformer.document_states`.
        training: whether dropout is on.

    Returns:
        As `TeacherForcing`. The carried memory is in `carried`, non-trainable variables.
    """

    def __init__(
        self, transformer: Any, smoothing: float = 0.1, lanes: int = 16, own_choices: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(transformer, smoothing, **kwargs)
        self.lanes, self.own_choices = lanes, own_choices

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        leaves = tree.flatten(self.transformer.initial_memory(self.lanes))
        options = {"initializer": "zeros", "trainable": False}
        self.carried = [
            self.add_weight(shape=leaf.shape, dtype=keras.backend.standardize_dtype(leaf.dtype), **options)
            for leaf in leaves
        ]

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Tensor:
        structure = self.transformer.initial_memory(self.lanes)
        memory = tree.pack_sequence_as(structure, [variable.value for variable in self.carried])
        states, memory = self.transformer.document_states(inputs, memory, training, self.own_choices)
        for variable, value in zip(self.carried, tree.flatten(memory), strict=True):
            variable.assign(ops.stop_gradient(value))
        return states

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "lanes": self.lanes, "own_choices": self.own_choices}
