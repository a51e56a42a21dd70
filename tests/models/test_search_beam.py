import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from models.search import beam, beam_search, greedy, length_penalty, score
from tests.models.search_toys import (
    BOS,
    EOS,
    IDS,
    PAD,
    UNK,
    Toy,
    assert_same,
    assert_well_formed,
    every_hypothesis,
    inputs,
    lists,
    penalty,
    plain_beam_search,
)

# Every search of a new shape costs compilation on JAX, so there only a few random examples are run.
EXAMPLES = 40 if keras.backend.backend() != "jax" else 5


def search(toy, numbers, size, alpha=0.0, nbest=1, **options):
    step_limit = options.pop("max_length", toy.length)
    options = {"exact": True} | options
    return beam_search(
        toy.step, toy.state(inputs(*numbers)), len(numbers), size, step_limit, alpha, nbest, **IDS, **options
    )


@pytest.mark.parametrize("alpha", [-0.5, 0.0, 0.6, 1.0, 2.0])
def test_wide_beam_finds_exactly_the_best_of_all_sequences(alpha):
    toy = Toy(vocabulary=7, length=4, seed=3)
    found = search(toy, [0, 1, 2], 85, alpha, 10)
    for number, row in enumerate(lists(found)):
        assert_same(row, every_hypothesis(toy, number, 4, alpha)[:10])


def test_wide_beam_under_rules_finds_exactly_the_best_of_the_sequences_that_they_allow():
    toy = Toy(vocabulary=8, length=4, seed=4)
    rules = {"min_length": 3, "forbidden": (UNK, 5)}
    found = search(toy, [7, 8], 30, 0.6, 5, max_lengths=ops.array([3, 4]), **rules)
    for number, limit, row in zip([7, 8], [3, 4], lists(found), strict=True):
        assert_same(row, every_hypothesis(toy, number, limit, 0.6, **rules)[:5])


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    size=st.sampled_from([1, 2, 3, 5]),
    nbest=st.integers(1, 5),
    alpha=st.sampled_from([-1.0, 0.0, 0.6, 1.5]),
    limits=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    min_length=st.integers(0, 5),
    forbidden=st.sampled_from([(), (UNK,), (4, UNK)]),
    scale=st.sampled_from([0.5, 2.0, 5.0]),
    exact=st.booleans(),
)
def test_beam_equals_a_plain_search(seed, size, nbest, alpha, limits, min_length, forbidden, scale, exact):
    nbest = min(nbest, size)
    toy = Toy(vocabulary=8, length=6, seed=seed, scale=scale)
    numbers = range(len(limits))
    rules = {"min_length": min_length, "forbidden": forbidden}
    found = search(toy, numbers, size, alpha, nbest, max_lengths=ops.array(limits), exact=exact, **rules)

    assert_well_formed(found, limits, **rules)
    for number, limit, row in zip(numbers, limits, lists(found), strict=True):
        assert_same(row, plain_beam_search(toy, number, size, limit, alpha, nbest, exact, **rules))
        assert len({tuple(tokens) for _, tokens in row}) == len(row)
        assert [score for score, _ in row] == sorted((score for score, _ in row), reverse=True)


def test_scores_are_those_of_the_returned_tokens():
    toy = Toy(vocabulary=12, length=8, seed=5, scale=1.0)
    numbers = [3, 1, 4, 1, 5]
    found = search(toy, numbers, 4, 0.8, 4)
    repeated = inputs(*np.repeat(numbers, 4))
    again = score(toy.step, toy.state(repeated), ops.reshape(found.tokens, (-1, 8)), BOS, PAD)
    penalties = length_penalty(ops.reshape(found.lengths, (-1,)), 0.8)
    np.testing.assert_allclose(
        ops.convert_to_numpy(again.scores / penalties), ops.convert_to_numpy(found.scores).reshape(-1), rtol=1e-5
    )


@pytest.mark.parametrize("seed", range(5))
def test_one_beam_without_penalty_is_greedy(seed):
    toy = Toy(vocabulary=9, length=7, seed=seed, scale=1.5)
    numbers = range(10)
    one = search(toy, numbers, 1)
    best = greedy(toy.step, toy.state(inputs(*numbers)), 10, 7, **IDS)
    np.testing.assert_array_equal(one.tokens[:, 0], best.tokens)
    np.testing.assert_allclose(one.scores[:, 0], best.scores, rtol=1e-5)


