import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from models.search import greedy, sample, score
from tests.models.search_toys import BOS, EOS, IDS, PAD, UNK, Toy, assert_well_formed, inputs

EXAMPLES = 20 if keras.backend.backend() != "jax" else 4


def draw(toy, numbers, seed, **options):
    return sample(toy.step, toy.state(inputs(*numbers)), len(numbers), toy.length, seed, **IDS, **options)


def assert_drawn_from(counts, probabilities):
    """Pearson's chi-square, at six standard deviations above its mean: a right sampler fails once in 10^6 seeds."""
    expected = probabilities / probabilities.sum() * counts.sum()
    assert (counts[expected == 0] == 0).all()
    counts, expected = counts[expected > 0], expected[expected > 0]
    freedom = len(counts) - 1
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 6 * np.sqrt(2 * freedom) + 6


def allowed_probabilities(toy, number, tokens, temperature=1.0, top_k=None, top_p=None, min_p=0.0):
    """The distribution (V,) to draw from after `tokens`, worked out in plain numpy."""
    logits = toy.logits(number, tokens).astype("float64")
    logits[[PAD, BOS]] = -np.inf
    probabilities = np.exp(logits / temperature)
    order = np.argsort(-probabilities)
    probabilities[order[top_k:] if top_k else []] = 0.0
    probabilities /= probabilities.sum()
    if top_p:
        enough = int(np.argmax(np.cumsum(probabilities[order]) >= top_p - 1e-9)) + 1
        probabilities[order[enough:]] = 0.0
    probabilities[probabilities < min_p * probabilities.max()] = 0.0
    return probabilities / probabilities.sum()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0, "top_k": 4},
        {"top_p": 0.8},
        {"top_k": 5, "top_p": 0.7},
        {"min_p": 0.3},
    ],
    ids=str,
)
def test_first_and_second_tokens_follow_the_distribution(options):
    toy = Toy(vocabulary=9, length=3, seed=2, scale=1.0)
    found = draw(toy, [5], seed=1, samples=20_000, **options)
    tokens = ops.convert_to_numpy(found.tokens)[0]
    assert_drawn_from(np.bincount(tokens[:, 0], minlength=9), allowed_probabilities(toy, 5, [], **options))
    favourite = np.bincount(tokens[tokens[:, 0] != EOS, 0]).argmax()
    after = tokens[tokens[:, 0] == favourite, 1]
    assert_drawn_from(np.bincount(after, minlength=9), allowed_probabilities(toy, 5, [favourite], **options))


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    temperature=st.sampled_from([0.3, 1.0, 5.0]),
    top_k=st.sampled_from([None, 1, 3, 100]),
    top_p=st.sampled_from([None, 1e-6, 0.3, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_nothing_that_is_cut_off_is_ever_drawn(seed, temperature, top_k, top_p, min_p):
    toy = Toy(vocabulary=9, length=4, seed=seed, scale=1.0)
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    found = draw(toy, [0, 1], seed, samples=50, **options)
    assert_well_formed(found, [4, 4])
    for number, rows in enumerate(ops.convert_to_numpy(found.tokens).tolist()):
        for row in rows:
            for place, token in enumerate(row[: min(row.index(EOS) + 1, 3)]):
                assert allowed_probabilities(toy, number, row[:place], **options)[token] > 0


def test_rules_hold_for_samples():
    toy = Toy(vocabulary=8, length=6, seed=3, scale=1.0)
    rules = {"min_length": 3, "forbidden": (UNK, 5)}
    found = draw(toy, [0, 1, 2], 0, samples=60, max_lengths=ops.array([2, 4, 9]), **rules)
    assert_well_formed(found, [2, 4, 6], **rules)
    assert len(np.unique(ops.convert_to_numpy(found.lengths)[2])) > 1


def test_scores_are_the_model_s_own_whatever_was_drawn_from():
    toy = Toy(vocabulary=8, length=6, seed=3)
    found = draw(toy, [4, 7], 0, samples=5, temperature=3.0, top_k=4)
    numbers = inputs(*np.repeat([4, 7], 5))
    again = score(toy.step, toy.state(numbers), ops.reshape(found.tokens, (10, 6)), BOS, PAD)
    np.testing.assert_allclose(ops.convert_to_numpy(found.scores).reshape(-1), again.scores, rtol=1e-5)


@pytest.mark.parametrize("options", [{"temperature": 1e-5}, {"top_k": 1}, {"top_p": 1e-9}, {"min_p": 0.999}], ids=str)
def test_the_coldest_sample_is_greedy(options):
    toy = Toy(vocabulary=12, length=7, seed=5)
    found = draw(toy, range(8), 3, samples=2, **options)
    best = greedy(toy.step, toy.state(inputs(*range(8))), 8, 7, **IDS)
    for place in range(2):
        np.testing.assert_array_equal(found.tokens[:, place], best.tokens)
        np.testing.assert_allclose(found.scores[:, place], best.scores, rtol=1e-5)


def test_a_seed_gives_the_same_samples_again_and_another_seed_others():
    toy = Toy(vocabulary=12, length=7, seed=5, scale=1.0)
    first, again, other = (ops.convert_to_numpy(draw(toy, [1, 2], seed, samples=4).tokens) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len({tuple(row) for row in first.reshape(8, 7).tolist()}) > 4


def test_a_seed_generator_moves_on():
    toy = Toy(vocabulary=12, length=7, seed=5, scale=1.0)
    runs = []
    for _ in range(2):
        generator = keras.random.SeedGenerator(3)
        runs.append([ops.convert_to_numpy(draw(toy, [1, 2], generator, samples=4).tokens) for _ in range(2)])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0][0] != runs[0][1]).any()


def test_first_tokens_are_distributed_as_those_of_keras_hub():
    samplers = pytest.importorskip("keras_hub.samplers")
    toy = Toy(vocabulary=9, length=3, seed=6, scale=1.0)
    toy.table[:, [PAD, BOS]] = -60.0  # keras-hub forbids nothing

    def following(prompt, cache, index):
        logits, cache = toy.step(prompt[:, index - 1], cache)
        return logits, None, cache

    count = 20_000
    prompt = ops.convert_to_tensor(np.tile([[BOS, PAD]], (count, 1)).astype("int32"))
    state = toy.state(ops.full((count,), 5, dtype="int32"))
    for sampler, options in [
        (samplers.TopKSampler(k=4, seed=1, temperature=0.7), {"top_k": 4, "temperature": 0.7}),
        (samplers.TopPSampler(p=0.6, seed=1), {"top_p": 0.6}),
    ]:
        theirs = np.bincount(ops.convert_to_numpy(sampler(following, prompt, cache=state, index=1))[:, 1], minlength=9)
        ours = np.bincount(
            ops.convert_to_numpy(draw(toy, [5], 2, samples=count, **options).tokens)[0, :, 0], minlength=9
        )
        probabilities = allowed_probabilities(toy, 5, [], **options)
        assert_drawn_from(theirs, probabilities)
        assert_drawn_from(ours, probabilities)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"min_p": 1.0}, "min_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"samples": 0}, "samples"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        draw(Toy(), [0], 0, **options)
