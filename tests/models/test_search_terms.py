"""Terms come out of every search, as a plain search on lists that knows the rule by its definition finds them."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from models.search import (
    BeamSearch,
    Terms,
    Words,
    beam_search,
    greedy,
    live_inputs,
    pack_terms,
    sample,
    score,
    select_inputs,
)
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

# 4, 5 and 6 begin words, 7 to 9 go on with one; after 6, as after a bracket, a word begins with any token.
WORDS = Words(np.isin(np.arange(10), (EOS, 4, 5, 6)), np.isin(np.arange(10), (BOS, 6)))
COPIED = (10, 11)
EXAMPLES = 40 if keras.backend.backend() != "jax" else 5


def begins(before, token):
    """Whether a word begins with this token, after these."""
    return WORDS.opens[[BOS, *before][-1]] or (token < 10 and WORDS.begins[token]) or token >= 10


def is_met(tokens, forms):
    """Whether a form stands between two places where words begin."""
    for start in range(len(tokens)):
        for form in map(list, forms):
            end = start + len(form)
            inside = tokens[start:end] == form and end < len(tokens)
            if inside and begins(tokens[:start], tokens[start]) and begins(tokens[:end], tokens[end]):
                return True
    return False


def matches(tokens, forms):
    """The beginnings of forms, as tuples, with which the tokens end."""
    found = {tuple(form[:size]) for form in forms for size in range(1, len(form) + 1)}
    return [one for one in found if tuple(tokens[-len(one) :]) == one and begins(tokens[: -len(one)], one[0])]


def least(forms):
    """The tokens of the shortest form that begins a word."""
    return min(len(form) for form in forms if WORDS.begins[form[0]])


def left_after(one, forms):
    """The fewest tokens that complete a form."""
    return min(len(form) - len(one) for form in forms if tuple(form[: len(one)]) == one)


def bonus(tokens, terms, nats):
    """By its definition: all of a term that is met, and of others the part that is matched."""
    total = 0.0
    for forms in terms:
        worth = nats * least(forms)
        if is_met(tokens, forms):
            total += worth
        else:
            total += sum(
                worth * (len(one) / (len(one) + left_after(one, forms))) ** 0.5 for one in matches(tokens, forms)
            )
    return total


def needed(tokens, terms):
    """The fewest tokens before the end."""
    unmet = [forms for forms in terms if not is_met([*tokens, EOS], forms)]
    spared = [least(forms) - _distance(tokens, forms) for forms in unmet]
    return sum(map(least, unmet)) - max(spared, default=0)


def allowed(toy, number, tokens, limit, terms, owed=()):
    """The tokens that may follow."""
    count = len(tokens) + 1
    if count == limit:
        return [EOS]
    missing = [token for token in owed if token not in tokens]
    owing, logits = needed(tokens, terms) + len(missing), toy.logits(number, tokens)
    words = [token for token in range(toy.vocabulary) if token not in (PAD, BOS, EOS, *COPIED)]
    if not owing:
        return [*words, EOS]
    if logits[EOS] < logits.max() and count + owing < limit:
        return [*words, *missing]
    nearer = {True: set(), False: set()}
    for forms in terms:
        for token in words:
            grown = [*tokens, token]
            for one in [] if is_met(grown, forms) else matches(grown, forms):
                if left_after(one, forms) < _distance(tokens, forms, 1000):
                    nearer[len(one) > 1].add(token)
    return [*(nearer[True] or nearer[False]), *missing]


def _distance(tokens, forms, most=None):
    """The fewest tokens that complete a form: one that has begun, or any."""
    return min([most or least(forms), *(left_after(one, forms) for one in matches(tokens, forms))])


def plain_beam(toy, number, size, limit, alpha, terms, nats, owed=()):
    """Beam search on lists that never finishes early: (score, tokens), best first."""
    live, finished = [(0.0, [])], []
    for count in range(1, limit + 1):
        grown = [
            (score + toy.log_probs(number, tokens)[token], [*tokens, token])
            for score, tokens in live
            for token in allowed(toy, number, tokens, limit, terms, owed)
        ]
        grown.sort(key=lambda one: one[0] + _rank_bonus(one[1], terms, nats), reverse=True)
        finished += [(score / penalty(count, alpha), tokens) for score, tokens in grown[:size] if tokens[-1] == EOS]
        live = [(score, tokens) for score, tokens in grown if tokens[-1] != EOS][:size]
    return sorted(finished, reverse=True)[:size]


def _rank_bonus(tokens, terms, nats):
    """A hypothesis that ends has all terms, or has come to its limit, where there is no choice."""
    return sum(nats * least(forms) for forms in terms) if tokens[-1] == EOS else bonus(tokens, terms, nats)


def sequences(toy, number, limit, terms):
    """All (score, tokens) that the rule allows."""
    found, grown = [], [[]]
    while grown:
        tokens = grown.pop()
        if EOS in tokens:
            found.append((toy.log_prob(number, tokens), tokens))
        else:
            grown += [[*tokens, token] for token in allowed(toy, number, tokens, limit, terms)]
    return sorted(found, reverse=True)


FIRST, REST = st.sampled_from([4, 5, 6]), st.lists(st.integers(4, 9), max_size=2)
FORMS = st.lists(st.tuples(FIRST, REST).map(lambda form: [form[0], *form[1]]), min_size=1, max_size=3)
# A form may also begin without the sign of a new word, if another one of its term has it.
TERM = st.tuples(FORMS, st.lists(st.lists(st.integers(4, 9), min_size=1, max_size=2), max_size=1)).map(
    lambda pair: pair[0] + pair[1]
)
ROWS = st.lists(st.lists(TERM, max_size=2), min_size=1, max_size=3)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    size=st.sampled_from([1, 2, 4]),
    alpha=st.sampled_from([0.0, 1.0]),
    rows=ROWS,
    room=st.integers(1, 4),
    nats=st.sampled_from([0.1, 1.7, 8.3]),
    scale=st.sampled_from([0.5, 3.0]),
)
def test_a_beam_equals_a_plain_search(seed, size, alpha, rows, room, nats, scale):
    toy = Toy(vocabulary=10, length=9, seed=seed, scale=scale)
    limits = [needed([], terms) + room for terms in rows]
    options = {"max_lengths": ops.array(limits), "exact": True, "terms": pack_terms(rows, nats, WORDS), "words": WORDS}
    found = beam_search(
        toy.step, toy.state(inputs(*range(len(rows)))), len(rows), size, 9, alpha, size, **IDS, **options
    )
    for number, limit, terms, row in zip(range(len(rows)), limits, rows, lists(found), strict=True):
        limit = min(limit, 9)
        assert_same(row, plain_beam(toy, number, size, limit, alpha, terms, nats))


@settings(max_examples=EXAMPLES // 2, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), rows=ROWS, nats=st.sampled_from([0.1, 4.3]))
def test_greedy_search_takes_the_likeliest_with_its_bonus(seed, rows, nats):
    toy = Toy(vocabulary=10, length=9, seed=seed)
    found = greedy(
        toy.step,
        toy.state(inputs(*range(len(rows)))),
        len(rows),
        9,
        **IDS,
        terms=pack_terms(rows, nats, WORDS),
        words=WORDS,
    )
    for number, terms in enumerate(rows):
        ((expected, tokens),) = plain_beam(toy, number, 1, 9, 0.0, terms, nats)
        assert ops.convert_to_numpy(found.tokens)[number, : len(tokens)].tolist() == tokens
        assert float(found.scores[number]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_that_holds_everything_finds_the_best_sequence_with_the_terms(seed):
    terms = [[[4, 7], [5]]]
    toy = Toy(vocabulary=8, length=4, seed=seed, scale=1.0)
    words = Words(WORDS.begins[:8], WORDS.opens[:8])
    found = beam_search(
        toy.step,
        toy.state(inputs(0)),
        1,
        256,
        4,
        0.0,
        3,
        **IDS,
        exact=True,
        terms=pack_terms([terms], 1.0, WORDS),
        words=words,
    )
    expected = sequences(toy, 0, 4, terms)
    assert_same(lists(found)[0], expected[:3])
    # A word may still go on with the last token before the limit.
    assert all(is_met(tokens, terms[0]) for _, tokens in expected if len(tokens) < 4)


def test_a_word_that_goes_on_does_not_meet_its_beginning():
    toy = Toy(vocabulary=10, length=9, seed=0, scale=0.5)
    # 7 is what the model always wants most, and so every 4 would become the longer word 4 7.
    toy.table[:, 7] += 8.0
    free = lists(beam_search(toy.step, toy.state(inputs(0)), 1, 4, 9, 0.0, 4, **IDS))
    assert any(7 in tokens for _, tokens in free[0])
    terms = pack_terms([[[[4]]]], 12.0, WORDS)
    found = lists(beam_search(toy.step, toy.state(inputs(0)), 1, 4, 9, 0.0, 4, **IDS, terms=terms, words=WORDS))
    assert found[0]
    for _, tokens in found[0]:
        place = next(n for n, token in enumerate(tokens) if token == 4 and tokens[n + 1] not in (7, 8, 9))
        assert begins(tokens[: place + 1], tokens[place + 1])


@pytest.mark.parametrize("nats", [0.01, 3.0])
def test_all_terms_are_met_and_scores_are_those_of_the_model(nats):
    rows = [[[[4, 7], [4, 8]], [[5]]], [], [[[6, 9, 9]]]]
    toy = Toy(vocabulary=10, length=20, seed=4, scale=2.0)
    found = beam_search(
        toy.step, toy.state(inputs(0, 1, 2)), 3, 4, 20, 0.6, 4, **IDS, terms=pack_terms(rows, nats, WORDS), words=WORDS
    )
    for number, (terms, row) in enumerate(zip(rows, lists(found), strict=True)):
        assert row
        for value, tokens in row:
            assert value == pytest.approx(toy.log_prob(number, tokens) / penalty(len(tokens), 0.6), abs=1e-4)
            for forms in terms:
                assert is_met(tokens, forms)


def test_an_input_without_terms_is_found_as_if_no_other_had_any():
    toy = Toy(vocabulary=10, length=9, seed=6, scale=1.0)
    terms = pack_terms([[], [[[4, 7]]]], 3.0, WORDS)
    found = lists(beam_search(toy.step, toy.state(inputs(0, 1)), 2, 3, 9, 0.6, 3, **IDS, terms=terms, words=WORDS))
    alone = lists(beam_search(toy.step, toy.state(inputs(0)), 1, 3, 9, 0.6, 3, **IDS))
    assert_same(found[0], alone[0])


def test_draws_have_their_terms_and_the_scores_of_the_model():
    rows = [[[[4, 7]]], []]
    toy = Toy(vocabulary=10, length=16, seed=2, scale=1.0)
    found = sample(
        toy.step,
        toy.state(inputs(0, 1)),
        2,
        16,
        seed=5,
        samples=40,
        **IDS,
        terms=pack_terms(rows, 2.0, WORDS),
        words=WORDS,
    )
    first, second = lists(found)
    assert len({tuple(tokens) for _, tokens in first}) > 10
    for value, tokens in first:
        assert is_met(tokens, rows[0][0])
        assert value == pytest.approx(toy.log_prob(0, tokens), abs=1e-4)
    plain = lists(sample(toy.step, toy.state(inputs(0, 1)), 2, 16, seed=5, samples=40, **IDS))
    assert_same(second, plain[1])


@settings(max_examples=EXAMPLES // 2, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), owed=st.sets(st.sampled_from(COPIED)), rows=st.lists(TERM, max_size=2))
def test_copied_tokens_and_terms_go_together(seed, owed, rows):
    toy = Toy(vocabulary=12, length=9, seed=seed, scale=1.0)
    pieces = np.isin(np.arange(12), COPIED)
    words = Words(np.append(WORDS.begins, [True, True]) | pieces, np.append(WORDS.opens, [False, False]))
    debt = ops.convert_to_tensor(np.array([[token in owed for token in COPIED]]))
    options = {"terms": pack_terms([rows], 1.3, WORDS), "words": words, "copied": COPIED, "owed": debt, "exact": True}
    found = beam_search(toy.step, toy.state(inputs(3)), 1, 3, 9, 0.0, 3, **IDS, **options)
    assert_same(lists(found)[0], plain_with(words, toy, 3, 3, 9, 0.0, rows, 1.3, sorted(owed)))


def plain_with(words, *arguments):
    """`plain_beam` with other words."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "WORDS", words)
        return plain_beam(*arguments)


