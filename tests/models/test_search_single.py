"""Greedy search and forced scoring."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from models.search import greedy, score, score_logits
from tests.models.search_toys import (
    BOS,
    EOS,
    IDS,
    PAD,
    UNK,
    Toy,
    assert_same,
    assert_well_formed,
    inputs,
    lists,
    plain_greedy,
)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    limits=st.lists(st.integers(1, 7), min_size=4, max_size=4),
    min_length=st.integers(0, 5),
    forbidden=st.sampled_from([(), (UNK,), (4, UNK)]),
)
def test_greedy_equals_a_plain_search(seed, limits, min_length, forbidden):
    toy = Toy(vocabulary=8, length=7, seed=seed)
    rules = {"min_length": min_length, "forbidden": forbidden}
    found = greedy(toy.step, toy.state(inputs(0, 1, 2, 3)), 4, 7, **IDS, max_lengths=ops.array(limits), **rules)
    found = [part[:, None] for part in found]
    assert_well_formed(found, limits, **rules)
    for number, limit, row in zip(range(4), limits, lists(found), strict=True):
        assert_same(row, [plain_greedy(toy, number, limit, **rules)])


def test_greedy_agrees_with_the_greedy_sampler_of_keras_hub():
    samplers = pytest.importorskip("keras_hub.samplers")
    toy = Toy(vocabulary=12, length=9, seed=1)
    toy.table[:, [PAD, BOS]] = -60.0  # keras-hub forbids nothing

    def following(prompt, cache, index):
        logits, cache = toy.step(prompt[:, index - 1], cache)
        return logits, None, cache

    numbers = inputs(*range(6))
    prompt = ops.convert_to_tensor([[BOS, *[PAD] * 8]] * 6, dtype="int32")
    theirs = ops.convert_to_numpy(
        samplers.GreedySampler()(following, prompt, cache=toy.state(numbers), index=1, stop_token_ids=[EOS])
    )[:, 1:]
    ours = ops.convert_to_numpy(greedy(toy.step, toy.state(numbers), 6, 9, **IDS).tokens)[:, :8]
    ended = np.cumsum(theirs == EOS, axis=1) - (theirs == EOS) > 0  # keras-hub goes on until all have ended
    np.testing.assert_array_equal(ours, np.where(ended, PAD, theirs))
    assert ended.any() and not ended.all()


def test_greedy_stops_calling_the_model_when_every_row_has_ended():
    def step(tokens, position):
        # Past the third step there is nothing but NaN, which would be noticed.
        logits = ops.where((position >= 2)[:, None], ops.one_hot(EOS, 6), ops.one_hot(4, 6)) * 9.0
        return ops.where((position > 2)[:, None], float("nan"), logits), position + 1

    found = greedy(step, ops.zeros((3,), "int32"), 3, 50, **IDS)
    np.testing.assert_array_equal(found.lengths, [3, 3, 3])


def references(toy, seed, rows, length):
    """Random complete sequences of several lengths, one of them empty: tokens (rows, length)."""
    random = np.random.default_rng(seed)
    tokens = random.integers(4, toy.vocabulary, size=(rows, length))
    for row, end in enumerate(random.permutation(np.arange(rows) % length)):
        tokens[row, end:] = PAD
        tokens[row, end] = EOS
    tokens[0] = PAD
    return tokens.astype("int32")


def forced_logits(toy, tokens):
    """Logits (B, T, V) of all positions at once, without a state. Past the end they are NaN, which may not matter."""
    logits = np.full((*tokens.shape, toy.vocabulary), np.nan, "float32")
    for number, row in enumerate(tokens.tolist()):
        for place in range(row.index(EOS) + 1 if EOS in row else 0):
            logits[number, place] = toy.logits(number, row[:place])
    return logits


def test_score_by_steps_and_at_once_is_the_log_probability_of_the_reference():
    toy = Toy(vocabulary=9, length=6, seed=4)
    tokens = references(toy, 0, 8, 6)
    found = score(toy.step, toy.state(inputs(*range(8))), tokens, BOS, PAD)
    at_once = score_logits(forced_logits(toy, tokens), tokens, PAD)
    for result in (found, at_once):
        for number, row in enumerate(tokens.tolist()):
            real = row[: row.index(EOS) + 1] if EOS in row else []
            each = [toy.log_probs(number, real[:place])[token] for place, token in enumerate(real)]
            np.testing.assert_allclose(result.log_probs[number], each + [0.0] * (6 - len(each)), atol=1e-5)
            np.testing.assert_allclose(result.scores[number], sum(each), atol=1e-5)
            assert int(result.lengths[number]) == len(real)


def test_tokens_that_a_search_would_refuse_are_scored_nevertheless():
    toy = Toy(vocabulary=7, length=3, seed=4)
    tokens = [UNK, BOS, 4]  # an unknown token, and no end
    found = score(toy.step, toy.state(inputs(0)), ops.array([tokens]), BOS, PAD)
    np.testing.assert_allclose(found.scores, [toy.log_prob(0, tokens)], atol=1e-5)


def test_a_reference_ends_at_its_first_padding():
    toy = Toy(vocabulary=7, length=3, seed=4)
    found = score(toy.step, toy.state(inputs(0)), ops.array([[4, PAD, 5]]), BOS, PAD)
    np.testing.assert_allclose(found.scores, [toy.log_prob(0, [4])], atol=1e-5)
    at_once = score_logits(np.zeros((1, 3, 8), "float32"), np.array([[4, PAD, 5]]), PAD)
    np.testing.assert_allclose(at_once.log_probs, [[-np.log(8), 0, 0]], atol=1e-5)


def test_half_precision_logits_are_scored_in_float32():
    toy = Toy(vocabulary=9, length=6, seed=4, dtype="bfloat16")
    tokens = references(toy, 1, 4, 6)
    found = score_logits(ops.cast(forced_logits(toy, tokens), "bfloat16"), tokens, PAD)
    by_steps = score(toy.step, toy.state(inputs(*range(4))), tokens, BOS, PAD)
    np.testing.assert_allclose(found.log_probs, by_steps.log_probs, atol=1e-6)


def test_greedy_scores_are_those_of_its_tokens():
    toy = Toy(vocabulary=9, length=6, seed=12)
    found = greedy(toy.step, toy.state(inputs(*range(5))), 5, 6, **IDS)
    again = score(toy.step, toy.state(inputs(*range(5))), found.tokens, BOS, PAD)
    np.testing.assert_allclose(found.scores, again.scores, rtol=1e-5)
    np.testing.assert_array_equal(found.lengths, again.lengths)
