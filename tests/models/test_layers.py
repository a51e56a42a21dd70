"""Every layer of `models` passes the shared test of `layer_checks`."""

import pytest
from keras import ops

from models.attention import CrossAttention, SelfAttention
from models.decoder import Decoder, DecoderLayer
from models.dropout import ByteDropout
from models.embedding import TokenEmbedding
from models.encoder import Encoder, EncoderLayer
from models.lsh import LSHAttention
from models.masks import look_ahead_mask
from models.positions import PositionEmbedding
from models.sublayers import FeedForward, Residual
from models.transformer import Transformer
from tests.models.layer_checks import (
    FLOATS,
    MIXED,
    VOCABULARY,
    WIDTH,
    Subject,
    check_finite,
    check_no_future,
    check_one_trace,
    check_padding,
    check_saves,
    check_trains,
)

HIDDEN, HEADS = 16, 2
SOURCE = [[5, 9, 7, 3, 0], [8, 4, 3, 0, 0], [6, 11, 12, 13, 3]]
TARGET = [[2, 9, 7, 10, 0], [2, 8, 4, 0, 0], [2, 6, 11, 12, 13]]


def rows_of(tokens, x):
    """As many rows of fixed tokens as `x` has, which may be unknown."""
    rows = ops.convert_to_tensor(tokens)
    return ops.take(rows, ops.arange(ops.shape(x)[0]) % len(tokens), axis=0)


def states_of(tokens, x):
    """Fixed states (B, length, WIDTH) in the type of `x`, and which of them are real."""
    tokens = rows_of(tokens, x)
    waves = ops.sin(ops.cast(ops.expand_dims(tokens, -1) * (ops.arange(WIDTH) + 1), "float32"))
    return waves, ops.not_equal(tokens, 0)


def causal(x, real):
    return ops.logical_and(real[:, None, :], look_ahead_mask(ops.shape(x)[1]))


def positions(x):
    return ops.expand_dims(ops.arange(ops.shape(x)[1]), 0)


def made(kind, *arguments, rate="dropout", **settings):
    """A function that makes and builds a layer of this kind with a dropout rate and a dtype."""

    def make(dropout=0.0, dtype="float32"):
        layer = kind(*arguments, **{rate: dropout}, **settings, dtype=dtype)
        layer.build((None, None, WIDTH))
        return layer

    return make


def without_dropout(kind, *arguments, **settings):
    def make(dropout=0.0, dtype="float32"):
        return made(kind, *arguments, rate="name", **settings)(None, dtype)

    return make


def attention_subjects():
    def full(layer, x, real, training):
        return layer(x, attention_mask=real[:, None, :], positions=positions(x), training=training)

    def no_future(layer, x, real, training):
        return layer(x, attention_mask=causal(x, real), positions=positions(x), training=training)

    def on_source(layer, x, real, training):
        queries, _ = states_of(TARGET, x)
        return layer(queries, layer.keys_values(x), attention_mask=real[:, None, :], training=training)

    def by_groups(layer, x, real, training):
        # Position 1 attends to position 0 alone, so that its own input would not matter.
        return x + layer(x, attention_mask=ops.cast(real, "int32"), positions=positions(x), training=training)

    lsh = {"chunk": 2, "buckets": 4, "rotary": True}
    plain = made(SelfAttention, WIDTH, HEADS)
    rotary = made(SelfAttention, WIDTH, HEADS, rotary=True)
    return [
        Subject("attention", plain, full),
        Subject("attention-look-ahead", plain, no_future, causal=True),
        Subject("attention-rotary", rotary, no_future, causal=True),
        Subject("attention-lsh", without_dropout(LSHAttention, WIDTH, HEADS, **lsh), by_groups),
        Subject(
            "attention-lsh-causal",
            without_dropout(LSHAttention, WIDTH, HEADS, causal=True, **lsh),
            by_groups,
            causal=True,
        ),
        Subject("attention-source", made(CrossAttention, WIDTH, HEADS), on_source, aligned=False),
    ]


def encoder_subjects():
    def call(layer, x, real, training):
        return layer(x, attention_mask=real[:, None, :], positions=positions(x), training=training)

    sizes = (WIDTH, HIDDEN, HEADS)
    return [
        Subject("encoder-layer", made(EncoderLayer, *sizes), call),
        Subject("encoder-pre", made(Encoder, 2, *sizes, norm="pre"), call),
        Subject("encoder-reversible", made(Encoder, 2, *sizes, norm="pre", stack="reversible"), call),
        Subject("encoder-bdia", made(Encoder, 2, *sizes, norm="pre", stack="bdia"), call),
    ]


def decoder_subjects():
    def run(layer, x, real, training, encodings, source_real):
        output = layer(
            x,
            encodings,
            attention_mask=causal(x, real),
            source_mask=source_real[:, None, :],
            positions=positions(x),
            training=training,
        )
        return output[0]

    def by_target(layer, x, real, training):
        return run(layer, x, real, training, *states_of(SOURCE, x))

    def by_source(layer, x, real, training):
        return run(layer, *states_of(TARGET, x), training, x, real)

    sizes = (WIDTH, HIDDEN, HEADS)
    return [
        Subject("decoder-layer", made(DecoderLayer, *sizes), by_target, causal=True),
        Subject("decoder-pre-rotary", made(Decoder, 2, *sizes, norm="pre", rotary=True), by_target, causal=True),
        Subject("decoder-bdia", made(Decoder, 2, *sizes, norm="pre", stack="bdia"), by_target, causal=True),
        Subject("decoder-pre-source", made(Decoder, 2, *sizes, norm="pre"), by_source, aligned=False),
    ]


