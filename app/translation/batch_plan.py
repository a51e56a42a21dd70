"""Which sequences are decoded together."""

from collections.abc import Callable, Iterator, Sequence


def plan_batches(lengths: Sequence[int], budget: int, padded: Callable[[int], int] = int) -> Iterator[list[int]]:
    """Groups sequences of similar length, longest first, so that running out of memory shows at once.

    Args:
        lengths: length of each sequence in tokens.
        budget: tokens in a batch, padding included; a longer sequence gets a batch of its own.
        padded: gives the padded length of a batch from the length of its longest sequence.

    Yields:
        For each batch, the indices of its sequences.
    """
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if rows and (len(rows) + 1) * padded(lengths[rows[0]]) > budget:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows
