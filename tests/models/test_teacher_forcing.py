"""The training objective: what `fit` minimises and what it reports."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from data.feeding import dataset_of
from models.teacher_forcing import TeacherForcing
from models.transformer import Transformer
from tests.models.copied_weights import randomise

VOCABULARY = 20
INPUTS = {"source": np.array([[5, 9, 7, 3], [8, 4, 3, 0]]), "target": np.array([[2, 9, 7, 10], [2, 8, 0, 0]])}
LABELS = np.array([[9, 7, 10, 3], [8, 3, 0, 0]])


def make(smoothing=0.1, kind=Transformer, **settings):
    model = kind(VOCABULARY, 1, 1, 8, 12, 2, **{"dropout": 0.0, **settings})
    model.build()
    trainer = TeacherForcing(randomise(model), smoothing)
    trainer.build()
    return trainer


def losses(model, labels):
    """Mean smoothed (0.1) and plain loss of the tokens that are not padding, from the full softmax."""
    shares = tf.nn.log_softmax(model(INPUTS))
    real = tf.constant(labels != 0, "float32")
    likelihood = -tf.gather(shares, labels, batch_dims=2)
    smoothed = 0.9 * likelihood - 0.1 * tf.reduce_mean(shares, -1)
    return [tf.reduce_sum(loss * real) / tf.reduce_sum(real) for loss in (smoothed, likelihood)]


@pytest.mark.parametrize(
    "settings", [{}, {"tie": "none"}, {"source_vectors": 5}, {"target_vectors": 5, "tie": "target"}]
)
def test_loss_and_gradient_are_those_of_the_full_softmax(settings):
    trainer = make(**settings)
    variables = [weight.value for weight in trainer.transformer.trainable_weights]

    def gradients(loss):
        with tf.GradientTape() as tape:
            value = loss()
        return value, [tf.convert_to_tensor(gradient) for gradient in tape.gradient(value, variables)]

    loss, ours = gradients(lambda: trainer.compute_loss(INPUTS, LABELS, trainer(INPUTS, training=True)))
    expected, theirs = gradients(lambda: losses(trainer.transformer, LABELS)[0])
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    for mine, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-4, atol=1e-5)


def test_metrics_are_means_a_token_over_all_batches():
    trainer = make()
    trainer.compile(jit_compile=False)
    other = np.array([[9, 7, 0, 0], [8, 0, 0, 0]])
    inputs = {name: np.concatenate([tokens, tokens]) for name, tokens in INPUTS.items()}
    labels = np.concatenate([LABELS, other])
    metrics = trainer.evaluate(inputs, labels, batch_size=2, return_dict=True, verbose=0)
    assert set(metrics) == {"loss", "nll", "tokens"}
    assert metrics["tokens"] == 9
    first, second = losses(trainer.transformer, LABELS), losses(trainer.transformer, other)
    for name, one, two in zip(("loss", "nll"), first, second, strict=True):
        assert metrics[name] == pytest.approx((6 * float(one) + 3 * float(two)) / 9, rel=1e-5)


def test_padding_has_no_part_in_the_loss():
    trainer = make()
    loss = trainer.compute_loss(INPUTS, LABELS, trainer(INPUTS))
    longer = {"source": INPUTS["source"], "target": np.pad(INPUTS["target"], ((0, 0), (0, 3)))}
    same = trainer.compute_loss(longer, np.pad(LABELS, ((0, 0), (0, 3))), trainer(longer))
    assert float(same) == pytest.approx(float(loss), rel=1e-5)


def test_a_batch_of_padding_alone_has_loss_0_and_no_gradient():
    trainer = make()
    with tf.GradientTape() as tape:
        loss = trainer.compute_loss(INPUTS, np.zeros_like(LABELS), trainer(INPUTS))
    gradients = tape.gradient(loss, [weight.value for weight in trainer.trainable_weights])
    assert float(loss) == 0
    assert all(np.all(tf.convert_to_tensor(gradient).numpy() == 0) for gradient in gradients)
    assert np.isfinite(float(trainer.get_metrics_result()["loss"]))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_trains(dtype):
    trainer = make(dtype=dtype)
    trainer.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=False)
    history = [trainer.train_on_batch(INPUTS, LABELS, return_dict=True)["loss"] for _ in range(1)]
    for _ in range(10):
        trainer.reset_metrics()
        history.append(trainer.train_on_batch(INPUTS, LABELS, return_dict=True)["loss"])
    assert np.isfinite(history).all() and history[-1] < history[0]


def test_serialises_with_its_transformer():
    trainer = make(smoothing=0.2)
    other = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(trainer))
    assert other.smoothing == 0.2
    assert other.transformer.get_config() == trainer.transformer.get_config()
    other.build()
    other.transformer.set_weights(trainer.transformer.get_weights())
    np.testing.assert_array_equal(*(ops.convert_to_numpy(model(INPUTS)) for model in (trainer, other)))


class Taxed(keras.layers.Layer):
    """Adds the square of its weight to the loss."""

    def build(self, *_):
        self.weight = self.add_weight(shape=(), initializer=keras.initializers.Constant(3.0), name="weight")

    def call(self, x):
        self.add_loss(self.weight**2)
        return x


class TaxedTransformer(Transformer):
    def __init__(self, *sizes, **settings):
        super().__init__(*sizes, **settings)
        self.taxed = Taxed()

    def build(self, *_):
        self.taxed.build()
        super().build()

    def states(self, inputs, training=None):
        return self.taxed(super().states(inputs, training=training))


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("eagerly", [False, True])
def test_an_extra_loss_is_added_and_has_a_gradient(accumulate, eagerly):
    plain, taxed = make(), make(kind=TaxedTransformer)
    weight = taxed.transformer.taxed.weight
    weight.assign(3.0)
    others = [variable for variable in taxed.transformer.weights if variable is not weight]
    for mine, variable in zip(plain.transformer.weights, others, strict=True):
        variable.assign(mine)
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=None if accumulate == 1 else accumulate)
    taxed.compile(optimizer=optimizer, jit_compile=False, run_eagerly=eagerly)
    plain.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
    expected = plain.train_on_batch(INPUTS, LABELS, return_dict=True)["loss"]
    for _ in range(accumulate):
        taxed.reset_metrics()
        found = taxed.train_on_batch(INPUTS, LABELS, return_dict=True)["loss"]
    assert found == pytest.approx(expected + 9, rel=1e-6)
    assert float(weight) == pytest.approx(3 - 0.1 * 6, rel=1e-6)


@pytest.mark.parametrize("stack", ["plain", "reversible"])
def test_accumulated_batches_have_the_gradient_of_their_tokens_together(stack):
    """Of batches with 1 and 6 target tokens the mean of means would be far from the mean over 7 tokens."""
    few = np.array([[9, 0, 0, 0], [0, 0, 0, 0]])
    joined, accumulated = make(norm="pre", stack=stack), make(norm="pre", stack=stack)
    joined.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=False)
    both = {name: np.concatenate([tokens, tokens]) for name, tokens in INPUTS.items()}
    joined.train_on_batch(both, np.concatenate([few, LABELS]))
    accumulated.compile(optimizer=keras.optimizers.SGD(1.0, gradient_accumulation_steps=2), jit_compile=False)
    data = dataset_of(lambda: iter([(INPUTS, few), (INPUTS, LABELS)]), accumulate=2)
    history = accumulated.fit(data, steps_per_epoch=2, shuffle=False, verbose=0).history
    assert history["tokens"] == [7]
    for mine, reference in zip(accumulated.get_weights(), joined.get_weights(), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-5, atol=1e-6)
