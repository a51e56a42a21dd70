"""Feeds batches to `keras.Model.fit`: by a tf.data pipeline on TensorFlow, by a generator with a thread elsewhere."""

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import numpy as np

AHEAD = 8  # batches that are made before they are needed


def as_dataset(batches: Any, update: int = 0) -> Any:
    """What `keras.Model.fit(x=..., steps_per_epoch=...)` takes on the current Keras backend.

    Args:
        batches: a `data.batching.Batches`, or the like.
        update: number of the first batch, counted over all epochs.

    Returns:
        An endless dataset, see `dataset_of`.
    """
    return dataset_of(lambda: batches.stream(update), batches.inputs)


def with_update_tokens(batches: Iterable, accumulate: int) -> Iterator[tuple[Any, float]]:
    """Yields each batch with the number that its loss is divided by.

    An update averages the gradients of `accumulate` batches. For the result to be the mean over the update's target
    tokens, whichever batch they are in, the summed loss of each batch is divided by the mean number of tokens of the
    update's batches.

    Args:
        batches: `(inputs, labels)`, the first of which begins an update; labels (B, T) with 0 for padding.
        accumulate: batches per update.
    """
    batches = iter(batches)
    while update := list(itertools.islice(batches, accumulate)):
        tokens = sum(np.count_nonzero(labels) for _, labels in update) / len(update)
        yield from ((batch, tokens) for batch in update)


def dataset_of(draw: Callable[[], Iterator], inputs: Iterable[str] = ("source", "target"), accumulate: int = 1) -> Any:
    """A function's batches in the form that the current Keras backend reads.

    Args:
        draw: returns an iterator of `(inputs, labels)`: a dictionary of int32 matrices, for example
            `{"source": (B, S), "target": (B, T)}`, and another such matrix (B, T).
        inputs: the keys of that dictionary.
        accumulate: batches per update. With several, each batch gets sample weights (B,) for
            `models.teacher_forcing.TeacherForcing`, all equal to the number from `with_update_tokens`.

    Returns:
        A `tf.data.Dataset` on TensorFlow, where a plain generator would fix the shapes to those of the first batches; a
        generator on other backends. Both make a few batches in advance.
    """
    import keras

    weights = accumulate > 1
    if weights:
        unweighted = draw

        def draw():
            for batch, tokens in with_update_tokens(unweighted(), accumulate):
                yield *batch, np.full(len(batch[1]), tokens, "float32")

    if keras.backend.backend() != "tensorflow":
        return in_background(draw())
    import tensorflow as tf

    tokens = tf.TensorSpec((None, None), tf.int32)
    signature = (dict.fromkeys(inputs, tokens), tokens)
    signature += (tf.TensorSpec((None,), tf.float32),) if weights else ()
    return tf.data.Dataset.from_generator(draw, output_signature=signature).prefetch(AHEAD)


def in_background(items: Iterable, ahead: int = AHEAD, patience: float | None = None) -> Iterator:
    """Yields `items` while a thread draws up to `ahead` of them in advance.

    An exception in `items` is raised here, after the items before it. The thread ends with the items, or when the
    generator is closed; if `items` is a generator, the thread closes it.

    Args:
        items: what to draw.
        ahead: how many items may wait to be used.
        patience: seconds that the next item may take; None for no limit.

    Raises:
        TimeoutError: it took longer.
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
        finally:
            if isinstance(items, Generator):
                items.close()
        put((None, error, True))

    thread = threading.Thread(target=draw, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item, error, last = ready.get(timeout=patience)
            except queue.Empty:
                raise TimeoutError(f"nothing came for {patience:g} seconds") from None
            if last:
                if error is not None:
                    raise error
                return
            yield item
    finally:
        stopped.set()
        # Wait no longer: it may be busy encoding the next epoch, or be waiting for something that never comes.
        thread.join(timeout=5 if patience is None else 0)