@pytest.mark.parametrize(("alpha", "nbest"), [(0.0, 1), (0.6, 1), (0.6, 3), (3.0, 2), (-1.0, 2)])
def test_exact_early_finish_changes_nothing(monkeypatch, alpha, nbest):
    toy = Toy(vocabulary=8, length=9, seed=11)
    early = search(toy, range(12), 3, alpha, nbest)
    monkeypatch.setattr(beam, "attainable", lambda beams, *_: ops.full_like(beams.scores[:, 0], math.inf))
    late = search(toy, range(12), 3, alpha, nbest)
    for one, other in zip(early, late, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX traces the step once")
def test_search_ends_long_before_the_limit():
    steps = []

    def step(tokens, state):
        steps.append(tokens)
        ending = ops.cast(state["position"] >= 3, "float32")[:, None]
        favourite = ops.where(ending > 0, ops.one_hot(EOS, 8), ops.one_hot(5, 8)) * 20.0
        return favourite, {"position": state["position"] + 1}

    found = beam_search(step, {"position": ops.zeros((2,), "int32")}, 2, 4, 200, 0.6, **IDS)
    np.testing.assert_array_equal(found.tokens[:, 0, :5], [[5, 5, 5, EOS, PAD]] * 2)
    assert len(steps) < 8


def test_an_input_does_not_depend_on_the_others():
    toy = Toy(vocabulary=10, length=8, seed=2)
    numbers, limits = [5, 9, 2, 7], [8, 2, 5, 7]
    together = search(toy, numbers, 3, 0.6, 2, max_lengths=ops.array(limits))
    for place, (number, limit) in enumerate(zip(numbers, limits, strict=True)):
        alone = search(toy, [number], 3, 0.6, 2, max_lengths=ops.array([limit]))
        np.testing.assert_array_equal(together.tokens[place], alone.tokens[0])
        np.testing.assert_allclose(together.scores[place], alone.scores[0], rtol=1e-6)


def test_result_does_not_depend_on_room_beyond_the_limits():
    toy = Toy(vocabulary=10, length=9, seed=6)
    tight = search(toy, [1, 2], 3, 0.6, 2, max_length=5)
    roomy = search(toy, [1, 2], 3, 0.6, 2, max_length=9, max_lengths=ops.array([5, 5]))
    np.testing.assert_array_equal(tight.tokens, roomy.tokens[:, :, :5])
    np.testing.assert_allclose(tight.scores, roomy.scores, rtol=1e-6)


def markov(first, second):
    """A step function of two distributions over ids 0 to 4: one for the first token and one for all others."""
    table = np.log(np.array([first, second], "float32") + 1e-30)

    def step(tokens, state):
        return ops.take(ops.convert_to_tensor(table), ops.minimum(state, 1), axis=0), state + 1

    return step


@pytest.mark.parametrize(
    ("alpha", "offset", "tokens", "expected"),
    [
        (0.0, 5.0, [EOS, PAD], math.log(0.4)),  # against log 0.3 = -1.204
        (1.0, 5.0, [EOS, PAD], math.log(0.4)),  # lp(1) is (6/6); against -1.204 / (7/6) = -1.032
        (3.0, 5.0, [4, EOS], math.log(0.3) / (7 / 6) ** 3),  # -0.758 against -0.916
        (1.0, 0.0, [4, EOS], math.log(0.3) / 2),  # the mean: -0.602 against -0.916
    ],
)
def test_length_penalty_as_worked_out_by_hand(alpha, offset, tokens, expected):
    step = markov(first=[0, 0, 0, 0.4, 0.6], second=[0, 0, 0, 0.5, 0.5])
    found = beam_search(step, ops.zeros((1,), "int32"), 1, 2, 2, alpha, length_offset=offset, **IDS)
    assert ops.convert_to_numpy(found.tokens)[0, 0].tolist() == tokens
    np.testing.assert_allclose(found.scores, [[expected]], rtol=1e-5)


def test_search_goes_on_while_a_longer_hypothesis_may_still_win():
    # log 0.6 = -0.511 has finished. log 0.4 = -0.916 is worse over lp(2), but better over lp(10) = 2.5.
    table = np.log(np.array([[0, 0, 0, 0.6, 0.4], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]], "float32") + 1e-30)

    def step(tokens, position):
        place = ops.cast(position > 0, "int32") + ops.cast(position > 8, "int32")
        return ops.take(ops.convert_to_tensor(table), place, axis=0), position + 1

    found = beam_search(step, ops.zeros((1,), "int32"), 1, 2, 10, 1.0, **IDS, exact=True)
    assert lists(found)[0][0][1] == [4] * 9 + [EOS]
    np.testing.assert_allclose(found.scores, [[math.log(0.4) / 2.5]], rtol=1e-5)


def test_search_goes_on_while_the_next_length_may_still_win():
    # log 0.45 = -0.799 has finished. log 0.55 = -0.598 is worse over lp(10) = 0.4, but better over lp(2) = 0.857.
    step = markov(first=[0, 0, 0, 0.45, 0.55], second=[0, 0, 0, 1, 0])
    found = beam_search(step, ops.zeros((1,), "int32"), 1, 2, 10, -1.0, **IDS, exact=True)
    assert lists(found)[0][0][1] == [4, EOS]
    np.testing.assert_allclose(found.scores, [[math.log(0.55) * 7 / 6]], rtol=1e-5)


