"""Trains with `app.training.train.train`, the program's own loop, as `make train` does."""

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

    class Timed(keras.callbacks.Callback):
        """Calls the clock after every update."""

        done = 0

        def on_train_batch_end(self, batch, logs=None):
            numbers = range(self.done, batch + 1)
            Timed.done = batch + 1
            clock.updated(sum(batches.tokens[number % len(batches)] for number in numbers), len(numbers))

    _also_call(keras.Model, Timed())
    train(preset, spec["run"])


def _also_call(model_class, callback) -> None:
    """Makes every `fit` call one more callback; the loop stays the program's own."""
    fit = model_class.fit

    def fit_and_call(self, *arguments, callbacks=(), **options):
        return fit(self, *arguments, callbacks=[*callbacks, callback], **options)

    model_class.fit = fit_and_call


if __name__ == "__main__":
    main()
