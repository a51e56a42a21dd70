"""What was written out by hand for speed trains like the plain formulas under automatic differentiation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.training.optimizer import FusedAdam
from models import normalisation, teacher_forcing
from models.teacher_forcing import TeacherForcing
from models.transformer import Transformer

VOCABULARY, UPDATES = 40, 40


def plain_normalise(x, gamma, beta):
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return (x - mean) / tf.sqrt(variance + normalisation.EPSILON) * gamma + beta


def plain_cross_entropy(states, table, labels, weights, smoothing, reported):
    shares = tf.nn.log_softmax(tf.matmul(states, table.value, transpose_b=True))
    true = tf.gather(shares, labels, batch_dims=1)
    smoothed = (1 - smoothing) * true + smoothing * tf.reduce_mean(shares, -1)
    return -tf.reduce_sum(smoothed * weights), -tf.reduce_sum(true * reported)


def curve(optimizer, dtype="float32"):
    """The losses of updates on pairs whose target is the reversed source, with padding."""
    keras.utils.set_random_seed(1)
    model = TeacherForcing(Transformer(VOCABULARY, 2, 2, 16, 32, 2, dropout=0.0, norm="pre", dtype=dtype))
    model.build()
    model.compile(optimizer(0.01, beta_2=0.98, epsilon=1e-9, global_clipnorm=1.0), jit_compile=False)
    random = np.random.default_rng(0)
    losses = []
    for _ in range(UPDATES):
        source = random.integers(4, VOCABULARY, (16, 7))
        source[::3, 5:] = 0
        labels = np.where(source > 0, source[:, ::-1], 0)
        target = np.concatenate([np.full((16, 1), 2), labels[:, :-1]], 1)
        losses.append(
            float(model.train_on_batch({"source": source, "target": target}, labels, return_dict=True)["loss"])
        )
        model.reset_metrics()
    return np.array(losses)


@pytest.mark.slow
def test_loss_curves_agree(monkeypatch):
    fast = curve(FusedAdam)
    half = curve(FusedAdam, "mixed_bfloat16")
    monkeypatch.setattr(normalisation, "_normalise", plain_normalise)
    monkeypatch.setattr(teacher_forcing, "smoothed_cross_entropy", plain_cross_entropy)
    plain = curve(keras.optimizers.Adam)
    assert plain[-1] < 0.8 * plain[0]
    np.testing.assert_allclose(fast, plain, rtol=2e-3)
    np.testing.assert_allclose(half, plain, rtol=0.05)
