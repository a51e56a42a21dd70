"""What a layer may attend to before its own positions."""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from models import KeysValues, Tensor
from models.pieces import Pieces


class Own(NamedTuple):
    """What each of the W windows of a row may read, if all positions of a window may read the same.

    values: (W, B, M, D).
    filled: boolean (W, B, M), which of them may be read.
    pieces: where the windows are.
    """

    values: Tensor
    filled: Tensor
    pieces: Pieces


class Past(NamedTuple):
    """What the positions of a row may read from before their windows.

    values: (B, P, D).
    mask: boolean (B, S, P), or (B, 1, P) if all may read the same.
    positions: integer (B, P) for rotary positions, counted like the row's own; None: all are at 0.
    row: boolean (B, S, S), which positions of the row itself may be attended to in addition to those of the same
        window; None for none.
    own: the same, window by window, if there is nothing else to read.
    gate: (B, H, S), the share g of each head's attention that goes to what is read from here, also by `row`; it is
        normalised by itself. None: everything is normalised together.
    """

    values: Tensor
    mask: Tensor
    positions: Tensor | None = None
    row: Tensor | None = None
    own: Own | None = None
    gate: Tensor | None = None


class PastStep(NamedTuple):
    """A past for one position of each hypothesis of a search; the same for all hypotheses of an input.

    keys_values: pair of tensors (B, H, P, D/H).
    ceilings: (B, 1, 1, P) float32, see `models.attention.Attention.attend_rows`.
    gate: (B, H, K, 1), as in `Past`; 0 where there is nothing to read.
    """

    keys_values: KeysValues
    ceilings: Tensor
    gate: Tensor | None = None


class Reading(NamedTuple):
    """What a layer reads from memories: a past for its self-attention (in a step of a search, a tuple of `PastStep`),
    and what is added to the result of self-attention."""

    past: Any = None
    added: Tensor | None = None

    def plus(self, output: Tensor) -> Tensor:
        """The result of self-attention, plus what is added to it."""
        return output if self.added is None else output + self.added


# Maps a layer's number, and then the input of its self-attention, to what the layer reads.
Read = Callable[[int], Callable[[Tensor], Reading]]


def nothing(number: int) -> Callable[[Tensor], Reading]:
    """A `Read` without memories."""
    return lambda x: Reading()


# What a layer without memories reads.
NOTHING = nothing(0)


def together(readings: list[Reading]) -> Reading:
    """What a layer reads from several memories, at most one of which is read by self-attention."""
    pasts = [reading.past for reading in readings if reading.past is not None]
    added = [reading.added for reading in readings if reading.added is not None]
    (past,) = pasts or [None]
    return Reading(past, sum(added[1:], start=added[0]) if added else None)


def mask_with(past: Past, mask: Tensor) -> Tensor:
    """The mask (B, S, P + S) of a past and of the row's own positions; `mask` (B, S, S) is that of the latter."""
    own = mask if past.row is None else ops.logical_or(mask, past.row)
    return ops.concatenate([_before(past, mask), own], axis=-1)


def carried_mask(past: Past, mask: Tensor) -> Tensor:
    """The mask (B, S, P + S) of what is read from a past, with the row's earlier windows but without the own one."""
    earlier = ops.zeros_like(mask) if past.row is None else past.row
    return ops.concatenate([_before(past, mask), earlier], axis=-1)


def _before(past, mask):
    return ops.broadcast_to(past.mask, (*ops.shape(mask)[:2], ops.shape(past.values)[1]))
