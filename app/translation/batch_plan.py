"""Which sequences are decoded together."""

from collections.abc import Callable, Iterator, Sequence


def plan_batches(lengths: Sequence[int], budget: int, padded: Callable[[int], int] = int) -> Iterator[list[int]]:
    """Puts sequences of like length together, longest first, so that too little memory shows at once.

    Args:
        lengths: of the sequences, in tokens.
        budget: tokens in a batch, padding included; one that is longer gets a batch of its own.
        padded: the length to which a batch is padded whose longest sequence has so many tokens.

    Yields:
        The numbers of the sequences in a batch.
    """
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if rows and (len(rows) + 1) * padded(lengths[rows[0]]) > budget:
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows
