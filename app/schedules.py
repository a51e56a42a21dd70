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

    References:
        Vaswani et al. 2017, section 5.3, equation 3: there peak is D^-0.5 * warmup^-0.5.
    """

    def __init__(self, kind: str, peak: float, warmup: int, updates: int):
        self.kind, self.peak, self.warmup, self.updates = kind, peak, warmup, updates

    def __call__(self, step):
        # Keras counts updates from 0; the first update must not have a rate of 0.
        update = ops.cast(step, "float32") + 1.0
        rising = update / self.warmup
        return self.peak * ops.where(update < self.warmup, rising, self._decay(update))

    def _decay(self, update):
        if self.kind == "inverse_sqrt":
            return ops.sqrt(self.warmup / update)
        if self.kind == "constant":
            return ops.ones_like(update)
        share = ops.clip((update - self.warmup) / max(self.updates - self.warmup, 1), 0.0, 1.0)
        return 1.0 - share if self.kind == "linear" else 0.5 * (1.0 + ops.cos(math.pi * share))

    def get_config(self):
        return {"kind": self.kind, "peak": self.peak, "warmup": self.warmup, "updates": self.updates}
