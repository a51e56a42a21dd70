"""Several devices of one machine on JAX: `keras.distribution.DataParallel` gives each its rows of a batch.

The whole batch stays one array, so all sums are over the whole batch, and the carried memory state has all lanes.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import keras

from app.training.workers.cluster import Cluster
from data.batching import fill
from data.feeding import dataset_of


class ShardedCluster(Cluster):
    """One worker whose devices share the rows of each batch.

    All variables created from now on have a copy on each device.
    """

    def __init__(self):
        self.devices = jax.local_device_count()
        keras.distribution.set_distribution(keras.distribution.DataParallel())

    def undistributed(self) -> contextlib.AbstractContextManager:
        return _undistributed()

    def dataset(self, draw: Callable[[], Iterator], inputs: Iterable[str], accumulate: int = 1) -> Any:
        return dataset_of(lambda: (fill(batch, self.devices) for batch in draw()), inputs, accumulate)


@contextlib.contextmanager
def _undistributed():
    """A context in which batches of any number of rows may be computed."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)
