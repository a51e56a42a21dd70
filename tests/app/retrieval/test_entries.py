import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.entries import NOTHING, Entries, concatenated, padded

SIZES = st.lists(st.integers(0, 9), max_size=5)


def entries(size: int, start: int = 1) -> Entries:
    numbers = np.arange(start, start + size)
    return Entries(numbers[:, None] + np.array([0.0, 0.5], "float32"), numbers.astype("int32"), 1 / numbers)


@given(SIZES)
def test_parts_in_order(sizes):
    starts = np.cumsum([1, *sizes])
    found = concatenated([entries(size, start) for size, start in zip(sizes, starts, strict=False)])
    assert found.tokens.tolist() == list(range(1, sum(sizes) + 1))
    assert found.keys.tolist() == [[number, number + 0.5] for number in range(1, sum(sizes) + 1)] or not sum(sizes)
    assert bool(found) == (sum(sizes) > 0)


@given(SIZES, st.integers(0, 20), st.integers(0, 2))
def test_padding_is_token_0(sizes, room, more):
    parts = [entries(size) if size else NOTHING for size in sizes]
    size = max([*sizes, 1]) + room
    batch = padded(parts, len(parts) + more, size, 2)
    assert batch["keys"].shape == (len(parts) + more, size, 2)
    for row in range(len(parts) + more):
        expected = parts[row] if row < len(parts) else NOTHING
        used = len(expected.tokens)
        for name, values in expected._asdict().items():
            if used:
                np.testing.assert_array_equal(batch[name][row, :used], values.astype(batch[name].dtype))
            assert not batch[name][row, used:].any()
