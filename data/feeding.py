"""Batches to `keras.Model.fit`: a tf.data pipeline on TensorFlow, a generator with a thread behind it elsewhere."""

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator

AHEAD = 8  # batches that are made before they are asked for


def as_dataset(batches, update: int = 0):
    """What `keras.Model.fit(x=..., steps_per_epoch=...)` takes on the current Keras backend.

    Args:
        batches: a `data.batching.Batches`, or the like.
        update: number of the first batch, counted over all epochs.

    Returns:
        An endless dataset, as of `dataset_of`.
    """
    return dataset_of(lambda: batches.stream(update), batches.inputs)


def dataset_of(draw, inputs: Iterable[str] = ("source", "target")):
    """A function's batches in the form that the current Keras backend reads.

    Args:
        draw: returns an iterator of `(inputs, labels)`: a dictionary of int32 matrices, for example
            `{"source": (B, S), "target": (B, T)}`, and another such matrix (B, T).
        inputs: the keys of that dictionary.

    Returns:
        A `tf.data.Dataset` on TensorFlow, where a plain generator would fix the shapes to those of the first batches; a
        generator on other backends. Both make a few batches ahead of their use.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return in_background(draw())
    import tensorflow as tf

    tokens = tf.TensorSpec((None, None), tf.int32)
    signature = (dict.fromkeys(inputs, tokens), tokens)
    return tf.data.Dataset.from_generator(draw, output_signature=signature).prefetch(AHEAD)


def in_background(items: Iterable, ahead: int = AHEAD) -> Iterator:
    """Yields `items` while a thread draws up to `ahead` of them in advance.

    An exception of `items` is raised here, after the items before it. The thread ends with the items, or when the
    generator is closed.
    """
    ready: queue.Queue = queue.Queue(ahead)
    stopped = threading.Event()

    def put(entry) -> bool:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(entry, timeout=0.1)
                return True
        return False

    def draw():
        error = None
        try:
            for item in items:
                if not put((item, None, False)):
                    return
        except BaseException as caught:  # handed to the consumer, whatever it is
            error = caught
        put((None, error, True))

    thread = threading.Thread(target=draw, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = ready.get()
            if last:
                if error is not None:
                    raise error
                return
            yield item
    finally:
        stopped.set()
        thread.join(timeout=5)  # no longer: it may be busy encoding the next epoch
