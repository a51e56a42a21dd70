import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.retrieval.segments import SegmentStore
from app.retrieval.store import build_store
from tests.app.retrieval.toy_memory import toy_entries, toy_pairs

PAIRS = list(dict.fromkeys(toy_pairs(40)))
MADE = toy_entries(PAIRS)
QUERIES = [source for source, _ in PAIRS[:6]] + ["open please", "unheard of"]


def filled(numbers) -> SegmentStore:
    """A store with some of the segments, added in this order."""
    store = SegmentStore()
    for number in numbers:
        store.add(number, MADE[number], PAIRS[number][0])
    return store


def findings(store: SegmentStore, most: int) -> list:
    """What can be seen of a store."""
    similar = [store.similar(query, 4, most) for query in QUERIES]
    entries = [[values.tobytes() for values in store.entries(numbers, 9)] for numbers in similar]
    return [len(store), store.size, similar, entries]


def test_all_segments_while_they_are_few():
    store, most = filled([3, 1, 2]), sum(len(MADE[number].tokens) for number in (1, 2, 3))
    assert store.similar("nothing similar", 1, most) == [1, 2, 3]
    found, parts = store.entries([1, 2, 3], most), [MADE[number] for number in (1, 2, 3)]
    for values, expected in zip(found, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(values, np.concatenate(expected))
    store.add(0, MADE[0], PAIRS[0][0])
    assert store.similar("nothing similar", 1, most) == []
    assert PAIRS[store.similar(PAIRS[2][0], 1, most)[0]][0] == PAIRS[2][0]


def test_finds_what_a_store_on_disk_finds(tmp_path):
    store, disk = filled(range(len(PAIRS))), build_store(tmp_path / "memory", PAIRS, toy_entries, {})
    assert len(PAIRS) == len(disk)
    for query in QUERIES:
        numbers = store.similar(query, 7, 0)
        assert numbers == disk.similar(query, 7)
        ours, theirs = store.entries(numbers, 11), disk.entries(numbers, 11)
        np.testing.assert_array_equal(ours.keys.astype("float16"), theirs.keys)
        np.testing.assert_array_equal(ours.tokens, theirs.tokens)
        np.testing.assert_array_equal(ours.trust, theirs.trust)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 14), max_size=12),
    st.lists(st.integers(0, 14), max_size=6),
    st.sampled_from([0, 20, 1000]),
)
def test_adding_and_removing_leaves_no_trace(kept, passing, most):
    """Whatever came and went in between, and was looked for, a store finds what one with the same segments finds."""
    passing = [number for number in dict.fromkeys(passing) if number not in kept]
    store = filled(kept[: len(kept) // 2])
    for number in passing:
        store.add(number, MADE[number], PAIRS[number][0])
        findings(store, most)
    for number in kept[len(kept) // 2 :]:
        store.add(number, MADE[number], PAIRS[number][0])
    for number in passing:
        store.discard(number)
        findings(store, most)
    assert findings(store, most) == findings(filled(sorted(set(kept))), most)


def test_an_added_segment_is_found_at_once_and_a_removed_one_no_more():
    store = filled(range(10))
    assert store.similar("brand new", 3, 0) == []
    store.add(10, MADE[10], "brand new words")
    assert store.similar("brand new", 3, 0) == [10]
    store.add(10, MADE[10], "other words")
    assert store.similar("brand new", 3, 0) == []
    store.discard(10)
    assert store.similar("other words", 3, 0) == []
    store.discard(10)
    assert len(store) == 10
