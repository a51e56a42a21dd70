"""A function that treats each position by itself, computed one portion of positions at a time."""

from collections.abc import Callable

from keras import ops

from models import Tensor
from models.gradients import called_with, custom_gradient, later, pullback
from models.loss import portions


def in_chunks(
    function: Callable[[Tensor], Tensor], count: int, x: Tensor, variables: list, seeds: list[tuple]
) -> Tensor:
    """Applies a function to each position; only inputs and results are kept for all positions.

    The backward pass computes each portion a second time.

    Args:
        function: (N, D) -> (N, C), each row independently.
        count: number of portions.
        x: (..., D).
        variables: the weights that the function uses.
        seeds: its random states, each with the value for the first portion, see `models.gradients.next_seeds`.

    Returns:
        (..., C).

    References:
        Kitaev et al. 2020, "Reformer: The Efficient Transformer", section 3, "Chunking".
    """

    def part_of(number):
        # Each portion draws different random numbers.
        fixed = [(variable, value + ops.cast([0, number], value.dtype)) for variable, value in seeds]
        return lambda part, *values: called_with(function, variables, values, fixed)(part)

    @custom_gradient
    def run(rows, *values):
        parts, found = portions(rows, count), []
        for number, part in enumerate(parts):
            part = later(part, found[-1]) if found else part
            found.append(part_of(number)(part, *values))

        def gradient(upstream):
            in_parts, sums = [], [ops.zeros_like(value, dtype="float32") for value in values]
            for number, pieces in enumerate(zip(parts, portions(upstream, count), strict=True)):
                part, above = (later(each, in_parts[-1]) for each in pieces) if in_parts else pieces
                _, pull = pullback(part_of(number), part, *values)
                in_part, *in_values = pull(above)
                in_parts.append(in_part)
                sums = [total + ops.cast(new, "float32") for total, new in zip(sums, in_values, strict=True)]
            sums = [ops.cast(total, value.dtype) for total, value in zip(sums, values, strict=True)]
            return ops.concatenate(in_parts)[: ops.shape(rows)[0]], *sums

        return ops.concatenate(found)[: ops.shape(rows)[0]], gradient

    rows = ops.reshape(x, (-1, x.shape[-1]))
    found = run(rows, *(ops.cast(each, each.dtype) for each in variables))
    return ops.reshape(found, (*ops.shape(x)[:-1], found.shape[-1]))
