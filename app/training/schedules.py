"""Learning rate schedules by number of updates."""

import math

import keras
from keras import ops

from app.presets.schema import TrainingPreset


@keras.saving.register_keras_serializable("weitblick")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to a peak, then decays.

    Args:
        kind: "inverse_sqrt" (peak * sqrt(warmup / update)), "linear" or "cosine" (both reach zero one
            update after the last) or "constant".
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
    """Whether the learning rate depends on when the training ends."""
    return training.schedule in ("linear", "cosine")


def timed(training: TrainingPreset) -> bool:
    """Whether the learning rate also depends on time, because a time limit may end the training."""
    return decays_to_zero(training) and training.minutes > 0


def decay_position(training: TrainingPreset, update: int, seconds: float, warmup_seconds: float) -> float:
    """The position of a `timed` training in its decay, as an update number.

    The decay follows the share of updates or of time that is used up, whichever is larger, so that it completes on
    machines of any speed.

    Args:
        training: the preset's section.
        update: the next update, the first being 1.
        seconds: time taken by the updates before it.
        warmup_seconds: time taken by the warm-up.

    Returns:
        `update` during the warm-up, and after it if updates have been ahead of time since its end; otherwise a
        fractional number, usually a larger one.
    """
    if update <= training.warmup:
        return update
    end, limit = training.updates + 1, training.minutes * 60
    over = max(update / end, seconds / limit)
    began = max(training.warmup / end, warmup_seconds / limit)
    share = min((over - began) / (1 - began), 1.0) if began < 1 else 1.0
    return training.warmup + share * (end - training.warmup)
