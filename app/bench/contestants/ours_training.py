"""Trains with `app.training.train.train`, the program's own loop, as `make train` does."""

import itertools
import os

from app.bench.contestants.protocol import Channel, Clock


def main() -> None:
    """Trains the run that `contestants/text.py` made, for as long as the benchmark sends turns."""
    channel = Channel()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    from app.bench.contestants.batches import StoredBatches
    from app.presets.preset import load_preset
    from app.runs.precision import keras_policy
    from app.training.train import train

    spec = channel.spec
    batches = StoredBatches(spec["folder"])
    preset = load_preset(spec["preset"], spec["changes"])
    threads = tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
    precision = keras_policy(preset.training.precision).removeprefix("mixed_")
    clock = Clock(channel, spec["warmup"], threads=threads, setting={"precision": precision})

    one = batches.typical() if spec.get("one_batch") else None

    class Timed(keras.callbacks.Callback):
        """Calls the clock after every update."""

        done = 0

        def on_train_batch_end(self, batch, logs=None):
            numbers = range(self.done, batch + 1)
            Timed.done = batch + 1
            numbers = [number % len(batches) if one is None else one for number in numbers]
            clock.updated(sum(batches.tokens[number] for number in numbers), len(numbers))

    _also_call(keras.Model, Timed(), None if one is None else batches[one])
    train(preset, spec["run"])


def _also_call(model_class, callback, batch=None) -> None:
    """Makes every `fit` call one more callback and, if a batch is given, read that one for ever.

    The loop itself remains the program's own.
    """
    fit = model_class.fit

    def fit_and_call(self, dataset, callbacks=(), **options):
        if batch is not None:
            from data.feeding import dataset_of

            inputs = {side: batch[side] for side in ("source", "target")}
            dataset = dataset_of(lambda: itertools.repeat((inputs, batch["labels"])))
        return fit(self, dataset, callbacks=[*callbacks, callback], **options)

    model_class.fit = fit_and_call


if __name__ == "__main__":
    main()
