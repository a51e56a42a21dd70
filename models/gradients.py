"""Tools for functions with hand-written gradients, some of which `keras.ops` does not offer."""

from collections.abc import Callable, Iterable, Sequence

import keras
from keras import ops

from models import Tensor

# How many draws each use of `next_seeds` reserves of a random state, so that no draw is used twice.
DRAWS = 256


def custom_gradient(function: Callable[..., tuple[Tensor, Callable]]) -> Callable[..., Tensor]:
    """`keras.ops.custom_gradient` with the same interface on every backend.

    Args:
        function: takes tensors; returns a tensor, and a function from that tensor's gradient to those of the arguments.
    """

    @ops.custom_gradient
    def with_gradient(*arguments):
        # Without stop_gradient, TensorFlow's tape would keep what is computed here.
        result, gradient = function(*map(ops.stop_gradient, arguments))

        def of_upstream(*given, upstream=None):
            # PyTorch passes the arguments again and the upstream gradient by name; the others pass only the gradient.
            return gradient(given[0] if upstream is None else upstream)

        return result, of_upstream

    return with_gradient


def pullback(
    function: Callable[..., Tensor], *arguments: Tensor
) -> tuple[Tensor, Callable[[Tensor], Sequence[Tensor]]]:
    """A function's result, and how to get from the result's gradient to the arguments' gradients.

    Args:
        function: takes the arguments and returns a tensor.
        *arguments: float tensors.

    Returns:
        The result; and a function of its gradient, to be called once, that returns one gradient for each argument,
        zeros where the result does not depend on it. What the function needs is kept until then.
    """
    return _PULLBACKS[keras.backend.backend()](function, arguments)


def called_with(
    function: Callable[..., Tensor], variables: list, values: Sequence[Tensor], fixed: list[tuple]
) -> Callable[..., Tensor]:
    """The function, with `values` as the values of `variables`, and those in the pairs `fixed` for other variables.

    A variable that it changes has its old value again afterwards.
    """

    def call(*arguments):
        with keras.StatelessScope(state_mapping=[*zip(variables, values, strict=True), *fixed]):
            return function(*arguments)

    return call


def weights_of(layers: Iterable[keras.layers.Layer]) -> list:
    """The weights of layers, without random states.

    Frozen weights are among them: TensorFlow refuses a hand-written gradient that is not given all that it reads.
    """
    return [each for layer in layers for each in layer.variables if "seed_generator" not in each.path]


def next_seeds(variables: list) -> list[tuple]:
    """Takes the value of each random state among some variables, for a function that has to repeat its draws.

    Returns:
        Pairs of variable and value. Up to `DRAWS` draws may be made from each.
    """
    taken = []
    for variable in variables:
        if "seed_generator" in variable.path:
            value = variable.value * 1  # makes a copy
            variable.assign(value + ops.cast([0, DRAWS], variable.dtype))
            taken.append((variable, value))
    return taken


def later(values: Tensor, first: Tensor) -> Tensor:
    """The same values, for computations that must not start before `first` is known, so as not to fill the memory."""
    return _LATER[keras.backend.backend()](values, first)


def _tensorflow_pullback(function, arguments):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(arguments)
        result = function(*arguments)

    def pull(gradient):
        found = tape.gradient(result, arguments, gradient, unconnected_gradients="zero")
        return [tf.convert_to_tensor(each) for each in found]

    return result, pull


def _jax_pullback(function, arguments):
    import jax

    return jax.vjp(function, *arguments)


def _torch_pullback(function, arguments):
    import torch

    arguments = [each.detach().requires_grad_() for each in arguments]
    with torch.enable_grad():
        result = function(*arguments)

    def pull(gradient):
        found = torch.autograd.grad(result, arguments, gradient, allow_unused=True)
        return [torch.zeros_like(to) if each is None else each for each, to in zip(found, arguments, strict=True)]

    return result.detach(), pull


def _tensorflow_later(values, first):
    import tensorflow as tf

    with tf.control_dependencies([first]):
        return tf.identity(values)


def _jax_later(values, first):
    import jax

    return jax.lax.optimization_barrier((values, first))[0]


_PULLBACKS = {"tensorflow": _tensorflow_pullback, "jax": _jax_pullback, "torch": _torch_pullback}
_LATER = {"tensorflow": _tensorflow_later, "jax": _jax_later, "torch": lambda values, first: values}
