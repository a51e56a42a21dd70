"""Rows of nested states, compiled searches, and logits that are not finite."""

from typing import NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

from models.search import beam_search, greedy, refuse_nan, sample, score, score_logits
from models.search.state import keep_shapes, pick, reorder_rows, repeat_rows
from tests.models.search_toys import BOS, EOS, IDS, PAD, Toy, compiled, inputs


class Cache(NamedTuple):
    keys: object
    values: object


def test_rows_are_repeated_side_by_side_and_shared_leaves_never():
    numbers = ops.array([[1.0, 2.0], [3.0, 4.0]])
    state = {"shared": {"mask": numbers > 2.0}, "layers": [Cache(numbers, (numbers,)), {"shared": numbers}], "none": ()}
    repeated = repeat_rows(state, 2)
    np.testing.assert_array_equal(repeated["layers"][0].keys, [[1, 2], [1, 2], [3, 4], [3, 4]])
    moved = reorder_rows(repeated, ops.array([3, 0, 0, 1], dtype="int32"))
    assert isinstance(moved["layers"][0], Cache) and moved["none"] == ()
    for leaf in (moved["layers"][0].keys, moved["layers"][0].values[0]):
        np.testing.assert_array_equal(leaf, [[3, 4], [1, 2], [1, 2], [1, 2]])
    assert moved["shared"]["mask"] is state["shared"]["mask"]
    assert moved["layers"][1]["shared"] is numbers


def test_a_leaf_without_rows_is_refused():
    with pytest.raises(ValueError, match="axis 0"):
        beam_search(lambda tokens, state: None, {"time": ops.array(0)}, 1, 2, 3, **IDS)


def test_pick_takes_entries_of_each_row():
    x = np.arange(24).reshape(2, 3, 4)
    found = pick(ops.convert_to_tensor(x), ops.array([[2, 0], [1, 1]], dtype="int32"))
    np.testing.assert_array_equal(found, [x[0, [2, 0]], x[1, [1, 1]]])


def test_keep_shapes_does_not_hide_a_cache_that_grows():
    with pytest.raises(Exception, match="(?i)shape|size|reshape"):
        keep_shapes({"cache": ops.zeros((2, 4))}, {"cache": ops.zeros((2, 3))})


def beams(toy, numbers, limit):
    return beam_search(
        toy.step,
        toy.state(numbers),
        ops.shape(numbers)[0],
        3,
        toy.length,
        0.6,
        2,
        max_lengths=ops.full_like(numbers, 1) * limit,
        **IDS,
    )


def best(toy, numbers, limit):
    limits = ops.full_like(numbers, 1) * limit
    return greedy(toy.step, toy.state(numbers), ops.shape(numbers)[0], toy.length, max_lengths=limits, **IDS)


def samples(toy, numbers, limit):
    limits = ops.full_like(numbers, 1) * limit
    rows = ops.shape(numbers)[0]
    return sample(toy.step, toy.state(numbers), rows, toy.length, 5, 0.7, 4, 0.9, 2, max_lengths=limits, **IDS)


def scores(toy, numbers, limit):
    references = ops.where(ops.arange(toy.length)[None, :] < limit, 4 + numbers[:, None] % 3, PAD)
    return score(toy.step, toy.state(numbers), references, BOS, PAD)


