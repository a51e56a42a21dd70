"""A stack of encoder layers whose training step or scoring is timed once its first call has compiled it."""

import os
import time

from app.bench.contestants.protocol import Channel


def main() -> None:
    """Answers with the median seconds of a call, and the peak memory above what was in use before the first call."""
    channel = Channel()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    import numpy as np
    import tensorflow as tf

    from app.probe.sizes import Meter
    from models.encoder import Encoder
    from models.stack import LSH

    spec = channel.spec
    policy = keras.DTypePolicy(spec["precision"] if spec["precision"] == "float32" else f"mixed_{spec['precision']}")
    rows, length, width = spec["rows"], spec["length"], spec["width"]
    encoder = Encoder(
        spec["layers"], width, 4 * width, max(width // 64, 1), norm="pre", rotary=True, dtype=policy, **spec["settings"]
    )
    encoder.build((None, None, width))
    x = tf.random.normal((rows, length, width))
    groups = tf.ones((rows, length), "int32")
    mask = groups if spec["settings"].get("attention") == LSH else tf.ones((rows, 1, length), "bool")
    positions = tf.range(length)[None]

    @tf.function
    def train():
        with tf.GradientTape() as tape:
            y = encoder(x, attention_mask=mask, positions=positions, training=True)
            loss = tf.reduce_mean(tf.square(tf.cast(y, "float32")))
        return tf.linalg.global_norm(tape.gradient(loss, [each.value for each in encoder.trainable_variables]))

    @tf.function
    def score():
        return tf.reduce_mean(tf.cast(encoder(x, attention_mask=mask, positions=positions), "float32"))

    call, seconds = {"training": train, "scoring": score}[spec["what"]], []
    # At position 1,000, megabytes for 1,000 positions are just megabytes.
    meter = Meter([1000])
    for _ in range(1 + spec["repeat"]):
        begin = time.perf_counter()
        call().numpy()
        seconds.append(time.perf_counter() - begin)
    meter(1000)
    channel.send(seconds=float(np.median(seconds[1:])), megabytes=meter.rows[0]["megabytes_per_1000"])


if __name__ == "__main__":
    main()
