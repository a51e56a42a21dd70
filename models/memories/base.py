"""What every memory is: a pure function of the windows and of a state."""

from typing import Any, NamedTuple

import keras
from keras import ops

from models import Tensor
from models.attention import SelfAttention
from models.past import Own, Past
from models.pieces import Pieces

State = dict[str, Tensor]


class Row(NamedTuple):
    """Which positions of a row (B, S) belong to which of its W windows, each of which is contiguous.

    windows: integer (B, S): 1 to W, or 0 for padding.
    resets: integer or boolean (B, W): true where a window is the first of its document.
    remembered: integer or boolean (B, S): which positions may be written.
    """

    windows: Tensor
    resets: Tensor
    remembered: Tensor


class Memory(keras.layers.Layer):
    """Keeps a state over the windows of a document: `(positions, row, state) -> (past, state, losses)`.

    No hidden variables survive a call: the state is an argument and a result. A memory above a stack is given the
    stack's results; one inside a layer is given the input of the layer's self-attention.

    A subclass that keeps a fixed number of vectors defines in `prepare` what it needs from the positions, in `write`
    what one window changes, and in `view` what can be read. Several windows of a row are written one after another;
    dense work that does not depend on the state is done once for all of them.

    Args:
        width: model width D.

    Call arguments:
        x: (B, S, D) of the positions of W windows.
        row: see `Row`.
        state: from `initial_state` or the previous call.
        attention: inside a layer, its self-attention, for losses.

    Returns:
        A `Past` with what each window may read, which is what was written before it; the state after the last window;
        and a dictionary of extra losses by name, scalars, each a mean. A window of which nothing is remembered changes
        nothing.
    """

    # Whether its entries have positions; positions then keep counting from window to window.
    relative = False
    # The names of its extra losses.
    loss_names: tuple[str, ...] = ()

    def __init__(self, width: int, **kwargs: Any) -> None:
        # The state stays float32 in every precision: bfloat16 would lose what is added in small amounts.
        super().__init__(**{"autocast": False, **kwargs})
        self.width = width

    def initial_state(self, batch: int | Tensor) -> State:
        """The state at a document's start: a dictionary of tensors with the batch as axis 0.

        Its names are in alphabetical order, because some backends sort the keys when they flatten a dictionary and
        others do not.
        """
        raise NotImplementedError

    def prepare(self, x: Tensor) -> Tensor:
        """What `write` needs from each position, computed for all windows at once: (B, S, D) -> (B, S, C)."""
        raise NotImplementedError

    def write(self, prepared: Tensor, here: Tensor, state: State) -> tuple[State, tuple[Tensor, Tensor]]:
        """The state after one window, and what was done: the share of each number that was newly written (B, M, D), or
        (B, M, 1) if it is the same for a whole vector; and how much each vector attended to each position (B, M, N).

        Args:
            prepared: (B, N, C) from `prepare`, for the window's positions and perhaps others.
            here: boolean (B, N), the positions of the window that are remembered; perhaps none.
            state: the state before it.
        """
        raise NotImplementedError

    def view(self, state: State) -> tuple[Tensor, Tensor]:
        """What can be read from states, with any axes before their own: values (..., M, D) and boolean (..., M)."""
        raise NotImplementedError

    def past(self, state: State) -> Past:
        """What the next window may read: a `Past` whose mask is (B, 1, P)."""
        values, filled = self.view(state)
        return Past(values, filled[:, None])

    def call(
        self, x: Tensor, row: Row, state: State, attention: SelfAttention | None = None
    ) -> tuple[Past, State, dict[str, Tensor]]:
        states, state = self.states_before(x, row, state)
        return past_of(row, *self.view(states)), state, {}

    def states_before(self, x: Tensor, row: Row, state: State) -> tuple[State, State]:
        """The states before each window, on a new first axis, and the state after the last; arguments as for a call."""
        beginning, pieces = self.initial_state(ops.shape(x)[0]), pieces_of(row)
        parts = pieces.apart(self.prepare(x))

        def advance(state, given):
            part, here, begins = ops.split(given, [given.shape[-1] - 2, given.shape[-1] - 1], axis=-1)
            state = where(begins[:, 0, 0] > 0, beginning, state)
            return self.write(part, here[..., 0] > 0, state)[0], state

        remembered = pieces.apart(ops.cast(row.remembered, parts.dtype)[..., None])
        here = ops.where(pieces.real[..., None], remembered, ops.zeros_like(remembered))
        begins = ops.cast(ops.swapaxes(row.resets, 0, 1), parts.dtype)[..., None, None]
        # One tensor, because Keras' scan on TensorFlow takes several only if their length is known.
        given = ops.concatenate([parts, here, ops.broadcast_to(begins, ops.shape(here))], axis=-1)
        state, states = ops.scan(advance, state, given)
        return states, state

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


