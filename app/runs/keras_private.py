"""The private names of Keras that `app` uses, all in one file, so that new versions of Keras are easy to check.

There is no public way to set a variable's first value before it is created, or to access an optimiser's moments of a
variable; both save a pass over all weights.
"""

import functools
from typing import Any

import keras
from keras import ops


def set_first_value(variable: keras.Variable, value: Any) -> None:
    """Gives a variable that was made in a `keras.StatelessScope` this first value, instead of a random one."""
    variable._initializer = functools.partial(_given, value)


def variable_index(optimizer: keras.Optimizer, variable: Any) -> int:
    """The index of a variable, of Keras or TensorFlow, among those that the optimiser was built with."""
    return optimizer._get_variable_index(variable)


def moments(optimizer: keras.optimizers.Adam, index: int) -> tuple[keras.Variable, keras.Variable]:
    """Adam's running means of the gradient and of its square, of the variable with this index."""
    return optimizer._momentums[index], optimizer._velocities[index]


def accumulated_gradients(optimizer: keras.Optimizer) -> list[keras.Variable]:
    """The sums of gradients since the last update, in the order of the variables."""
    return optimizer._accumulated_gradients


def count_batch(optimizer: keras.Optimizer) -> None:
    """Counts a batch; the public `iterations` counts updates where gradients are accumulated."""
    optimizer._iterations.assign_add(1)


def _given(value, shape, dtype=None):
    return ops.convert_to_tensor(value, dtype)
