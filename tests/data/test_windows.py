import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.windows import BACKWARD, WINDOWS, WindowOptions, cut, cut_documents, next_window

lengths = st.lists(st.integers(0, 40), max_size=40)
options = st.builds(
    WindowOptions,
    windows=st.sampled_from(WINDOWS),
    size=st.integers(1, 5),
    tokens=st.integers(1, 150),
    sliding=st.booleans(),
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (WindowOptions("segments", size=1), [[0, 0, 1], [1, 1, 2], [2, 2, 3], [3, 3, 4], [4, 4, 5]]),
        (WindowOptions("segments", size=2), [[0, 0, 2], [2, 2, 4], [4, 4, 5]]),
        (WindowOptions("segments", size=3, sliding=True), [[0, 0, 1], [0, 1, 2], [0, 2, 3], [1, 3, 4], [2, 4, 5]]),
        (WindowOptions("tokens", tokens=10), [[0, 0, 2], [2, 2, 3], [3, 3, 5]]),
        (WindowOptions("tokens", tokens=9), [[0, 0, 1], [1, 1, 2], [2, 2, 3], [3, 3, 5]]),
        (WindowOptions("tokens", tokens=14, sliding=True), [[0, 0, 1], [0, 1, 2], [2, 2, 3], [3, 3, 4], [3, 4, 5]]),
        (WindowOptions("dynamic", tokens=14, sliding=True), [[0, 0, 1], [0, 1, 2], [2, 2, 3], [3, 3, 4], [3, 4, 5]]),
        (WindowOptions("tokens", tokens=100), [[0, 0, 5]]),
        (WindowOptions("segments", size=2, order="backward"), [[4, 4, 5], [2, 2, 4], [0, 0, 2]]),
        (WindowOptions("tokens", tokens=10, order="backward"), [[3, 3, 5], [2, 2, 3], [0, 0, 2]]),
    ],
)
def test_windows_written_by_hand(options, expected):
    assert cut([4, 4, 20, 1, 0], options).tolist() == expected  # with their breaks 5, 5, 21, 2 and 1 tokens


def test_a_dynamic_window_grows_with_its_document_up_to_the_limit():
    windows = cut([7] * 60, WindowOptions("dynamic", tokens=100))
    assert (windows[:, 2] - windows[:, 1]).tolist() == [4, 8, 12, 12, 12, 12]  # 32, 64, 100, 100 ... tokens
    assert (windows[:, 0] == windows[:, 1]).all()
    short = cut([7] * 6, WindowOptions("dynamic", tokens=20))
    assert (short[:, 2] - short[:, 1]).tolist() == [2, 2, 2]


def test_every_document_of_a_corpus_grows_anew():
    windows = cut_documents([7] * 20, np.array([0, 14, 15, 15, 20]), WindowOptions("dynamic", tokens=64))
    assert windows.tolist() == [[0, 0, 4], [4, 4, 12], [12, 12, 14], [14, 14, 15], [15, 15, 19], [19, 19, 20]]
    sliding = cut_documents([7] * 5, np.array([0, 3, 5]), WindowOptions("segments", size=4, sliding=True))
    assert sliding.tolist() == [[0, 0, 1], [0, 1, 2], [0, 2, 3], [3, 3, 4], [3, 4, 5]]
    backward = WindowOptions("dynamic", tokens=64, order="backward")
    windows = cut_documents([7] * 20, np.array([0, 14, 15, 15, 20]), backward)
    assert windows.tolist() == [[12, 12, 14], [4, 4, 12], [0, 0, 4], [14, 14, 15], [19, 19, 20], [15, 15, 19]]


@given(lengths, options)
def test_reading_a_stream_gives_the_same_windows(lengths, options):
    position, streamed = 0, []
    while position < len(lengths):
        streamed.append(list(next_window(lengths, position, len(streamed), options)))
        position = streamed[-1][2]
    assert cut(lengths, options).tolist() == streamed


@given(lengths, options)
def test_every_segment_is_scored_once_within_the_limits(lengths, options):
    windows = cut(lengths, options)
    assert windows.shape[1:] == (3,) and windows.dtype == np.int32
    assert [i for _, current, end in windows for i in range(current, end)] == list(range(len(lengths)))
    for number, (first, current, end) in enumerate(windows.tolist()):
        assert 0 <= first <= current < end
        assert end == current + 1 if options.sliding else first == current
        tokens = [length + 1 for length in lengths[first:end]]
        if options.windows == "segments":
            assert len(tokens) <= options.size
            fuller = first == 0 if options.sliding else end == len(lengths)
            assert len(tokens) == options.size or fuller
            continue
        limit = options.tokens
        if options.windows == "dynamic" and not options.sliding:
            limit = min(limit, 32 * 2**number)
        assert sum(tokens) <= limit or len(tokens) == 1
        more = lengths[first - 1 : first] if options.sliding and first else [] if options.sliding else lengths[end:]
        assert not more or sum(tokens) + more[0] + 1 > limit, "one more segment would have fitted"


@given(st.lists(lengths, min_size=1, max_size=6), options)
def test_documents_are_cut_as_if_each_stood_alone(documents, options):
    assert_apart(documents, options)
    if not options.sliding:
        assert_apart(documents, replace(options, order=BACKWARD))


@given(lengths, options.filter(lambda options: not options.sliding))
def test_backward_are_the_same_windows_from_the_last_to_the_first(lengths, options):
    assert cut(lengths, replace(options, order=BACKWARD)).tolist() == cut(lengths, options).tolist()[::-1]


def assert_apart(documents, options):
    bounds = np.cumsum([0, *map(len, documents)])
    alone = [cut(own, options) + begin for own, begin in zip(documents, bounds[:-1], strict=True)]
    together = cut_documents(list(itertools.chain.from_iterable(documents)), bounds, options)
    assert together.tolist() == np.concatenate(alone).tolist()


@given(lengths, options)
def test_a_stream_may_forget_what_no_window_can_reach(lengths, options):
    for number, (first, current, end) in enumerate(cut(lengths, options).tolist()):
        known = lengths[first : end + 1]
        assert next_window(known, current - first, number, options) == (0, current - first, end - first)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"windows": "off"}, "windows"),
        ({"size": 0}, "size"),
        ({"tokens": 0}, "tokens"),
        ({"order": "sideways"}, "forward, backward"),
        ({"order": "backward", "sliding": True}, "overlap"),
        ({"context_segment_dropout": 1.0}, "context_segment_dropout"),
        ({"context_word_dropout": -0.1}, "context_word_dropout"),
        ({"source_dropout": 1.0}, "source_dropout"),
    ],
)
def test_values_out_of_range_are_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        WindowOptions(**wrong)
