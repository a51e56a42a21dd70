"""Functions of numpy arrays, compiled for the backend in use."""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import keras
import numpy as np
from keras import ops, tree

# Batches in work at the same time.
_AT_ONCE = 2


def compiled(function: Callable, model: Any, *arguments: tuple[str, int] | dict) -> Callable:
    """Compiles a function for the backend in use, once for all shapes where the backend can.

    Args:
        function: takes tensors and nested dictionaries of them, and returns a tuple of the same.
        model: the model whose weights it uses; they may change between calls.
        arguments: dtype and number of axes of each argument. One without axes is a whole number that sets shapes. For a
            nested dictionary one with, in place of each tensor, the same or an array that is like it but for axis 0.

    Returns:
        The same function of numpy arrays.
    """
    backend = keras.backend.backend()
    make = {"tensorflow": _compiled_tensorflow, "jax": _compiled_jax}.get(backend, _not_compiled)
    run = make(function, model, arguments)
    return lambda *values: tree.map_structure(lambda x: np.asarray(ops.convert_to_numpy(x)), tuple(run(*values)))


def _compiled_tensorflow(function, model, arguments):
    import tensorflow as tf

    def spec(kind):
        if isinstance(kind, dict):
            return {name: spec(part) for name, part in kind.items()}
        if isinstance(kind, tuple):
            return tf.TensorSpec([None] * kind[1], kind[0])
        return tf.TensorSpec([None, *kind.shape[1:]], kind.dtype)

    signature = [spec(kind) for kind in arguments]
    return tf.function(function, input_signature=signature, autograph=False)


def _compiled_jax(function, model, arguments):
    """JAX compiles anew for each shape, and would take weights for constants unless they are arguments."""
    import jax

    variables = list(getattr(model, "variables", ()))

    def run(weights, *values):
        with keras.StatelessScope(state_mapping=list(zip(variables, weights, strict=True))):
            return function(*values)

    static = tuple(i + 1 for i, kind in enumerate(arguments) if isinstance(kind, tuple) and kind[1] == 0)
    run = jax.jit(run, static_argnums=static)
    return lambda *values: run([variable.value for variable in variables], *values)


def _not_compiled(function, model, arguments):
    """PyTorch runs as it is written, without keeping what only gradients need."""
    import torch

    def tensor(value):
        return value if isinstance(value, int) else ops.convert_to_tensor(value)

    def run(*values):
        with torch.no_grad():
            return function(*tree.map_structure(tensor, values))

    return run


def side_by_side(search: Callable, inputs: Iterable[tuple]) -> Iterator:
    """The results for each of the inputs, in order.

    On TensorFlow several batches are in work at once: while one waits for a small operation, another one's matrix
    product has the processor.
    """
    if keras.backend.backend() != "tensorflow":
        yield from (search(*values) for values in inputs)
        return
    waiting: deque = deque()
    try:
        for values in inputs:
            waiting.append(_threads().submit(search, *values))
            if len(waiting) > _AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """The same threads for all searches: TensorFlow never frees what it keeps for each thread that called it."""
    return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="search")
