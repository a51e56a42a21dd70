"""What every search shares: the hypotheses it returns, and the handling of rows in a nested decoding state.

A decoding state is any nest of dicts, tuples and lists whose leaves have the rows as axis 0. Within one search a leaf
keeps its shape and dtype (caches are allocated at their full length, not grown). A search that follows K hypotheses of
each of B inputs repeats each leaf to B * K rows, and the rows follow the hypotheses. Two dictionary keys mark
leaves that keep their B rows:

- `"shared"`: does not change during decoding and is the same for all hypotheses of one input. The step function must
  match each of its rows to K rows of `tokens`.
- `"written"`: what the hypotheses of an input write into one place, such as keys and values. Its second-to-last axis,
  of size 1, becomes K: entry k is where hypothesis k writes. It is never reordered, which would cost more than the rest
  of a step; the step function records in an ordinary leaf which entries belong to which hypothesis.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops, tree

from models import Nested, Step, Tensor

SHARED, WRITTEN = "shared", "written"


class Hypotheses(NamedTuple):
    """Decoded sequences. Beam search and sampling add an axis after B: `nbest`, best first, or `samples`.

    tokens: (B, T) int32, including the end token, with padding after it.
    scores: (B,) float32. The sum of the log-probabilities of `tokens`, in beam search divided by the length penalty.
        NaN for an input whose logits were not finite; -inf (with no tokens) where fewer hypotheses exist than were
        asked for.
    lengths: (B,) int32, number of tokens, including the end token.
    """

    tokens: Tensor
    scores: Tensor
    lengths: Tensor


def take_step(step: Step, tokens: Tensor, state: Nested) -> tuple[Tensor, Nested]:
    """Calls `step` and returns its logits in float32 and the new state, both cut off from gradients.

    PyTorch would otherwise keep the intermediate values of all steps until the search ends.
    """
    logits, state = step(tokens, state)
    return ops.cast(ops.stop_gradient(logits), "float32"), tree.map_structure(ops.stop_gradient, state)


def repeat_rows(state: Nested, times: int) -> Nested:
    """Repeats every row: (B, ...) leaves become (B * times, ...), the copies of a row side by side.

    Leaves below "shared" stay as they are; leaves below "written" get `times` places in their second-to-last axis.
    """

    def repeat(leaf, key):
        if len(leaf.shape) == 0:
            raise ValueError("Every leaf of a decoding state needs the rows as axis 0, but a scalar leaf was given.")
        if times == 1 or key == SHARED:
            return leaf
        return ops.repeat(leaf, times, axis=len(leaf.shape) - 2 if key == WRITTEN else 0)

    return map_leaves(repeat, state)


def reorder_rows(state: Nested, rows: Tensor) -> Nested:
    """Row n of the result is row `rows[n]` of `state`; leaves with one row for each input stay as they are."""
    return map_leaves(lambda leaf, key: leaf if key else ops.take(leaf, rows, axis=0), state)


def by_input(key: str | None) -> bool:
    """Whether leaves below this key have one row for each input rather than one for each hypothesis."""
    return key in (SHARED, WRITTEN)


def map_leaves(function: Callable[[Tensor, str | None], Tensor], state: Nested, key: str | None = None) -> Nested:
    """Applies a function to all leaves; it gets a leaf and the key above it ("shared", "written" or None)."""
    if isinstance(state, dict):
        special = (SHARED, WRITTEN)
        found = ((name, map_leaves(function, part, name if name in special else key)) for name, part in state.items())
        return type(state)(found)
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*(map_leaves(function, part, key) for part in state))
    if isinstance(state, list | tuple):
        return type(state)(map_leaves(function, part, key) for part in state)
    return function(state, key)


def pick(x: Tensor, indices: Tensor) -> Tensor:
    """Takes entries of axis 1 for each row: x (B, C, ...), indices (B, K) int32 -> (B, K, ...)."""
    shape = ops.shape(x)
    starts = ops.arange(shape[0], dtype="int32")[:, None] * shape[1]
    picked = ops.take(ops.reshape(x, (-1, *shape[2:])), ops.reshape(indices + starts, (-1,)), axis=0)
    return ops.reshape(picked, (shape[0], indices.shape[1], *shape[2:]))


def keep_shapes(new: Nested, old: Nested) -> Nested:
    """Gives the leaves of `new` the static shapes of `old`, which `while_loop` on TensorFlow requires.

    Gathers and repeats lose static sizes in a graph. Leaves that kept theirs are not changed.
    """

    def keep(new, old):
        return new if tuple(new.shape) == tuple(old.shape) else ops.reshape(new, ops.shape(old))

    return tree.map_structure(keep, new, old)


def refuse_nan(hypotheses: Any) -> Any:
    """Raises an error if a search met logits that were not finite.

    The searches call it themselves when they run eagerly. A compiled function cannot raise an error, so its scores are
    NaN; call this on what it returned.

    Args:
        hypotheses: `Hypotheses`, or anything with `scores`, whose axis 0 is the input.

    Returns:
        `hypotheses`, unchanged.

    Raises:
        ValueError: if a score is NaN. The message names the inputs.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            scores = ops.convert_to_numpy(hypotheses.scores)
    except (NotImplementedError, TypeError):  # a symbolic tensor: TensorFlow warns and raises the first, JAX the second
        return hypotheses
    rows = np.flatnonzero(np.isnan(scores).reshape(len(scores), -1).any(axis=1)) if scores.size else ()
    if len(rows):
        named = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
        raise ValueError(f"The step function gave logits that are not finite (NaN or infinite) for input {named}.")
    return hypotheses
