"""What every search shares: the hypotheses it returns, and the handling of rows in a nested decoding state.

A decoding state is any nest of dicts, tuples and lists whose leaves have the rows as axis 0. Within one search a leaf
keeps its shape and dtype (caches are allocated at their full length, not grown). Leaves anywhere below a dictionary key
named `"fixed"` do not change during decoding and are the same for all hypotheses of one input, as the keys and values
of cross-attention are; they are repeated once for the beam and then left alone.
"""

import warnings
from typing import NamedTuple

import numpy as np
from keras import ops, tree

FIXED = "fixed"


class Hypotheses(NamedTuple):
    """Decoded sequences. Beam search and sampling add an axis after B: `nbest`, best first, or `samples`.

    tokens: (B, T) int32, the end token included, padding after it.
    scores: (B,) float32. The sum of the log-probabilities of `tokens`, over the length penalty in beam search. NaN for
        an input whose logits were not finite; -inf (with no tokens) where fewer hypotheses exist than were asked for.
    lengths: (B,) int32, number of tokens, the end token included.
    """

    tokens: object
    scores: object
    lengths: object


def take_step(step, tokens, state):
    """Calls `step` and returns its logits in float32 and the new state, both cut off from gradients.

    PyTorch would otherwise keep the intermediate values of all steps until the search ends.
    """
    logits, state = step(tokens, state)
    return ops.cast(ops.stop_gradient(logits), "float32"), tree.map_structure(ops.stop_gradient, state)


def repeat_rows(state, times):
    """Repeats every row: (B, ...) leaves become (B * times, ...), the copies of a row side by side."""

    def repeat(leaf):
        if len(leaf.shape) == 0:
            raise ValueError("Every leaf of a decoding state needs the rows as axis 0, but a scalar leaf was given.")
        return ops.repeat(leaf, times, axis=0) if times > 1 else leaf

    return tree.map_structure(repeat, state)


def reorder_rows(state, rows):
    """Row n of the result is row `rows[n]` of `state`; what lies below the key "fixed" stays as it is."""
    if isinstance(state, dict):
        return type(state)((key, value if key == FIXED else reorder_rows(value, rows)) for key, value in state.items())
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*(reorder_rows(value, rows) for value in state))
    if isinstance(state, list | tuple):
        return type(state)(reorder_rows(value, rows) for value in state)
    return ops.take(state, rows, axis=0)


def pick(x, indices):
    """Takes entries of axis 1 for each row: x (B, C, ...), indices (B, K) int32 -> (B, K, ...)."""
    shape = ops.shape(x)
    starts = ops.arange(shape[0], dtype="int32")[:, None] * shape[1]
    picked = ops.take(ops.reshape(x, (-1, *shape[2:])), ops.reshape(indices + starts, (-1,)), axis=0)
    return ops.reshape(picked, (shape[0], indices.shape[1], *shape[2:]))


def keep_shapes(new, old):
    """Gives the leaves of `new` the static shapes of `old`, which `while_loop` on TensorFlow asks for.

    Gathers and repeats lose static sizes in a graph. Nothing happens to leaves that kept theirs.
    """

    def keep(new, old):
        return new if tuple(new.shape) == tuple(old.shape) else ops.reshape(new, ops.shape(old))

    return tree.map_structure(keep, new, old)


def refuse_nan(hypotheses):
    """Raises when a search met logits that were not finite.

    The searches call it themselves when they run eagerly. In a compiled function nothing can be raised and the scores
    are NaN; call this on what the compiled function returned.

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
