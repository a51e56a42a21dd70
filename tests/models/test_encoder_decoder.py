"""The stacks: what they are made of, the weights they give back, and decoding with a cache."""

import numpy as np
import pytest
from keras import ops

from models.decoder import Decoder
from models.encoder import Encoder, EncoderLayer
from models.masks import MASKED, look_ahead_mask
from models.sublayers import FeedForward, Residual
from tests.models.copied_weights import dense_weights, randomise
from tests.models.layer_checks import check_cached

WIDTH, HIDDEN, HEADS, LAYERS = 8, 12, 2, 2


def make(kind, *arguments, **settings):
    layer = kind(*arguments, **settings)
    layer.build((None, None, WIDTH))
    return randomise(layer)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def array(tensor):
    return ops.convert_to_numpy(tensor)


def normalised(x):
    x = np.asarray(x, "float64")
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def test_feed_forward_is_the_papers_equation_2():
    layer, x = make(FeedForward, WIDTH, HIDDEN), draw(2, 3, WIDTH)
    (first, first_bias), (second, second_bias) = dense_weights(layer.inner), dense_weights(layer.outer)
    expected = np.maximum(0, x @ first + first_bias) @ second + second_bias
    np.testing.assert_allclose(array(layer(x)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", ["post", "pre"])
def test_residual_by_its_formula(order):
    layer, x = Residual(WIDTH, order), draw(2, 3, WIDTH)
    layer.build(x.shape)
    result = array(layer(x, function=lambda x: 3 * x))
    expected = normalised(4 * x) if order == "post" else x + 3 * normalised(x)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_residual_refuses_an_unknown_order():
    with pytest.raises(ValueError, match='"pre" or "post", got \'middle\''):
        Residual(WIDTH, "middle")


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_stacks_output_is_normalised(norm):
    encoder, decoder = (kind(LAYERS, WIDTH, HIDDEN, HEADS, norm=norm) for kind in (Encoder, Decoder))
    decoder.build((None, None, WIDTH))
    x = draw(2, 5, WIDTH) * 7
    for output in (encoder(x), decoder(x, x)[0]):
        np.testing.assert_allclose(array(output).mean(-1), 0, atol=1e-4)
        np.testing.assert_allclose(array(output).std(-1), 1, atol=1e-2)


def test_each_dropout_rate_reaches_its_place():
    x = draw(2, 5, WIDTH)
    still = array(make(EncoderLayer, WIDTH, HIDDEN, HEADS, dropout=0.0)(x, training=True))
    for rate in ("dropout", "attention_dropout", "activation_dropout"):
        layer = make(EncoderLayer, WIDTH, HIDDEN, HEADS, **{"dropout": 0.0, rate: 0.5})
        assert np.abs(array(layer(x, training=True)) - still).max() > 1e-2, rate
        np.testing.assert_allclose(array(layer(x, training=False)), still, atol=1e-6)


def test_encoder_gives_back_the_weights_of_each_layer():
    encoder, x = make(Encoder, LAYERS, WIDTH, HIDDEN, HEADS), draw(2, 5, WIDTH)
    mask = np.array([[[True] * 5], [[True] * 3 + [False] * 2]])
    output, weights = encoder(x, attention_mask=mask, return_weights=True)
    np.testing.assert_allclose(array(output), array(encoder(x, attention_mask=mask)), atol=1e-6)
    assert [tuple(layer.shape) for layer in weights] == [(2, HEADS, 5, 5)] * LAYERS
    for layer in map(array, weights):
        np.testing.assert_allclose(layer.sum(-1), 1, atol=1e-5)
        assert (layer[1, :, :, 3:] == 0).all() and (layer[0] > 0).all()
    assert np.abs(array(weights[0]) - array(weights[1])).max() > 1e-3


def run(decoder, x, encodings, positions):
    length = x.shape[1]
    return decoder(
        x,
        encodings,
        attention_mask=look_ahead_mask(length)[None],
        source_mask=SOURCE_MASK,
        positions=positions,
    )


SOURCE_MASK = np.array([[[True] * 4], [[True] * 2 + [False] * 2]])


def test_decoder_gives_back_the_weights_on_target_and_source():
    decoder = make(Decoder, LAYERS, WIDTH, HIDDEN, HEADS)
    states, _, (target, source) = run(decoder, draw(2, 5, WIDTH), draw(2, 4, WIDTH, seed=1), np.arange(5)[None])
    assert tuple(states.shape) == (2, 5, WIDTH)
    assert [tuple(layer.shape) for layer in target] == [(2, HEADS, 5, 5)] * LAYERS
    assert [tuple(layer.shape) for layer in source] == [(2, HEADS, 5, 4)] * LAYERS
    for layer in map(array, target):
        assert (layer[:, :, ~np.tri(5, dtype=bool)] == 0).all()
    for layer in map(array, source):
        assert (layer[1, :, :, 2:] == 0).all()
        np.testing.assert_allclose(layer.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_cached_decoding_equals_uncached(norm, rotary):
    decoder = make(Decoder, LAYERS, WIDTH, HIDDEN, HEADS, norm=norm, rotary=rotary)
    x, encodings = draw(2, 5, WIDTH), draw(2, 4, WIDTH, seed=1)
    sources = decoder.source_keys_values(encodings)

    def step(t, caches):
        entries = np.broadcast_to(np.where(np.arange(7) <= t, 0, -1), (2, 7))
        ceilings = np.where(SOURCE_MASK, np.inf, MASKED).astype("float32").reshape(2, 1, 1, 4)
        output, _, caches = decoder.step(x[:, t], sources, caches, entries, ceilings, np.full((2, 1), t))
        return output, caches

    whole = run(decoder, x, encodings, np.arange(5)[None])[0]
    check_cached(whole, decoder.empty_caches(2, 7), step, 5)


def test_a_step_writes_its_own_places_of_the_cache_alone():
    decoder = make(Decoder, 1, WIDTH, HIDDEN, HEADS)
    sources = decoder.source_keys_values(draw(2, 4, WIDTH))
    caches = [tuple(draw(2, HEADS, 6, 3, WIDTH // HEADS, seed=seed) for seed in (1, 2))]
    places, entries = np.array([[3], [0]]), np.zeros((6, 6), "int32")
    *_, written = decoder.step(draw(6, WIDTH, seed=3), sources, caches, entries, np.ones((2, 1, 1, 4)), places)
    for before, after in zip(caches[0], map(array, written[0]), strict=True):
        changed = np.any(before != after, axis=(1, 4))
        np.testing.assert_array_equal(changed, np.repeat(places == np.arange(6), 3, axis=1).reshape(2, 6, 3))