@pytest.mark.parametrize("search", [beams, best, samples, scores])
def test_compiled_search_equals_eager_search_for_any_batch_and_length(search):
    toy = Toy(vocabulary=9, length=6, seed=4)
    function = compiled(lambda numbers, limit: search(toy, numbers, limit), (None,), ())
    for size, limit in [(1, 6), (3, 4), (3, 6)]:
        numbers, limit = inputs(*range(size)), ops.array(limit, dtype="int32")
        for one, other in zip(function(numbers, limit), search(toy, numbers, limit), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    if keras.backend.backend() == "tensorflow":
        assert function.experimental_get_tracing_count() == 1


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX needs static lengths")
@pytest.mark.parametrize("kind", ["greedy", "beam", "sample", "score"])
def test_length_of_the_output_may_be_unknown_in_a_graph(kind):
    toy = Toy(vocabulary=9, length=6, seed=4)

    def run(numbers, length):
        state, rows = toy.state(numbers), ops.shape(numbers)[0]
        if kind == "greedy":
            return greedy(toy.step, state, rows, length, **IDS)
        if kind == "beam":
            return beam_search(toy.step, state, rows, 3, length, 0.6, 2, **IDS)
        if kind == "sample":
            return sample(toy.step, state, rows, length, 1, samples=2, **IDS)
        return score(toy.step, state, ops.zeros((rows, length), "int32") + 4, BOS, PAD)

    function = compiled(run, (None,), ())
    for length in (3, 6):
        for one, other in zip(function(inputs(3, 4), length), run(inputs(3, 4), length), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert function.experimental_get_tracing_count() == 1


def breaking(toy, value=float("nan"), number=1, time=2):
    """A step function like the toy's, but with one logit of `value` for input `number` at the `time`-th token."""

    def step(tokens, state):
        logits, following = toy.step(tokens, state)
        here = ops.logical_and(state["inputs"] == number, state["position"] == time - 1)
        place = ops.logical_and(here[:, None], ops.arange(toy.vocabulary) == 5)
        return ops.where(place, value, logits), following

    return step


SEARCHES = {
    "greedy": lambda step, state, rows: greedy(step, state, rows, 5, min_length=4, **IDS),
    "beam": lambda step, state, rows: beam_search(step, state, rows, 3, 5, nbest=2, min_length=4, **IDS),
    "sample": lambda step, state, rows: sample(step, state, rows, 5, 0, samples=2, top_p=0.9, min_length=4, **IDS),
    "score": lambda step, state, rows: score(step, state, ops.full((rows, 5), 4, dtype="int32"), BOS, PAD),
}


@pytest.mark.parametrize("kind", SEARCHES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused_by_name(kind, value):
    toy = Toy(vocabulary=9, length=5, seed=4)
    with pytest.raises(ValueError, match=r"not finite.* input 1\."):
        SEARCHES[kind](breaking(toy, value), toy.state(inputs(0, 1, 2)), 3)


@pytest.mark.parametrize("kind", SEARCHES)
def test_compiled_search_marks_inputs_with_broken_logits_by_nan_and_leaves_the_others(kind):
    toy = Toy(vocabulary=9, length=5, seed=4)
    rows = 3
    function = compiled(lambda numbers: SEARCHES[kind](breaking(toy), toy.state(numbers), rows), (rows,))
    if keras.backend.backend() == "torch":
        pytest.skip("there is no compiled search on PyTorch")
    found = function(inputs(0, 1, 2))
    whole = SEARCHES[kind](toy.step, toy.state(inputs(0, 1, 2)), rows)
    marked, sound = ops.convert_to_numpy(found.scores), ops.convert_to_numpy(whole.scores)
    assert np.isnan(marked[1]).all()
    np.testing.assert_allclose(marked[[0, 2]], sound[[0, 2]], rtol=1e-5)
    with pytest.raises(ValueError, match=r"input 1\."):
        refuse_nan(found)
    assert refuse_nan(whole) is whole


def test_broken_logits_of_an_input_that_has_ended_do_not_matter():
    toy = Toy(vocabulary=9, length=6, seed=4)
    for search in (
        lambda step: greedy(step, toy.state(inputs(0, 1)), 2, 6, max_lengths=ops.array([6, 2]), min_length=6, **IDS),
        lambda step: beam_search(
            step, toy.state(inputs(0, 1)), 2, 3, 6, max_lengths=ops.array([6, 2]), min_length=6, **IDS
        ),
    ):
        np.testing.assert_array_equal(search(breaking(toy, time=3)).tokens, search(toy.step).tokens)


def test_score_logits_refuses_nan_only_at_real_positions():
    logits = np.zeros((2, 3, 6), "float32")
    logits[:, 2] = np.nan
    labels = np.array([[4, EOS, PAD], [4, 4, EOS]], "int32")
    np.testing.assert_allclose(score_logits(logits[:1], labels[:1], PAD).scores, [-2 * np.log(6)], rtol=1e-6)
    with pytest.raises(ValueError, match=r"input 1\."):
        score_logits(logits, labels, PAD)


def test_an_impossible_token_is_not_an_error():
    logits = np.zeros((1, 2, 6), "float32")
    logits[0, 0, 4] = -np.inf
    assert np.isneginf(ops.convert_to_numpy(score_logits(logits, np.array([[4, EOS]]), PAD).scores)).all()
