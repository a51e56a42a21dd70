"""Several devices, on one machine or several, on TensorFlow: `tf.distribute` sums their gradients.

Keras' own training step supports `MirroredStrategy`, but clips gradients before they are summed, cannot accumulate them
in a graph, and fails with `MultiWorkerMirroredStrategy` (https://github.com/keras-team/keras/issues/20585). So `fit`
gets another step; everything around it stays unchanged.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf

from app.training.workers.cluster import Cluster
from data.batching import share
from data.errors import UserError
from data.feeding import AHEAD, with_update_tokens

# TensorFlow's errors when a worker is lost, or was restarted while the others still waited for it.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
# The distance between the seeds of two devices.
STRIDE = 7_919


class MirroredCluster(Cluster):
    """Workers whose devices hold the same weights and apply the same sums of gradients.

    Args:
        strategy: a `MirroredStrategy`, or a `MultiWorkerMirroredStrategy` of several workers.
        index, workers: see `Cluster`.
    """

    def __init__(self, strategy: tf.distribute.Strategy, index: int = 0, workers: int = 1):
        self.strategy, self.index, self.workers = strategy, index, workers
        self.devices = strategy.num_replicas_in_sync

    @property
    def first(self) -> int:
        """The number of this worker's first device."""
        return self.index * self.devices // self.workers

    def lanes_per_model(self, lanes: int) -> int:
        return super().lanes_per_model(lanes) // self.devices

    def scope(self) -> AbstractContextManager:
        return self.strategy.scope()

    @contextlib.contextmanager
    def raise_on_lost_worker(self) -> Iterator[None]:
        try:
            yield
        except LOST as error:
            if self.workers == 1:
                raise
            raise UserError(
                f"worker {self.index} of {self.workers}: lost another worker ({_reason(error.message)}); start the "
                "same command on all workers again: it resumes from the last checkpoint"
            ) from error

    def dataset(self, draw: Callable[[], Iterator], inputs: Iterable[str], accumulate: int = 1) -> Any:
        """Yields, for each of this worker's devices, its share of a batch, and the divisor of the batch's loss."""
        own = range(self.first, self.first + self.devices // self.workers)

        def shares():
            for batch, tokens in with_update_tokens(draw(), accumulate):
                for device in own:
                    yield share(batch, device, self.devices), tokens

        ids = tf.TensorSpec((None, None), tf.int32)
        signature = ((dict.fromkeys(inputs, ids), ids), tf.TensorSpec((), tf.float32))

        def make(_):
            dataset = tf.data.Dataset.from_generator(shares, output_signature=signature)
            # Otherwise all workers would synchronise before each batch to check whether there is one.
            endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
            return dataset.apply(endless).prefetch(AHEAD * len(own))

        return self.strategy.distribute_datasets_from_function(make)

    def synchronise(self, model: Any, accumulate: int, status: Callable[[], tuple[float, bool]]) -> None:
        step = _make_step(self.strategy, model)
        completes = itertools.cycle([*[False] * (accumulate - 1), True])

        def train_function(iterator):
            seconds, interrupted = status()
            own = tf.constant([seconds if self.chief else 0.0, interrupted], tf.float64)
            return step(iterator, own, next(completes))

        model.train_function = train_function

    def agreed_status(self, logs: dict, seconds: float, interrupted: bool) -> tuple[float, bool]:
        if self.workers == 1:
            return seconds, interrupted
        return logs["seconds"], logs["interrupted"] > 0

    def broadcast(self, *numbers: float) -> list[float]:
        if self.workers == 1:
            return list(numbers)
        return self._numbers(tf.constant(numbers if self.chief else [0.0] * len(numbers), tf.float64)).numpy().tolist()

    @functools.cached_property
    def _numbers(self):
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float64)], autograph=False)
        def total(numbers):
            return self._sum(lambda device: tf.where(device == self.first, numbers, tf.zeros_like(numbers)))

        return total

    def gather(self, variables: Iterable[Any]) -> list:
        def rows(device, variable: Any):
            """The rows of one device at their positions in the whole batch, (B, ...)."""
            # All in one type, because they are summed together; this one holds each of them exactly.
            value = tf.expand_dims(tf.cast(variable.value, tf.float64), 1)
            place = tf.reshape(tf.range(self.devices) == device, (1, -1, *[1] * (len(variable.shape) - 1)))
            spread = tf.where(place, value, tf.zeros_like(value))
            return tf.reshape(spread, (-1, *variable.shape[1:]))

        @tf.function(autograph=False)
        def whole():
            return self._sum(lambda device: [rows(device, variable) for variable in variables])

        if not variables:
            return []
        return [array.numpy().astype(variable.dtype) for array, variable in zip(whole(), variables, strict=True)]

    def scatter(self, variables: Iterable[Any], arrays: Iterable[Any]) -> None:
        def rows(device):
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(tf.constant(array)[device :: self.devices])

        self._on_each(rows)

    def offset_seeds(self, generators: Iterable[Any]) -> None:
        def shift(device):
            for state in generators:
                state.assign(state.value + tf.cast([device * STRIDE, 0], state.dtype))

        self._on_each(shift)

    def _sum(self, make):
        """The sum of `make(device)` over all devices, in a graph."""

        @tf.autograph.experimental.do_not_convert
        def on_device():
            context = tf.distribute.get_replica_context()
            return context.all_reduce("SUM", make(context.replica_id_in_sync_group))

        return tf.nest.map_structure(self._local, self.strategy.run(on_device))

    def _local(self, value):
        return self.strategy.experimental_local_results(value)[0]

    def _on_each(self, act) -> None:
        @tf.autograph.experimental.do_not_convert
        def on_device():
            act(tf.distribute.get_replica_context().replica_id_in_sync_group)

        tf.function(lambda: self.strategy.run(on_device), autograph=False)()


