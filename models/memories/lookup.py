"""Runs a function of numpy arrays as a backend operation, for an index that lives outside the model."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from models import Tensor

# Maps queries (R, D) float32 and k to squared distances (R, k) float32 and tokens (R, k) int32.
Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def look_up(search: Search, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The nearest entries of an index; also works inside compiled functions.

    Args:
        search: the index.
        queries: (R, D) float32.
        count: k.

    Returns:
        Squared distances (R, k) float32 and tokens (R, k) int32.
    """

    def run(queries):
        distances, tokens = search(np.asarray(queries, "float32"), count)
        return np.asarray(distances, "float32"), np.asarray(tokens, "int32")

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        found = tf.numpy_function(run, [queries], (tf.float32, tf.int32))
        return tuple(tf.ensure_shape(values, (None, count)) for values in found)
    if backend == "jax":
        import jax

        shapes = tuple(jax.ShapeDtypeStruct((queries.shape[0], count), kind) for kind in ("float32", "int32"))
        return jax.pure_callback(run, shapes, queries)
    return tuple(map(ops.convert_to_tensor, run(ops.convert_to_numpy(queries))))
