"""Equal to keras-hub's layers with copied weights: each layer, and a whole Transformer made of theirs."""

import keras_hub
import numpy as np
import pytest
from keras import ops

from models.decoder import DecoderLayer
from models.encoder import EncoderLayer
from models.masks import look_ahead_mask
from models.positions import sinusoidal_positions
from models.transformer import Transformer
from tests.models.copied_weights import copy_to_hub_decoder, copy_to_hub_encoder, randomise

WIDTH, HIDDEN, HEADS = 12, 20, 3
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
ORDERS = pytest.mark.parametrize("norm,activation", [("post", "relu"), ("pre", "gelu")])


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def array(tensor):
    return ops.convert_to_numpy(tensor)


def made(kind, **settings):
    layer = kind(WIDTH, HIDDEN, HEADS, **settings)
    layer.build((None, None, WIDTH))
    return randomise(layer)


def hub_encoder(layer, norm, activation):
    theirs = keras_hub.layers.TransformerEncoder(HIDDEN, HEADS, activation=activation, normalize_first=norm == "pre")
    theirs.build((None, None, WIDTH))
    copy_to_hub_encoder(layer, theirs)
    return theirs


def hub_decoder(layer, norm, activation):
    theirs = keras_hub.layers.TransformerDecoder(HIDDEN, HEADS, activation=activation, normalize_first=norm == "pre")
    theirs.build((None, None, WIDTH), (None, None, WIDTH))
    copy_to_hub_decoder(layer, theirs)
    return theirs


def test_sinusoidal_positions():
    theirs = keras_hub.layers.SinePositionEncoding()(np.zeros((1, 40, WIDTH), "float32"))
    np.testing.assert_allclose(array(sinusoidal_positions(np.arange(40), WIDTH)), array(theirs)[0], **TOLERANCE)


@ORDERS
def test_encoder_layer(norm, activation):
    layer, x = made(EncoderLayer, norm=norm, activation=activation), draw(2, 5, WIDTH)
    real = np.arange(5) < np.array([[5], [3]])
    ours = layer(x, attention_mask=real[:, None])
    theirs = hub_encoder(layer, norm, activation)(x, padding_mask=real)
    np.testing.assert_allclose(array(ours), array(theirs), **TOLERANCE)


@ORDERS
def test_decoder_layer(norm, activation):
    layer = made(DecoderLayer, norm=norm, activation=activation)
    x, encodings = draw(2, 5, WIDTH), draw(2, 4, WIDTH, seed=1)
    real, source_real = (np.arange(length) < np.array([[length], [2]]) for length in (5, 4))
    ours, *_ = layer(
        x,
        encodings,
        attention_mask=real[:, None] & array(look_ahead_mask(5)),
        source_mask=source_real[:, None],
    )
    theirs = hub_decoder(layer, norm, activation)(
        x, encodings, decoder_padding_mask=real, encoder_padding_mask=source_real
    )
    np.testing.assert_allclose(array(ours), array(theirs), **TOLERANCE)


def test_a_whole_transformer():
    model = Transformer(30, 2, 2, WIDTH, HIDDEN, HEADS)
    model.build()
    randomise(model)
    source, target = np.array([[5, 9, 7, 3], [8, 4, 3, 0]]), np.array([[2, 9, 7, 10, 6], [2, 8, 4, 0, 0]])
    table = array(model.source_embedding.table)
    place = keras_hub.layers.SinePositionEncoding()

    def embed(tokens):
        x = ops.convert_to_tensor(table[tokens] * np.float32(WIDTH**0.5))
        return x + place(x)

    x, y = embed(source), embed(target)
    for layer in model.encoder.stack:
        x = hub_encoder(layer, "post", "relu")(x, padding_mask=source != 0)
    for layer in model.decoder.stack:
        y = hub_decoder(layer, "post", "relu")(y, x, decoder_padding_mask=target != 0, encoder_padding_mask=source != 0)
    expected = array(y) @ table.T
    np.testing.assert_allclose(array(model({"source": source, "target": target})), expected, **TOLERANCE)
