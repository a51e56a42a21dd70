"""Chains of steps that keep only their end: the backward pass computes each step's input from its output."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from keras import ops

from models import Tensor
from models.gradients import called_with, custom_gradient, later, pullback

# The spacing of the numbers that may occur in states of `BDIA`.
GRID = 2.0**-9
_PLACES = np.array([1, 2, 4, 8, 16, 32, 64, 128], "int32")


class Rule(Protocol):
    """How a step makes the next state from the previous one, the current one and the change a function computes."""

    def ahead(self, previous: Tensor, current: Tensor, change: Tensor) -> tuple[Tensor, Any]:
        """The next state, and what must be kept for the way back."""

    def back(self, following: Tensor, current: Tensor, change: Tensor, kept: Any) -> Tensor:
        """The previous state."""

    def gradients(self, upstream: Tensor) -> tuple[Tensor, Tensor | float, Tensor]:
        """The gradients of the previous state, the current state and the change, from that of the next state."""


class Coupling:
    """next = previous + change(current).

    Two steps form one reversible block: with (x1, x2) before it, y1 = x1 + F(x2) and y2 = x2 + G(y1). States are
    float32, so that what is added can be subtracted again, up to rounding.

    References:
        Gomez et al. 2017, "The Reversible Residual Network", equations 6 to 8; Kitaev et al. 2020, "Reformer: The
        Efficient Transformer", section 3.
    """

    def ahead(self, previous: Tensor, current: Tensor, change: Tensor) -> tuple[Tensor, Any]:
        return previous + ops.cast(change, previous.dtype), None

    def back(self, following: Tensor, current: Tensor, change: Tensor, kept: Any) -> Tensor:
        return following - ops.cast(change, following.dtype)

    def gradients(self, upstream: Tensor) -> tuple[Tensor, Tensor | float, Tensor]:
        return upstream, 0.0, upstream


class Euler:
    """next = current + change(current), on the grid of `BDIA`; a chain's first step, which has no previous state."""

    def ahead(self, previous: Tensor, current: Tensor, change: Tensor) -> tuple[Tensor, Any]:
        return current + on_grid(change), None

    def back(self, following: Tensor, current: Tensor, change: Tensor, kept: Any) -> Tensor:
        return current

    def gradients(self, upstream: Tensor) -> tuple[Tensor, Tensor | float, Tensor]:
        return ops.zeros_like(upstream), upstream, upstream


class BDIA:
    """next = gamma * previous + (1 - gamma) * current + (1 + gamma) * change(current), undone bit by bit.

    All states are multiples of `GRID`. Half a state is one only if the state is an even multiple, so one bit per number
    is kept: whether it is odd. The gradient ignores rounding. With gamma = 0, which is its mean, a step is that of an
    ordinary residual network.

    Args:
        gamma: (B, 1, 1), 1/2 or -1/2 for each row.

    References:
        Zhang et al. 2025, "On Exact Bit-level Reversible Transformers Without Changing Architectures",
        https://arxiv.org/abs/2407.09093
    """

    def __init__(self, gamma: Tensor) -> None:
        self.gamma = gamma

    def ahead(self, previous: Tensor, current: Tensor, change: Tensor) -> tuple[Tensor, Any]:
        odd = ops.bitwise_and(ops.cast(ops.round(previous / GRID), "int32"), 1)
        even = previous + GRID * ops.cast(odd, "float32")
        return self.gamma * even + self._new(current, change), _packed(odd)

    def back(self, following: Tensor, current: Tensor, change: Tensor, kept: Any) -> Tensor:
        even = (following - self._new(current, change)) / self.gamma
        return even - GRID * ops.cast(_unpacked(kept, following.shape[-1]), "float32")

    def gradients(self, upstream: Tensor) -> tuple[Tensor, Tensor | float, Tensor]:
        return self.gamma * upstream, (1 - self.gamma) * upstream, (1 + self.gamma) * upstream

    def _new(self, current, change):
        # The change is rounded first, so that the rest is exact in whatever order it is computed.
        return on_grid((1 - self.gamma) * current + (1 + self.gamma) * on_grid(change))


@custom_gradient
def on_grid(x: Tensor) -> Tensor:
    """The nearest multiples of `GRID`, float32; the gradient is that of x itself."""

    def gradient(upstream):
        return ops.cast(upstream, x.dtype)

    return ops.round(ops.cast(x, "float32") / GRID) * GRID, gradient


