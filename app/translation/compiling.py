"""Functions of numpy arrays, compiled for the backend in use."""

import functools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from app.runs.precision import batches_at_once


def compiled(function: Callable, model: Any, *arguments: tuple[str, int] | dict) -> Callable:
    """Compiles a function for the backend in use, once for all shapes where the backend can.

    Args:
        function: takes tensors and nested dictionaries of them, and returns a tuple of the same.
        model: the model whose weights it uses; they may change between calls.
        arguments: the kind of each argument, see `tensor_spec`. A kind with 0 axes is an integer that determines
            shapes.

    Returns:
        The same function of numpy arrays.
    """
    backend = keras.backend.backend()
    make = {"tensorflow": _compiled_tensorflow, "jax": _compiled_jax}.get(backend, _not_compiled)
    run = make(function, model, arguments)
    return lambda *values: tree.map_structure(lambda x: np.asarray(ops.convert_to_numpy(x)), tuple(run(*values)))


class CompiledOnce:
    """Like `functools.cache`, but threads that ask at the same time wait for one result: compiling takes seconds.

    Args:
        make: gives the result for some arguments.
    """

    def __init__(self, make: Callable):
        self._found, self._lock = functools.cache(make), threading.RLock()

    def __call__(self, *arguments: Any) -> Any:
        """The result, made at the first call."""
        with self._lock:
            return self._found(*arguments)

    def cache_clear(self) -> None:
        """Forgets all results."""
        self._found.cache_clear()


def _compiled_tensorflow(function, model, arguments):
    import tensorflow as tf

    signature = [tensor_spec(kind) for kind in arguments]
    return tf.function(function, input_signature=signature, autograph=False)


def tensor_spec(kind: Any) -> Any:
    """TensorFlow's description of an argument.

    Args:
        kind: (dtype, number of axes), or an example array, whose axis 0 may differ in size; or nested dictionaries,
            lists and tuples of these.
    """
    import tensorflow as tf

    if isinstance(kind, dict):
        return {name: tensor_spec(part) for name, part in kind.items()}
    if isinstance(kind, tuple) and isinstance(kind[0], str):
        return tf.TensorSpec([None] * kind[1], kind[0])
    if isinstance(kind, list | tuple):
        return type(kind)(map(tensor_spec, kind))
    return tf.TensorSpec([None, *kind.shape[1:]], kind.dtype)


def _compiled_jax(function, model, arguments):
    """JAX recompiles for each shape, and would treat the weights as constants unless they are arguments."""
    import jax

    variables = list(getattr(model, "variables", ()))

    def run(weights, *values):
        with keras.StatelessScope(state_mapping=list(zip(variables, weights, strict=True))):
            return function(*values)

    static = tuple(i + 1 for i, kind in enumerate(arguments) if isinstance(kind, tuple) and kind[1] == 0)
    run = jax.jit(run, static_argnums=static)
    return lambda *values: run([variable.value for variable in variables], *values)


def _not_compiled(function, model, arguments):
    """PyTorch runs the function eagerly, without tracking gradients."""
    import torch

    def tensor(value):
        return value if isinstance(value, int) else ops.convert_to_tensor(value)

    def run(*values):
        with torch.no_grad():
            return function(*tree.map_structure(tensor, values))

    return run


def side_by_side(search: Callable, inputs: Iterable[tuple]) -> Iterator:
    """The result for each input, in order; as many at once as `app.runs.precision.batches_at_once` says."""
    at_once = batches_at_once()
    if at_once == 1:
        yield from (search(*values) for values in inputs)
        return
    waiting: deque = deque()
    try:
        for values in inputs:
            waiting.append(_threads().submit(search, *values))
            if len(waiting) > at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """One thread pool for all searches: TensorFlow keeps memory for each calling thread and never frees it."""
    return ThreadPoolExecutor(batches_at_once(), thread_name_prefix="search")