def test_length_penalty_is_equation_14_of_gnmt():
    np.testing.assert_allclose(length_penalty(np.array([1, 7, 25]), 0.5), [1.0, math.sqrt(2), math.sqrt(5)], rtol=1e-6)
    np.testing.assert_allclose(length_penalty(ops.array([3, 30]), 0.0), [1.0, 1.0])
    np.testing.assert_allclose(length_penalty(ops.array([1, 4, 9]), 0.5, offset=0.0), [1.0, 2.0, 3.0], rtol=1e-6)
    assert penalty(7, 0.5) == math.sqrt(2)


def test_padding_start_and_forbidden_tokens_never_come_out_and_keep_their_probability():
    loved = [0.3, 0.2, 0.3, 0.05, 0.15]  # padding, unknown, start, end, the only real token
    step = markov(loved, loved)
    found = beam_search(step, ops.zeros((2,), "int32"), 2, 2, 3, 0.0, 2, **IDS, forbidden=[UNK])
    assert lists(found)[0][0][1] == [EOS]
    assert lists(found)[1][1][1] == [4, EOS]
    np.testing.assert_allclose(found.scores, [[math.log(0.05), math.log(0.15 * 0.05)]] * 2, rtol=1e-5)
    allowed = beam_search(step, ops.zeros((1,), "int32"), 1, 2, 3, 0.0, 1, **IDS, min_length=2)
    assert lists(allowed)[0][0][1] == [UNK, UNK, EOS]


def test_the_token_at_the_limit_is_the_end_with_its_own_probability():
    step = markov(first=[0, 0, 0, 0.1, 0.9], second=[0, 0, 0, 0.2, 0.8])
    found = beam_search(step, ops.zeros((1,), "int32"), 1, 1, 3, 0.0, **IDS)
    assert lists(found)[0][0][1] == [4, 4, EOS]
    np.testing.assert_allclose(found.scores, [[math.log(0.9 * 0.8 * 0.2)]], rtol=1e-5)


def test_fewer_hypotheses_than_asked_for_leave_empty_places():
    step = markov(first=[0, 0, 0, 0.5, 0.5], second=[0, 0, 0, 0.5, 0.5])
    found = beam_search(step, ops.zeros((1,), "int32"), 1, 4, 2, 0.0, 4, **IDS, forbidden=[UNK])
    np.testing.assert_array_equal(found.lengths, [[1, 2, 0, 0]])
    np.testing.assert_array_equal(found.tokens[0, 2:], np.full((2, 2), PAD))
    assert np.isneginf(ops.convert_to_numpy(found.scores)[0, 2:]).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_logits_are_added_up_in_float32(dtype):
    toy = Toy(vocabulary=7, length=4, seed=8, dtype=dtype)
    found = search(toy, [0, 1], 85, 0.6, 4)
    assert keras.backend.standardize_dtype(found.scores.dtype) == "float32"
    for number, row in enumerate(lists(found)):
        assert_same(row, every_hypothesis(toy, number, 4, 0.6)[:4])


def test_beams_agree_with_the_beam_sampler_of_keras_hub():
    samplers = pytest.importorskip("keras_hub.samplers")
    toy = Toy(vocabulary=12, length=7, seed=9)
    toy.table[:, [PAD, UNK, BOS]] = -60.0  # keras-hub forbids nothing
    toy.table[:, EOS] = np.log(np.exp(toy.table[:, 4:]).sum(axis=1)) - 20.0  # the end is equally unlikely everywhere

    def following(prompt, cache, index):
        logits, cache = toy.step(prompt[:, index - 1], cache)
        return logits, None, cache

    prompt = ops.convert_to_tensor([[BOS, *[PAD] * 6]] * 3, dtype="int32")
    theirs, log_probs = samplers.BeamSampler(num_beams=4, return_all_beams=True)(
        following, prompt, cache=toy.state(inputs(0, 1, 2)), index=1
    )
    ours = search(toy, [0, 1, 2], 4, 0.0, 4, min_length=7)
    np.testing.assert_array_equal(ours.tokens[:, :, :6], theirs[:, :, 1:])
    np.testing.assert_allclose(ours.scores + 20.0, log_probs, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "nbest"),
        ({"size": 2, "nbest": 3}, "nbest"),
        ({"size": 2, "max_length": 0}, "max_length"),
        ({"size": 2, "min_length": 5}, "min_length"),
        ({"size": 2, "forbidden": [EOS]}, "end token"),
        ({"size": 2, "forbidden": [UNK, 4, 5, 6]}, "vocabulary"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        search(Toy(vocabulary=7, length=4), [0], **options)