def test_the_large_vocabulary_that_is_ranked_in_groups_keeps_the_rule():
    toy = Toy(vocabulary=2048, length=7, seed=3, scale=1.0)
    words = Words(np.arange(2048) % 2 == 0, np.arange(2048) == BOS)
    words.begins[EOS] = True
    rows = [[[[1000, 1001]]], [[[64], [66]]]]
    found = beam_search(
        toy.step, toy.state(inputs(0, 1)), 2, 4, 7, 0.0, 4, **IDS, terms=pack_terms(rows, 2.0, words), words=words
    )
    for number, (terms, row) in enumerate(zip(rows, lists(found), strict=True)):
        assert row
        for value, tokens in row:
            assert any(f" {' '.join(map(str, form))} " in f" {' '.join(map(str, tokens))} " for form in terms[0])
            assert value == pytest.approx(toy.log_prob(number, tokens), abs=1e-4)


def test_in_parts_and_compiled_it_finds_the_same():
    rows = [[[[4, 7]], [[5]]], [], [[[6, 9]]]]
    terms = pack_terms(rows, 1.5, WORDS)
    toy = Toy(vocabulary=10, length=10, seed=9, scale=1.0)
    search = BeamSearch(toy.step, 3, 0.6, 2, **IDS, words=WORDS)
    state = toy.state(inputs(0, 1, 2))
    whole = beam_search(toy.step, state, 3, 3, 10, 0.6, 2, **IDS, terms=terms, words=WORDS)
    beams = search.start(state, 3, 10, terms=terms)
    while not ops.convert_to_numpy(live_inputs(beams)).sum() < 3:
        beams = search.advance(beams, 1)
    kept = select_inputs(beams, inputs(*np.flatnonzero(ops.convert_to_numpy(live_inputs(beams)))))
    rest = lists(search.hypotheses(search.advance(kept)))
    expected = [row for row, live in zip(lists(whole), ops.convert_to_numpy(live_inputs(beams)), strict=True) if live]
    assert expected
    for row, other in zip(rest, expected, strict=True):
        assert_same(row, other)

    def run(numbers, tokens, parents, left, least):
        found = Terms(tokens, parents, left, terms.values, terms.owners, least, terms.worth)
        return beam_search(
            toy.step, toy.state(numbers), ops.shape(numbers)[0], 3, 10, 0.6, 2, **IDS, terms=found, words=WORDS
        )

    arguments = (ops.convert_to_tensor(part) for part in (terms.tokens, terms.parents, terms.left, terms.least))
    again = compiled(run, (None,), *[(None, None)] * 4)(inputs(0, 1, 2), *arguments)
    np.testing.assert_array_equal(again.tokens, whole.tokens)


def test_the_forced_score_of_what_was_found_is_its_score():
    toy = Toy(vocabulary=10, length=9, seed=8)
    found = greedy(toy.step, toy.state(inputs(1)), 1, 9, **IDS, terms=pack_terms([[[[5, 8]]]], 2.0, WORDS), words=WORDS)
    forced = score(toy.step, toy.state(inputs(1)), found.tokens, BOS, PAD)
    np.testing.assert_allclose(forced.scores, found.scores, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "nats", "message"),
    [([[[[4]]]], 0.0, "above zero"), ([[[[4], []]]], 1.0, "at least one"), ([[[[7]]]], 1.0, "begins a word")],
)
def test_bonuses_and_forms_that_could_not_work_are_refused(rows, nats, message):
    with pytest.raises(ValueError, match=message):
        pack_terms(rows, nats, WORDS)
