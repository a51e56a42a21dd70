"""Trains keras-hub's TransformerEncoder and TransformerDecoder under `fit`, on the same batches."""

import os

from app.bench.contestants.batches import PAD, StoredBatches
from app.bench.contestants.protocol import Channel, Clock, Enough, sweep

LONGEST = 1024  # rows of the learned positions


def main() -> None:
    """Trains one model in turns, or one for each setting of a sweep."""
    channel = Channel()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    batches = StoredBatches(channel.spec["folder"])
    shape = channel.spec["shape"]
    if channel.spec["mode"] == "sweep":
        number = batches.typical()
        sweep(channel, lambda setting, trial: _train(shape, setting, lambda _: number, batches, trial))
    else:
        extra, one = channel.spec["extra"], channel.spec.get("one_batch")
        number_of = (lambda update: batches.typical()) if one else (lambda update: update - extra)
        clock = Clock(channel, channel.spec["warmup"] + extra, threads=len(os.sched_getaffinity(0)))
        _train(shape, channel.spec["setting"], number_of, batches, clock)


def _train(shape, setting, number_of, batches, clock) -> None:
    import keras
    import tensorflow as tf

    keras.backend.clear_session()
    model = _model(shape, setting["precision"])
    optimizer = keras.optimizers.Adam(7e-4, beta_2=0.98, epsilon=1e-9, global_clipnorm=1.0)
    model.compile(optimizer=optimizer, loss=_loss, jit_compile=setting["jit"])

    def draw():
        update = 0
        while True:
            batch = batches[number_of(update)]
            yield {"source": batch["source"], "target": batch["target"]}, batch["labels"]
            update += 1

    tokens = tf.TensorSpec((None, None), tf.int32)
    signature = ({"source": tokens, "target": tokens}, tokens)
    dataset = tf.data.Dataset.from_generator(draw, output_signature=signature).prefetch(8)

    class Timed(keras.callbacks.Callback):
        """Calls the clock after every update."""

        def on_train_batch_end(self, batch, logs=None):
            clock.updated(batches.tokens[number_of(batch) % len(batches)])

    try:
        model.fit(dataset, steps_per_epoch=10**9, callbacks=[Timed()], verbose=0)
    except tf.errors.OpError as error:  # some versions of TensorFlow wrap what a callback raises
        if "Enough" not in str(error):
            raise
        raise Enough from error


def _model(shape, precision):
    """Encoder and decoder with one table for source, target and output."""
    import keras
    from keras_hub import layers

    policy = {"bfloat16": "mixed_bfloat16"}.get(precision, precision)
    options = {"dropout": shape["dropout"], "normalize_first": True, "dtype": policy}
    width, hidden, heads = shape["width"], shape["hidden"], shape["heads"]
    embedding = layers.TokenAndPositionEmbedding(
        shape["vocabulary"], LONGEST, width, tie_weights=True, mask_zero=True, dtype=policy
    )
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    x = keras.layers.Dropout(shape["dropout"], dtype=policy)(embedding(source))
    for _ in range(shape["encoder_layers"]):
        x = layers.TransformerEncoder(hidden, heads, activation="relu", **options)(x)
    encodings = keras.layers.LayerNormalization(dtype=policy)(x)
    x = keras.layers.Dropout(shape["dropout"], dtype=policy)(embedding(target))
    for _ in range(shape["decoder_layers"]):
        x = layers.TransformerDecoder(hidden, heads, activation="relu", **options)(x, encodings)
    states = keras.layers.LayerNormalization(dtype=policy)(x)
    logits = embedding.token_embedding(states, reverse=True)
    return keras.Model({"source": source, "target": target}, logits)


def _loss(labels, logits):
    """Label-smoothed cross-entropy, the mean over the real tokens, in as few passes as Keras allows."""
    from keras import ops

    logits = ops.cast(logits, "float32")
    smoothing, size = 0.1, logits.shape[-1]
    target = ops.one_hot(labels, size, dtype="float32") * (1 - smoothing) + smoothing / size
    losses = ops.categorical_crossentropy(target, logits, from_logits=True)
    real = ops.cast(ops.not_equal(labels, PAD), "float32")
    return ops.sum(losses * real) / ops.sum(real)


if __name__ == "__main__":
    main()