class KeptPositions(Memory):
    """A memory whose state is the last positions as they are; it has no weights.

    Args:
        width: see `Memory`.
        cache: how many positions are kept, P.

    The state is "filled", boolean (B, P), and "values", (B, P, D), oldest first.
    """

    def __init__(self, width: int, cache: int, **kwargs: Any) -> None:
        super().__init__(width, **kwargs)
        self.cache = cache

    def build(self, *_: Any) -> None:
        self.built = True

    def initial_state(self, batch: int | Tensor) -> State:
        return {
            "filled": ops.zeros((batch, self.cache), "bool"),
            "values": ops.zeros((batch, self.cache, self.width), "float32"),
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cache": self.cache}


def past_of(row: Row, values: Tensor, filled: Tensor) -> Past:
    """What the positions of a row may read, from what each window may read: (W, B, M, D) and boolean (W, B, M)."""
    own = Own(values, filled, pieces_of(row))
    windows, batch, slots, width = ops.shape(values)
    mask = ops.logical_and(_members(row)[..., None], ops.swapaxes(filled, 0, 1)[:, None])
    mask = ops.reshape(mask, (*ops.shape(row.windows), windows * slots))
    return Past(ops.reshape(ops.swapaxes(values, 0, 1), (batch, windows * slots, width)), mask, own=own)


def positions_of(row: Row) -> Tensor:
    """Boolean (W, B, S): which positions of (B, S) belong to each window and are remembered."""
    remembered = ops.cast(row.remembered, "bool")[..., None]
    return ops.transpose(ops.logical_and(_members(row), remembered), (2, 0, 1))


def _members(row):
    """Boolean (B, S, W): which window each position belongs to."""
    numbers = ops.arange(1, ops.shape(row.resets)[1] + 1, dtype=row.windows.dtype)
    return ops.equal(row.windows[..., None], numbers)


def _extents(member):
    """(B, W) int32 each: the first place of each window (for an empty one, that after the row's end), and its size."""
    length = ops.shape(member)[1]
    places = ops.arange(length, dtype="int32")[:, None]
    return ops.min(ops.where(member, places, length), axis=1), ops.sum(ops.cast(member, "int32"), axis=1)


def pieces_of(row: Row) -> Pieces:
    """Where each window of a row is."""
    return Pieces.of(row.windows, *_extents(_members(row)))


class Windows(NamedTuple):
    """Where the windows of a row are, for memories whose entries have positions.

    Positions keep counting from window to window, except that a window of which nothing is remembered takes no place.

    positions: (B, S) int32, of each token, from 0.
    starts: (B, S) int32, the first position of its window.
    documents: (B, S) int32, its document: 0 for the one that the row continues, then 1, 2 and so on.
    begins: (B, S) int32, the first position of its document, 0 for document 0.
    counts: (B, S) bool, whether it takes a place.
    end, last, last_begins: (B,) int32: how many positions are taken, the last document, and its first position.
    """

    positions: Tensor
    starts: Tensor
    documents: Tensor
    begins: Tensor
    counts: Tensor
    end: Tensor
    last: Tensor
    last_begins: Tensor


def windows_of(row: Row) -> Windows:
    """The `Windows` of a row; they are found with tensors of (B, S, W), which are small, as a row has few windows."""
    member = _members(row)
    first, sizes = _extents(member)
    remembered = ops.logical_and(member, ops.cast(row.remembered, "bool")[..., None])
    counts = ops.any(remembered, axis=1)
    taken = ops.where(counts, sizes, 0)
    starts = ops.cumsum(taken, axis=1) - taken
    resets = ops.cast(ops.cast(row.resets, "bool"), "int32")
    documents = ops.cumsum(resets, axis=1)
    # The start of the last reset so far, as starts never fall.
    begins = ops.max(ops.where(_so_far(resets), (starts * resets)[:, None], 0), axis=-1)

    def of_tokens(of_windows):
        return ops.sum(ops.where(member, of_windows[:, None], 0), axis=-1)

    return Windows(
        positions=ops.arange(ops.shape(member)[1], dtype="int32") + of_tokens(starts - first),
        starts=of_tokens(starts),
        documents=of_tokens(documents),
        begins=of_tokens(begins),
        counts=ops.any(ops.logical_and(member, counts[:, None]), axis=-1),
        end=ops.sum(taken, axis=1),
        last=documents[:, -1],
        last_begins=begins[:, -1],
    )


def _so_far(resets):
    """(1, W, W) bool: the windows up to each one."""
    numbers = ops.arange(ops.shape(resets)[1], dtype="int32")
    return (numbers[:, None] >= numbers)[None]


def last_of(leaves: list[Tensor], kept: Tensor, count: int) -> tuple[list[Tensor], Tensor]:
    """The last kept entries of some sequences, in order, at the end of `count` places.

    Args:
        leaves: tensors (B, N, ...), N at least `count`.
        kept: boolean (B, N).
        count: P.

    Returns:
        Tensors (B, P, ...); and boolean (B, P), which entries of these are kept ones.
    """
    size = ops.shape(kept)[1]
    order = ops.arange(size, dtype="int32")
    chosen = ops.cast(ops.argsort(ops.where(kept, size + order, order), axis=1), "int32")[:, size - count :]

    def take(leaf):
        return ops.take_along_axis(
            leaf, ops.reshape(chosen, (*ops.shape(chosen), *(1 for _ in leaf.shape[2:]))), axis=1
        )

    return [take(leaf) for leaf in leaves], take(kept)


def where(rows: Tensor, first: State, second: State) -> State:
    """Chooses between two states row by row: the first where `rows` (B,) is true, else the second."""

    def choose(first, second):
        chosen = ops.reshape(ops.cast(rows, "bool"), (-1, *(1 for _ in first.shape[1:])))
        return ops.where(chosen, first, second)

    return {name: choose(leaf, second[name]) for name, leaf in first.items()}


def forgotten_bits(written: Tensor) -> Tensor:
    """The bits that a gate forgets: what a recurrence would have to keep of each number in order to be run backward.

    For a gate of z, which keeps the share z of the old number, they are -log2(z), and at most the number's 32.

    Args:
        written: 1 - z, from `Memory.write`, (..., M, D).

    Returns:
        The mean over each vector, (..., M).

    References:
        MacKay et al. 2018, "Reversible Recurrent Neural Networks", section 3.
    """
    return ops.mean(-ops.log2(ops.maximum(1 - written, 2.0**-32)), axis=-1)


def writes_of(memory: Memory, x: Tensor, row: Row, state: State) -> dict[str, Tensor]:
    """How a memory of a fixed number of vectors M is written by each of the W windows of a row; for plots.

    Args:
        memory, x, row, state: see the call of `Memory`.

    Returns:
        A dictionary of tensors: "writes" (B, W, M), the share of each vector that a window newly wrote; "forgotten"
        (B, W, M), the vector's `forgotten_bits`, 0 where a document begins; "attended" (B, W, M, S), how much each
        vector attended to each position.
    """
    found: dict[str, list] = {"writes": [], "forgotten": [], "attended": []}
    continues = ops.logical_not(ops.cast(row.resets, "bool"))
    states, _ = memory.states_before(x, row, state)
    prepared, here = memory.prepare(x), positions_of(row)
    for window in range(ops.shape(row.resets)[1]):
        before = {name: leaf[window] for name, leaf in states.items()}
        _, (share, weights) = memory.write(prepared, here[window], before)
        found["writes"].append(ops.mean(share, axis=-1))
        found["forgotten"].append(ops.where(continues[:, window, None], forgotten_bits(share), 0.0))
        found["attended"].append(weights)
    return {name: ops.stack(each, axis=1) for name, each in found.items()}


def row_mean(errors: Tensor, counted: Tensor) -> Tensor:
    """The mean, over rows, of each row's mean of the errors (B, N) that are `counted`, boolean (B, N); so it does not
    depend on how rows are distributed among devices."""
    counted = ops.cast(counted, "float32")
    return ops.mean(ops.sum(errors * counted, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1.0))
