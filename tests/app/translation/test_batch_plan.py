import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.translation.batch_plan import plan_batches, plan_rows, spread

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


@given(LENGTHS, st.integers(1, 200), st.integers(1, 9))
def test_spread_batches_hold_every_sequence_once_and_never_one_of_several(lengths, budget, at_once):
    batches = list(plan_batches(lengths, budget))
    found = spread(batches, at_once)
    assert [row for rows in found for row in rows] == [row for rows in batches for row in rows]
    assert len(found) <= max(at_once, len(batches))
    assert sum(len(rows) == 1 for rows in found) == sum(len(rows) == 1 for rows in batches)


@pytest.mark.parametrize(
    "batches, at_once, expected",
    [
        ([[4, 2, 0, 1, 3]], 2, [[4, 2, 0], [1, 3]]),
        ([[2, 0, 1]], 2, [[2, 0, 1]]),
        ([[0, 1, 2, 3], [4, 5]], 4, [[0, 1], [2, 3], [4, 5]]),
        ([[0, 1, 2, 3], [4, 5, 6, 7]], 3, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ([], 2, []),
    ],
)
def test_few_batches_are_divided_among_the_cores(batches, at_once, expected):
    assert spread(batches, at_once) == expected


@given(LENGTHS, st.integers(1, 100))
def test_rows_keep_the_order_and_the_limit(lengths, most):
    rows = list(plan_rows(lengths, int, most))
    assert [length for row in rows for length in row] == lengths
    assert all(sum(row) <= most or len(row) == 1 for row in rows)
    assert all(sum(row) + after[0] > most for row, after in zip(rows, rows[1:], strict=False))
