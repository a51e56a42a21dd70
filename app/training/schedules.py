"""How the learning rate moves with the number of updates."""

import math

import keras
from keras import ops

from app.presets.schema import TrainingPreset


@keras.saving.register_keras_serializable("weitblick")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to a peak, then decays.

    Args:
        kind: "inverse_sqrt" (peak * sqrt(warmup / update)), "linear" or "cosine" (both would reach zero with the
            update after the last one) or "constant".
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
    def of(cls, training: TrainingPreset) -> "WarmUp":
        """The schedule of a preset's section [training]."""
        return cls(training.schedule, training.learning_rate, training.warmup, training.updates, training.accumulate)

    def __call__(self, step):
        # The first update must not have a rate of 0.
        return self._rate(ops.cast(ops.floor_divide(step, self.accumulate), "float32") + 1.0)

    def rate(self, update: float) -> float:
        """The learning rate of one update, the first being 1."""
        return float(ops.convert_to_numpy(self._rate(ops.cast(update, "float32"))))

    def _rate(self, update):
        rising = update / self.warmup
        return self.peak * ops.where(update < self.warmup, rising, self._decay(update))

    def _decay(self, update):
        if self.kind == "inverse_sqrt":
            return ops.sqrt(self.warmup / update)
        if self.kind == "constant":
            return ops.ones_like(update)
        share = ops.clip((update - self.warmup) / (self.updates + 1 - self.warmup), 0.0, 1.0)
        return 1.0 - share if self.kind == "linear" else 0.5 * (1.0 + ops.cos(math.pi * share))

    def get_config(self) -> dict:
        names = ("kind", "peak", "warmup", "updates", "accumulate")
        return {name: getattr(self, name) for name in names}


def decays_to_zero(training: TrainingPreset) -> bool:
    """Whether the learning rate goes by the end of the training, and so depends on where that is."""
    return training.schedule in ("linear", "cosine")


def timed(training: TrainingPreset) -> bool:
    """Whether the learning rate goes by the clock as well, because the training may end by it."""
    return decays_to_zero(training) and training.minutes > 0


def decay_position(training: TrainingPreset, update: int, seconds: float, warmup_seconds: float) -> float:
    """Where the decay of a `timed` training stands, as the number of an update.

    The decay goes by the share of the training that is over, in updates or in time, whichever is further; so it comes
    to its end on machines of any speed.

    Args:
        training: the preset's section.
        update: the update to come, the first being 1.
        seconds: the time that the updates before it took.
        warmup_seconds: the time that those of the warm-up took.

    Returns:
        `update`, or a later number, with fractions, where time is further.
    """
    if update <= training.warmup:
        return update
    end, limit = training.updates + 1, training.minutes * 60
    over = max(update / end, seconds / limit)
    began = max(training.warmup / end, warmup_seconds / limit)
    share = min((over - began) / (1 - began), 1.0) if began < 1 else 1.0
    return training.warmup + share * (end - training.warmup)
