"""What every memory is: a pure function of the windows and of a state."""

from typing import Any

import keras
from keras import ops

from models import Tensor

State = dict[str, Tensor]


class Memory(keras.layers.Layer):
    """Keeps a state over the windows of a document: `(windows, state) -> (what each may read, state)`.

    There are no hidden variables that survive a call: the state is an argument and a result. Several windows of a row
    are written one after another, all dense work that does not depend on the state being done once for all of them.
    A subclass defines in `prepare` what it needs of the positions, in `write` what one window changes, and in `view`
    what can be read.

    Args:
        width: model width D.

    Call arguments:
        x: states (B, S, D) of the positions of W windows.
        windows: integer tensor (B, S): 1 to W, or 0 for padding.
        resets: integer or boolean tensor (B, W): true where a window is the first of its document.
        state: from `initial_state` or the call before.
        remembered: integer or boolean tensor (B, S): which positions may be written; None for all real ones.

    Returns:
        What each window may read, which is what was written before it: values (B, W, M, D), and a boolean tensor
        (B, W, M) that marks those that hold anything; and the state after the last window. A window of which
        nothing is remembered changes nothing.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        # The state stays float32 in every precision: bfloat16 would lose what is added in small parts.
        super().__init__(**{"autocast": False, **kwargs})
        self.width = width

    def initial_state(self, batch: int | Tensor) -> State:
        """The state at a document's start: a dictionary of tensors with the batch as axis 0.

        Its names stand in alphabetical order, because some backends sort the keys when they flatten a dictionary and
        others do not.
        """
        raise NotImplementedError

    def prepare(self, x: Tensor) -> Any:
        """What `write` needs of the positions (B, S, D), computed for all windows at once."""
        raise NotImplementedError

    def write(self, prepared: Any, here: Tensor, state: State) -> tuple[State, tuple[Tensor, Tensor]]:
        """The state after one window, and what was done: the share of each vector written anew (B, M), and how much
        each of them attended to each position (B, M, S).

        Args:
            prepared: from `prepare`.
            here: boolean (B, S), the positions of the window that are remembered; perhaps none.
            state: the state before it.
        """
        raise NotImplementedError

    def view(self, state: State) -> tuple[Tensor, Tensor]:
        """What can be read of states with any axes before their own: values (..., M, D) and boolean (..., M)."""
        raise NotImplementedError

    def call(
        self, x: Tensor, windows: Tensor, resets: Tensor, state: State, remembered: Tensor | None = None
    ) -> tuple[tuple[Tensor, Tensor], State]:
        states, state = self.states_before(x, windows, resets, state, remembered)
        return tuple(ops.swapaxes(part, 0, 1) for part in self.view(states)), state

    def states_before(
        self, x: Tensor, windows: Tensor, resets: Tensor, state: State, remembered: Tensor | None = None
    ) -> tuple[State, State]:
        """The states before each of the windows, on a new first axis, and the one after the last; see the call."""
        prepared, beginning = self.prepare(x), self.initial_state(ops.shape(x)[0])

        def advance(state, given):
            state = where(given[:, -1], beginning, state)
            return self.write(prepared, given[:, :-1], state)[0], state

        # One tensor, because Keras' scan on TensorFlow takes several only if their length is known.
        begins = ops.cast(ops.swapaxes(resets, 0, 1), "bool")[..., None]
        given = ops.concatenate([positions_of(windows, resets, remembered), begins], axis=-1)
        state, states = ops.scan(advance, state, given)
        return states, state

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


def positions_of(windows: Tensor, resets: Tensor, remembered: Tensor | None = None) -> Tensor:
    """Boolean (W, B, S): which positions of (B, S) belong to each window and are remembered; see `Memory`."""
    if remembered is not None:
        windows = ops.where(ops.cast(remembered, "bool"), windows, 0)
    numbers = ops.arange(1, ops.shape(resets)[1] + 1, dtype=windows.dtype)
    return ops.equal(windows[None], numbers[:, None, None])


def where(rows: Tensor, first: State, second: State) -> State:
    """Chooses between two states row by row: the first where `rows` (B,) is true, else the second."""

    def choose(first, second):
        chosen = ops.reshape(ops.cast(rows, "bool"), (-1, *(1 for _ in first.shape[1:])))
        return ops.where(chosen, first, second)

    return {name: choose(leaf, second[name]) for name, leaf in first.items()}