def _packed(bits):
    """Packs eight of the bits 0 or 1 (..., D) into a byte."""
    bits = ops.pad(bits, (*((0, 0) for _ in bits.shape[:-1]), (0, -bits.shape[-1] % 8)))
    bits = ops.reshape(bits, (*ops.shape(bits)[:-1], bits.shape[-1] // 8, 8))
    return ops.cast(ops.sum(bits * _PLACES, axis=-1), "uint8")


def _unpacked(packed, width):
    bits = ops.bitwise_and(ops.cast(packed, "int32")[..., None] // _PLACES, 1)
    return ops.reshape(bits, (*ops.shape(packed)[:-1], 8 * packed.shape[-1]))[..., :width]


class Step(NamedTuple):
    """One step of a chain.

    function: takes the current state (B, T, D) and what all steps are given, and returns the change (B, T, D).
    variables: the weights that it uses.
    fixed: further variables that it uses, each with the value to use, such as random states.
    rule: see `Rule`.
    """

    function: Callable[..., Tensor]
    variables: list
    fixed: list
    rule: Rule


def chain(steps: Sequence[Step], previous: Tensor, current: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
    """The last two states of a chain; training keeps nothing else except what the steps' rules keep.

    The backward pass goes from the end to the start. It computes each change a second time, uses it to find the state
    before, and passes the gradient on. So a chain costs one more forward pass, and memory that does not grow with its
    length, except by the bits that `BDIA` keeps.

    Args:
        steps: the steps of the chain.
        previous, current: the first two states (B, T, D), float32.
        *given: float tensors that are passed to each step's function as well.
    """
    # A cast, because TensorFlow's custom gradients need tensors, not variables.
    values = [ops.cast(variable, variable.dtype) for step in steps for variable in step.variables]

    @custom_gradient
    def run(pair, *arguments):
        given, values = _split(steps, arguments)
        states, kept = tuple(ops.unstack(pair, 2)), []
        for step, own in zip(steps, values, strict=True):
            following, aside = step.rule.ahead(*states, _change(step, states[1], own, given))
            states = states[1], following
            kept.append(aside)

        def gradient(upstream):
            return _backward(steps, states, kept, given, values, upstream)

        return ops.stack(states), gradient

    pair = ops.stack([ops.cast(previous, "float32"), ops.cast(current, "float32")])
    return tuple(ops.unstack(run(pair, *given, *values), 2))


def plain_chain(steps: Sequence[Step], previous: Tensor, current: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
    """The same with automatic differentiation, which keeps all states; for comparison."""
    previous, current = ops.cast(previous, "float32"), ops.cast(current, "float32")
    for step in steps:
        change = _change(step, current, [ops.cast(each, each.dtype) for each in step.variables], given)
        previous, current = current, step.rule.ahead(previous, current, change)[0]
    return previous, current


def _change(step, current, values, given):
    return called_with(step.function, step.variables, values, step.fixed)(current, *given)


def _split(steps, arguments):
    """The arguments after the pair: what all steps are given, and a list of values for each step."""
    counts = [len(step.variables) for step in steps]
    given = arguments[: len(arguments) - sum(counts)]
    rest, values = list(arguments[len(given) :]), []
    for count in counts:
        values.append(rest[:count])
        rest = rest[count:]
    return given, values


def _backward(steps, states, kept, given, values, upstream):
    """The gradients of the pair, of what all steps are given, and of all values."""
    current, following = states
    in_current, in_following = ops.unstack(upstream, 2)
    in_given = [ops.zeros_like(each, dtype="float32") for each in given]
    in_values: list = []
    for step, own, aside in reversed(list(zip(steps, values, kept, strict=True))):
        current = later(current, in_following)

        def change_of(current, *arguments, step=step):
            return _change(step, current, arguments[len(given) :], arguments[: len(given)])

        change, pull = pullback(change_of, current, *given, *own)
        previous = step.rule.back(following, current, change, aside)
        to_previous, to_current, to_change = step.rule.gradients(in_following)
        through, *rest = pull(ops.cast(to_change, change.dtype))
        in_current, in_following = to_previous, in_current + to_current + ops.cast(through, "float32")
        in_given = [sum_ + ops.cast(new, "float32") for sum_, new in zip(in_given, rest[: len(given)], strict=True)]
        in_values = [*rest[len(given) :], *in_values]
        current, following = previous, current
    in_given = [ops.cast(gradient, each.dtype) for gradient, each in zip(in_given, given, strict=True)]
    return ops.stack([in_current, in_following]), *in_given, *in_values