def small_subjects():
    """Layers that look at each position alone."""

    def call(layer, x, real, training):
        return layer(x, training=training)

    def around_double(layer, x, real, training):
        return layer(x, function=lambda x: 2 * x**2, training=training)

    def placed(layer, x, real, training):
        return layer(x, positions(x))

    def look_up(layer, x, real, training):
        return layer(x)

    def embedding(**settings):
        return without_dropout(TokenEmbedding, VOCABULARY, WIDTH, **settings)

    alone = {"causal": True, "mixes": False}
    return [
        Subject("feed-forward", made(FeedForward, WIDTH, HIDDEN), call, **alone),
        Subject("residual", made(Residual, WIDTH), around_double, **alone),
        Subject("residual-pre", made(Residual, WIDTH, norm="pre"), around_double, **alone),
        Subject("dropout", made(ByteDropout, rate="rate"), call, **alone),
        Subject("positions-sinusoidal", without_dropout(PositionEmbedding), placed, **alone),
        Subject("positions-learned", without_dropout(PositionEmbedding, "learned", 20), placed, **alone),
        Subject("embedding", embedding(), look_up, **alone, tokens=True),
        Subject("embedding-projected", embedding(vector_width=5), look_up, **alone, tokens=True),
    ]


def transformer_subjects():
    def by_target(model, x, real, training):
        return model({"source": rows_of(SOURCE, x), "target": x}, training=training)

    def by_source(model, x, real, training):
        return model({"source": x, "target": rows_of([row[:3] for row in TARGET], x)}, training=training)

    def make(layers=1, **settings):
        return made(Transformer, VOCABULARY, layers, layers, WIDTH, HIDDEN, HEADS, **settings)

    variant = {"norm": "pre", "positions": "rotary", "tie": "none", "activation": "gelu"}
    reformer = {"norm": "pre", "stack": "reversible", "attention": "lsh", "positions": "rotary"}
    reformer |= {"lsh_chunk": 2, "lsh_buckets": 4, "feed_forward_chunks": 2}
    source = {"aligned": False, "tokens": True}
    return [
        Subject("transformer", make(layers=2), by_target, causal=True, tokens=True),
        Subject("transformer-variant", make(**variant), by_target, causal=True, tokens=True),
        Subject("transformer-reformer", make(**reformer), by_target, causal=True, tokens=True),
        Subject("transformer-bias", make(output_bias=True, activation="swish"), by_target, causal=True, tokens=True),
        Subject("transformer-learned", make(positions="learned", norm="pre"), by_target, causal=True, tokens=True),
        Subject("transformer-source", make(layers=2), by_source, **source),
    ]


TRANSFORMERS = transformer_subjects()
SUBJECTS = [*small_subjects(), *attention_subjects(), *encoder_subjects(), *decoder_subjects(), *TRANSFORMERS]


def named(*names):
    return [subject for subject in SUBJECTS if subject.name in names]


# Where a layer made of others stands for its parts, to save time.
COMPOSED = named("encoder-pre", "decoder-pre-rotary", "transformer", "encoder-bdia", "transformer-reformer")
TRAINED = named(
    *("feed-forward", "positions-learned", "embedding-projected", "attention-rotary", "attention-source"),
    *("encoder-layer", "encoder-pre", "decoder-layer", "transformer-variant"),
    *("attention-lsh", "encoder-reversible", "decoder-bdia", "transformer-reformer"),
)
TRACED = [*small_subjects(), *attention_subjects(), *COMPOSED, *named("transformer-variant", "transformer-source")]


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_serialises_and_loads(subject, tmp_path):
    check_saves(subject, tmp_path)


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_padding_never_changes_a_real_position(subject):
    check_padding(subject)


@pytest.mark.parametrize("training,dropout", [(False, 0.0), (True, 0.0), (True, 0.3)])
@pytest.mark.parametrize("subject", [subject for subject in SUBJECTS if subject.causal], ids=str)
def test_no_output_depends_on_a_later_input(subject, training, dropout):
    check_no_future(subject, dropout, training)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_finite_in_every_float_type(subject, dtype):
    check_finite(subject, dtype, "float32" if subject in TRANSFORMERS else None)


@pytest.mark.parametrize("dtype", MIXED)
@pytest.mark.parametrize("subject", COMPOSED, ids=str)
def test_finite_in_mixed_precision(subject, dtype):
    check_finite(subject, dtype, "float32" if subject in TRANSFORMERS else None)


@pytest.mark.parametrize("subject", TRAINED, ids=str)
def test_a_few_training_steps_lower_a_loss(subject):
    check_trains(subject)


@pytest.mark.parametrize("subject", TRACED, ids=str)
def test_one_trace_serves_unknown_lengths(subject):
    check_one_trace(subject, training=True)


@pytest.mark.parametrize("subject", named("transformer", "transformer-learned"), ids=str)
def test_one_trace_serves_unknown_lengths_in_inference(subject):
    check_one_trace(subject, training=False)
