"""What `fit` trains: a Transformer that gets the true target up to each position."""

from typing import Any

import keras
from keras import ops, tree

from models import Nested, Tensor
from models.loss import smoothed_cross_entropy
from models.masks import PAD
from models.r_drop import twin_losses
from models.ranking import ranking_loss


@keras.saving.register_keras_serializable(package="weitblick")
class TeacherForcing(keras.Model):
    """Wraps a Transformer with its training loss, so that `compile` and `fit` work on every backend.

    The wrapped model's logits never leave the loss, which is computed straight from the decoder's states.

    Args:
        transformer: the model to train.
        smoothing: label smoothing, share of the uniform distribution.
        r_drop: the weight alpha of R-Drop (Liang et al. 2021, section 2.1); 0 = off. In training each batch then passes
            through the model twice, with different dropout. The loss is half the paper's, so its cross-entropy is the
            mean of both passes; alpha / 2 times the divergence between them is added, see `models.r_drop.twin_losses`.
        parts: the number of parts in which a batch is computed in training; part n gets the n-th of every `parts` rows.
            The losses are those of the whole batch, which needs a row for each part. No part waits for another, so
            TensorFlow computes them side by side: this uses cores better than threads within one operation at a time.

    Call arguments:
        inputs: {"source": (B, S), "target": (B, T)}.
        training: whether dropout is on.

    Returns:
        The decoder's states (B, T, D); in training with R-Drop {"twins": (2 * B, T, D)}, and in several parts
        {"parts": list of what each part returns}.

        Labels for `fit` are token ids (B, T), padded with `models.masks.PAD`. The loss of a batch is the sum over its
        target tokens, divided by their number or, if `fit` gets sample weights (B,), all equal, by that weight: with
        gradient accumulation, the mean number of tokens in the update's batches. Extra losses of layers (`add_loss`)
        are added. Metrics are `loss`, the smoothed cross-entropy with all that is added to it, and `nll`, the plain
        negative log-likelihood, both the mean in nats per target token; `tokens`, the number of target tokens; and with
        R-Drop `divergence`, in nats per target token.
    """

    def __init__(
        self, transformer: Any, smoothing: float = 0.1, r_drop: float = 0.0, parts: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.transformer = transformer
        self.smoothing, self.r_drop, self.parts = smoothing, r_drop, parts
        self.trackers = {
            "loss": keras.metrics.Mean("loss"),
            "nll": keras.metrics.Mean("nll"),
            "tokens": keras.metrics.Sum("tokens"),
        }
        if r_drop:
            self.trackers["divergence"] = keras.metrics.Mean("divergence")

    def build(self, input_shape: Any = None) -> None:
        if not self.transformer.built:
            self.transformer.build()
        self.built = True

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Nested:
        return _one_or_parts([self._states(part, training) for part in self._divided(inputs, training)])

    def _divided(self, values: Any, training: bool | None) -> list[Any]:
        """What each part gets of tensors with B rows."""
        count = self.parts if training else 1
        if count == 1:
            return [values]
        return [tree.map_structure(lambda value, k=k: value[k::count], values) for k in range(count)]

    def _states(self, inputs, training):
        if not (training and self.r_drop):
            return self.transformer.states(inputs, training=training)
        twins = {name: ops.concatenate([tokens, tokens]) for name, tokens in inputs.items()}
        return {"twins": self.transformer.states(twins, training=True)}

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor | None = None,
        y_pred: Tensor | None = None,
        sample_weight: Tensor | None = None,
        training: bool | None = True,
    ) -> Tensor:
        tokens = ops.sum(self._real(y)) if sample_weight is None else ops.max(sample_weight)
        # Each part has added its own extra losses; their mean counts, as it does over batches.
        share = 1.0 / self.parts if _in_parts(y_pred) else 1.0
        found = self.with_extra_losses(self.token_losses(y, y_pred, tokens), share)
        self.note(found, tokens)
        return found["loss"]

    def with_extra_losses(self, found: dict[str, Tensor], share: float = 1.0) -> dict[str, Tensor]:
        """Losses by name; "loss" now includes, times `share`, what layers added by `add_loss` in the last call."""
        for loss in self.losses:
            found = {**found, "loss": found["loss"] + share * ops.cast(ops.sum(loss), "float32")}
        return found

    def token_losses(self, labels: Tensor, states: Nested, tokens: Tensor) -> dict[str, Tensor]:
        """What some rows contribute to the losses of their batch.

        Args:
            labels: target ids (B, T) of these rows.
            states: what `call` returned.
            tokens: the number of target tokens in the whole batch, which may have more rows than these.

        Returns:
            Scalars by name, of which "loss" is to be minimised: sums over these rows, divided by `tokens`.
        """
        if _in_parts(states):
            pairs = zip(self._divided(labels, True), states["parts"], strict=True)
            parts = [self.token_losses(own, part, tokens) for own, part in pairs]
            return {name: sum(part[name] for part in parts) for name in parts[0]}
        return self._part_losses(labels, states, tokens)

    def _part_losses(self, labels, states, tokens):
        if isinstance(states, dict):
            return self._twin_losses(labels, states["twins"], tokens)
        real = self._real(labels)
        return self._cross_entropy(labels, states, real, real, tokens)

    def _twin_losses(self, labels, twins, tokens):
        rows, table = self._rows(twins)
        weights = ops.reshape(self._real(labels), (-1,)) / ops.maximum(tokens, 1.0)
        found = twin_losses(rows, table, ops.reshape(labels, (-1,)), weights, self.smoothing, self.r_drop)
        return dict(zip(("loss", "nll", "divergence"), found, strict=True))

    def _cross_entropy(self, labels, states, weights, reported, tokens):
        """As `token_losses`; `weights` and `reported` (B, T) say how much tokens count in "loss" and in "nll"."""
        rows, table = self._rows(states)
        # An empty batch has loss 0 and no gradient, not NaN.
        weights, reported = (ops.reshape(each, (-1,)) / ops.maximum(tokens, 1.0) for each in (weights, reported))
        labels = ops.reshape(labels, (-1,))
        loss, likelihood = smoothed_cross_entropy(rows, table, labels, weights, self.smoothing, reported)
        return {"loss": loss, "nll": likelihood}

    def _rows(self, states):
        """What the output layer multiplies: states (N, D) and its vectors (V, D)."""
        embedding = self.transformer.output_embedding
        states = embedding.output_states(states)
        return ops.reshape(states, (-1, states.shape[-1])), embedding.output_vectors

    def note(self, found: dict[str, Tensor], tokens: Tensor) -> None:
        """Adds the losses of a whole batch, by name as from `token_losses`, to the metrics."""
        for name in ("loss", "nll", "divergence"):
            if name in found:
                self.trackers[name].update_state(found[name], sample_weight=tokens)
        self.trackers["tokens"].update_state(tokens)

    def _real(self, labels):
        return ops.cast(ops.not_equal(labels, PAD), "float32")

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
        config = {**super().get_config(), "smoothing": self.smoothing, "r_drop": self.r_drop, "parts": self.parts}
        return {**config, "transformer": keras.saving.serialize_keras_object(self.transformer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TeacherForcing":
        config["transformer"] = keras.saving.deserialize_keras_object(config["transformer"])
        return cls(**config)


@keras.saving.register_keras_serializable(package="weitblick")
class DocumentTeacherForcing(TeacherForcing):
    """The same for a `DocumentTransformer`: it carries the memory of its lanes from one batch to the next.

    Gradients end at the beginning of a batch, so this is truncated back-propagation over the batch's windows
    (Williams and Peng 1990, "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Networks").

    Args:
        transformer: the model to train.
        smoothing: see `TeacherForcing`.
        lanes: rows B of each batch. Row b continues where row b of the previous batch ended.
        parts: see `TeacherForcing`; all parts have the same number of lanes.
        own_choices: see `DocumentTransformer.document_states`.
        ranking: weight of `models.ranking.ranking_loss` in the loss of the batches marked for it; 0 = off. These are
            read a second time, each lane with the memory that another lane of its part had before the batch.
        margin: margin of the ranking loss, in nats per token.
        context_discount: weight in the loss of those targets in a window that are context (Lupo et al. 2022, "Focused
            Concatenation for Context-Aware Neural Machine Translation", section 3.1). It applies only in training; the
            loss is still divided by the number of the other targets, and the metric `nll` is theirs.

    Call arguments:
        inputs: as for `DocumentTransformer.document_states`; with `ranking`, "ranked" (B, 1) may be 1 in all rows.
        training: whether dropout is on.

    Returns:
        As `TeacherForcing`, or in training a dictionary for `token_losses`. With "ranked": the decoder's states after
        the right memory, those after the wrong one, whether there is a wrong one, and the tokens to be compared; the
        metric `ranking` is the ranking loss in nats per compared token. With `context_discount`: the decoder's states,
        and the token that follows each in its window. Each extra loss of the memories is a metric by its name, the mean
        over batches of what it adds to the loss. The carried memory is in `carried`, non-trainable variables.

    Raises:
        ValueError: `ranking` without a memory that is carried, with a single lane in a part, or with
            `context_discount`; lanes that cannot be divided equally among the parts.
    """

    def __init__(
        self,
        transformer: Any,
        smoothing: float = 0.1,
        lanes: int = 16,
        own_choices: bool = False,
        ranking: float = 0.0,
        margin: float = 0.1,
        context_discount: float = 0.0,
        parts: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(transformer, smoothing, r_drop=0.0, parts=parts, **kwargs)
        self.lanes, self.own_choices = lanes, own_choices
        self.ranking, self.margin, self.context_discount = ranking, margin, context_discount
        if ranking and context_discount:
            raise ValueError("ranking compares memories, and context_discount is for windows without one: choose one")
        if lanes % parts:
            raise ValueError(f"{lanes} lanes cannot be divided equally among {parts} parts")
        if ranking:
            if lanes < 2 * parts:
                raise ValueError(
                    "ranking takes wrong documents from other lanes of a part, so at least 2 are needed in each, got "
                    f"{lanes // parts}"
                )
            self.trackers["ranking"] = keras.metrics.Mean("ranking")
        self.trackers |= {name: keras.metrics.Mean(name) for name in transformer.loss_names}
        self._extra_losses: dict[str, Tensor] = {}

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        leaves = tree.flatten(self.transformer.initial_memory(self.lanes))
        options = {"initializer": "zeros", "trainable": False}
        self.carried = [
            self.add_weight(shape=leaf.shape, dtype=keras.backend.standardize_dtype(leaf.dtype), **options)
            for leaf in leaves
        ]
        if self.ranking and not self.carried:
            raise ValueError("ranking compares memories, and this model carries none")

    def call(self, inputs: dict[str, Tensor], training: bool | None = None) -> Nested:
        structure = self.transformer.initial_memory(self.lanes)
        # Copies, as on PyTorch the backward pass needs what the variables held.
        memory = tree.pack_sequence_as(structure, [ops.copy(variable.value) for variable in self.carried])
        self._extra_losses = {}
        parts = self._divided((inputs, memory), training)
        found, after = zip(*(self._read(own, before, training) for own, before in parts), strict=True)
        # Last, because TensorFlow's copies may be the variables themselves.
        for variable, *values in zip(self.carried, *map(tree.flatten, after), strict=True):
            rows = ops.reshape(ops.stack(values, axis=1), variable.shape) if len(values) > 1 else values[0]
            variable.assign(ops.stop_gradient(rows))
        return _one_or_parts(list(found))

    def _read(self, inputs, memory, training):
        """What `token_losses` needs of some lanes, and their memory after the batch."""
        ranks = training and self.ranking and "ranked" in inputs
        seeds = [(seed, seed.value * 1) for seed in self._seeds()] if ranks else []  # * 1 makes a copy
        states, after = self.transformer.document_states(inputs, memory, training, self.own_choices)
        for name, loss in self.transformer.extra_losses.items() if training else ():
            self._extra_losses[name] = self._extra_losses.get(name, 0.0) + ops.cast(loss, "float32")
        if ranks:
            return self._compared(inputs, states, memory, seeds), after
        if training and self.context_discount:
            return {"right": states, "following": inputs["target_following"]}, after
        return states, after

    def _part_losses(self, labels, states, tokens):
        if not isinstance(states, dict):
            return super()._part_losses(labels, states, tokens)
        if "following" in states:
            return self._discounted(labels, states, tokens)
        found = super()._part_losses(labels, states["right"], tokens)
        embedding, zero = self.transformer.output_embedding, ops.zeros((), "float32")

        def compare():
            right, wrong = (embedding.output_states(states[name]) for name in ("right", "wrong"))
            return ranking_loss(right, wrong, embedding.output_vectors, labels, states["counted"], self.margin)

        missing, compared = ops.cond(states["ranked"], compare, lambda: (zero, zero))
        ranking, compared = missing / ops.maximum(tokens, 1.0), compared / ops.maximum(tokens, 1.0)
        return {**found, "loss": found["loss"] + self.ranking * ranking, "ranking": ranking, "compared": compared}

    def with_extra_losses(self, found: dict[str, Tensor], share: float = 1.0) -> dict[str, Tensor]:
        named = {name: share * loss for name, loss in self._extra_losses.items()}
        return {**super().with_extra_losses(found, share), **named}

    def _discounted(self, labels, states, tokens):
        scored = self._real(labels)
        context = self._real(states["following"]) * (1 - scored)
        every = ops.where(scored > 0, labels, ops.cast(states["following"], labels.dtype))
        return self._cross_entropy(every, states["right"], scored + self.context_discount * context, scored, tokens)

    def note(self, found: dict[str, Tensor], tokens: Tensor) -> None:
        super().note(found, tokens)
        if "ranking" in found:
            a_token = found["ranking"] / ops.maximum(found["compared"], 1e-9)
            self.trackers["ranking"].update_state(a_token, sample_weight=found["compared"] * tokens)
        for name in self.transformer.loss_names:
            if name in found:
                self.trackers[name].update_state(found[name])

    def _seeds(self):
        return [variable for variable in self.transformer.variables if "seed_generator" in variable.path]

    def _compared(self, inputs, states, memory, seeds):
        """What `call` returns for ranking; `seeds` are the random states before the right memory was read."""
        ranked = ops.any(ops.not_equal(inputs["ranked"], 0))
        wrong = ops.cond(ranked, lambda: self._states_after_another(inputs, memory, seeds), lambda: states)
        numbers = ops.arange(1, ops.shape(inputs["resets"])[1] + 1, dtype=inputs["target_windows"].dtype)
        counted = ops.equal(inputs["target_windows"][:, None], numbers[None, :, None])
        # A document's first window has read nothing that could help.
        counted = ops.logical_and(counted, ops.equal(inputs["resets"], 0)[..., None])
        return {"right": states, "wrong": wrong, "counted": counted, "ranked": ranked}

    def _states_after_another(self, inputs, memory, seeds):
        """The states of all windows, each after the memory that another lane had before the batch."""
        another = tree.map_structure(lambda leaf: ops.roll(leaf, self.lanes // self.parts // 2, axis=0), memory)
        # Nothing is written, so every window reads another document and nothing of its own.
        unchanged = ("resets", "source_remembered", "target_remembered")
        inputs = {**inputs, **{name: ops.zeros_like(inputs[name]) for name in unchanged}}
        values = [(variable, variable.value) for variable in self.transformer.variables]
        # The same dropout as before, or its noise would drown the difference; and no variable changes.
        with keras.StatelessScope(state_mapping=values + seeds):  # the last value counts
            return self.transformer.document_states(inputs, another, training=True)[0]

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("lanes", "own_choices", "ranking", "margin", "context_discount")}
        config = {**super().get_config(), **own}
        del config["r_drop"]
        return config


def _in_parts(states: Nested) -> bool:
    return isinstance(states, dict) and "parts" in states


def _one_or_parts(found: list[Nested]) -> Nested:
    return found[0] if len(found) == 1 else {"parts": found}
