"""How the learning rate moves with the number of updates."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable("weitblick")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to a peak, then decays.

    Args:
        kind: "inverse_sqrt" (peak * sqrt(warmup / update)), "linear" or "cosine" (both reach zero at the last update)
            or "constant".
        peak: the highest learning rate.
        warmup: updates until the peak.
        updates: the last update, for "linear" and "cosine".
        accumulate: batches in an update; Keras' optimisers count batches.

    Call arguments:
        step: the number of batches before this one.

    Returns:
        The learning rate of the update that the batch belongs to.

    References:
        Vaswani et al. 2017, section 5.3, equation 3: there peak is D^-0.5 * warmup^-0.5.
    """

    def __init__(self, kind: str, peak: float, warmup: int, updates: int, accumulate: int = 1):
        self.kind, self.peak, self.warmup, self.updates, self.accumulate = kind, peak, warmup, updates, accumulate

    @classmethod
    def of(cls, training) -> "WarmUp":
        """The schedule of a preset's section [training]."""
        return cls(training.schedule, training.learning_rate, training.warmup, training.updates, training.accumulate)

    def __call__(self, step):
        # The first update must not have a rate of 0.
        update = ops.cast(ops.floor_divide(step, self.accumulate), "float32") + 1.0
        rising = update / self.warmup
        return self.peak * ops.where(update < self.warmup, rising, self._decay(update))

    def rate(self, update: int) -> float:
        """The learning rate of one update, the first being 1."""
        return float(ops.convert_to_numpy(self((update - 1) * self.accumulate)))

    def _decay(self, update):
        if self.kind == "inverse_sqrt":
            return ops.sqrt(self.warmup / update)
        if self.kind == "constant":
            return ops.ones_like(update)
        share = ops.clip((update - self.warmup) / max(self.updates - self.warmup, 1), 0.0, 1.0)
        return 1.0 - share if self.kind == "linear" else 0.5 * (1.0 + ops.cos(math.pi * share))

    def get_config(self):
        names = ("kind", "peak", "warmup", "updates", "accumulate")
        return {name: getattr(self, name) for name in names}