def _reason(message: str) -> str:
    """The line of an error that names the lost worker and the cause."""
    lines = [line for line in message.splitlines() if "aborted by: " in line] or message.splitlines()
    return lines[0].partition("aborted by: ")[2][:200] or lines[0][:200]


def _make_step(strategy, model):
    """The step of `fit`: (iterator, this worker's status (2,), whether the batch completes an update) -> logs."""
    weights, optimizer = model.trainable_weights, model.optimizer
    own = len(strategy.extended.worker_devices)

    @tf.autograph.experimental.do_not_convert
    def on_device(batch, status, complete):
        ((inputs, labels), tokens) = batch
        context = tf.distribute.get_replica_context()
        with tf.GradientTape() as tape:
            states = model(inputs, training=True)
            # Extra losses are averaged over devices, as over batches.
            share = 1 / context.num_replicas_in_sync
            found = model.with_extra_losses(model.token_losses(labels, states, tokens), share)
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(found["loss"], weights)]
        numbers = tf.concat([tf.cast(list(found.values()), tf.float64), status / own], 0)
        numbers = context.all_reduce("SUM", numbers)
        numbers = dict(zip([*found, "seconds", "interrupted"], tf.unstack(numbers), strict=True))
        gradients = optimizer.gathered(gradients, complete)
        return numbers, context.all_reduce("SUM", gradients) if complete else [], tokens

    @tf.function(reduce_retracing=True, autograph=False)
    def step(iterator, status, complete):
        results = strategy.run(on_device, args=(next(iterator), status, complete))
        numbers, gradients, tokens = tf.nest.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], results
        )
        if complete:
            optimizer.apply(gradients, weights)
        else:
            optimizer.count()
        status = {name: numbers.pop(name) for name in ("seconds", "interrupted")}
        model.note({name: tf.cast(number, tf.float32) for name, number in numbers.items()}, tokens)
        return {**model.get_metrics_result(), **status}

    return step
