"""What is owed comes out exactly once, with every search."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from models.search import BeamSearch, beam_search, greedy, live_inputs, sample, select_inputs
from tests.models.search_toys import (
    BOS,
    EOS,
    IDS,
    PAD,
    Toy,
    assert_same,
    compiled,
    inputs,
    lists,
    penalty,
)

COPIED = (4, 5, 6)
EXAMPLES = 40 if keras.backend.backend() != "jax" else 5


def allowed(toy, number, tokens, limit, owed):
    """The tokens that may follow."""
    count, left = len(tokens) + 1, [token for token in owed if token not in tokens]
    if count == limit:
        return [EOS]
    logits = toy.logits(number, tokens)
    if left and (logits[EOS] >= logits.max() or count + len(left) >= limit):
        return left
    words = [token for token in range(toy.vocabulary) if token not in (PAD, BOS, EOS, *COPIED)]
    return [*words, *(left or [EOS])]


def plain_beam(toy, number, size, limit, alpha, owed):
    """Beam search on lists that never finishes early: (score, tokens), best first."""
    live, finished = [(0.0, [])], []
    for count in range(1, limit + 1):
        grown = [
            (score + toy.log_probs(number, tokens)[token], [*tokens, token])
            for score, tokens in live
            for token in allowed(toy, number, tokens, limit, owed)
        ]
        grown.sort(reverse=True)
        finished += [(score / penalty(count, alpha), tokens) for score, tokens in grown[:size] if tokens[-1] == EOS]
        live = [(score, tokens) for score, tokens in grown if tokens[-1] != EOS][:size]
    return sorted(finished, reverse=True)[:size]


def table(owed):
    """(B, P) bool of lists of owed tokens."""
    return ops.convert_to_tensor(np.array([[token in own for token in COPIED] for own in owed]))


DEBTS = st.lists(st.sets(st.sampled_from(COPIED)), min_size=1, max_size=3)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    size=st.sampled_from([1, 2, 4]),
    alpha=st.sampled_from([0.0, 1.0]),
    owed=DEBTS,
    room=st.integers(1, 4),
    scale=st.sampled_from([0.5, 3.0]),
)
def test_a_beam_equals_a_plain_search(seed, size, alpha, owed, room, scale):
    toy = Toy(vocabulary=10, length=7, seed=seed, scale=scale)
    limits = [len(own) + room for own in owed]
    options = {"max_lengths": ops.array(limits), "exact": True, "copied": COPIED, "owed": table(owed)}
    state = toy.state(inputs(*range(len(owed))))
    found = beam_search(toy.step, state, len(owed), size, 7, alpha, size, **IDS, **options)
    for number, limit, own, row in zip(range(len(owed)), limits, owed, lists(found), strict=True):
        assert_same(row, plain_beam(toy, number, size, limit, alpha, sorted(own)))
        for _, tokens in row:
            assert sorted(token for token in tokens if token in COPIED) == sorted(own)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), owed=DEBTS)
def test_greedy_search_takes_the_likeliest_that_is_allowed(seed, owed):
    toy = Toy(vocabulary=10, length=7, seed=seed)
    found = greedy(toy.step, toy.state(inputs(*range(len(owed)))), len(owed), 7, **IDS, copied=COPIED, owed=table(owed))
    for number, own in enumerate(owed):
        tokens = []
        while EOS not in tokens:
            tokens.append(max(allowed(toy, number, tokens, 7, sorted(own)), key=toy.log_probs(number, tokens).item))
        assert ops.convert_to_numpy(found.tokens)[number, : len(tokens)].tolist() == tokens


def test_every_draw_has_what_is_owed_once():
    owed = [{4}, {4, 5, 6}, set()]
    toy = Toy(vocabulary=12, length=9, seed=2, scale=1.0)
    found = sample(
        toy.step, toy.state(inputs(0, 1, 2)), 3, 9, seed=5, samples=40, **IDS, copied=COPIED, owed=table(owed)
    )
    for own, rows in zip(owed, ops.convert_to_numpy(found.tokens), strict=True):
        assert len(np.unique(rows, axis=0)) > 10
        for row in rows.tolist():
            assert sorted(token for token in row if token in COPIED) == sorted(own)


def test_a_copied_token_that_is_not_owed_never_comes():
    toy = Toy(vocabulary=8, length=6, seed=1)
    toy.table[:, 4:7] += 20.0
    found = beam_search(toy.step, toy.state(inputs(0, 1)), 2, 3, 6, 0.6, 3, **IDS, copied=COPIED)
    assert not np.isin(ops.convert_to_numpy(found.tokens), COPIED).any()


def test_the_large_vocabulary_that_is_ranked_in_groups_keeps_the_rule():
    owed = [{5}, {4, 6}]
    toy = Toy(vocabulary=2048, length=6, seed=3, scale=1.0)
    found = beam_search(toy.step, toy.state(inputs(0, 1)), 2, 4, 6, 0.0, 4, **IDS, copied=COPIED, owed=table(owed))
    for number, own, row in zip((0, 1), owed, lists(found), strict=True):
        assert row
        for score, tokens in row:
            assert sorted(token for token in tokens if token in COPIED) == sorted(own)
            assert score == pytest.approx(toy.log_prob(number, tokens), abs=1e-4)


def test_in_parts_and_compiled_it_finds_the_same():
    owed = [{4, 5}, set(), {6}]
    toy = Toy(vocabulary=10, length=8, seed=9, scale=1.0)
    search = BeamSearch(toy.step, 3, 0.6, 2, **IDS, copied=COPIED)
    whole = beam_search(toy.step, toy.state(inputs(0, 1, 2)), 3, 3, 8, 0.6, 2, **IDS, copied=COPIED, owed=table(owed))
    beams = search.start(toy.state(inputs(0, 1, 2)), 3, 8, owed=table(owed))
    while not ops.convert_to_numpy(live_inputs(beams)).sum() < 3:
        beams = search.advance(beams, 1)
    kept = select_inputs(beams, inputs(*np.flatnonzero(ops.convert_to_numpy(live_inputs(beams)))))
    rest = lists(search.hypotheses(search.advance(kept)))
    expected = [row for row, live in zip(lists(whole), ops.convert_to_numpy(live_inputs(beams)), strict=True) if live]
    for row, other in zip(rest, expected, strict=True):
        assert_same(row, other)

    def run(numbers, debts):
        debts = ops.cast(debts, "bool")
        return beam_search(
            toy.step, toy.state(numbers), ops.shape(numbers)[0], 3, 8, 0.6, 2, **IDS, copied=COPIED, owed=debts
        )

    again = compiled(run, (None,), (None, 3))(inputs(0, 1, 2), ops.cast(table(owed), "int32"))
    np.testing.assert_array_equal(again.tokens, whole.tokens)


def test_ids_with_a_gap_are_refused():
    with pytest.raises(ValueError, match="consecutive"):
        BeamSearch(lambda tokens, state: None, 1, 0.0, 1, **IDS, copied=(4, 6))
