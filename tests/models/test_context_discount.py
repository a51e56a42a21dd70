"""The discounted loss of the context's translations in windows that overlap."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data.packing import PackedWindow, pack
from models.document import DocumentTransformer
from models.teacher_forcing import DocumentTeacherForcing
from tests.models.layer_checks import equal, numbers

# Two windows in the first row, of which the second has two segments of context; one in the second row.
LANES = [
    [
        PackedWindow([[5, 6]], [[7]], 0, True),
        PackedWindow([[5, 6], [8], [9, 4]], [[7], [10, 11], [12, 13, 4]], 2, False),
    ],
    [PackedWindow([[14], [15]], [[16, 17], [18]], 1, True)],
]
INPUTS, LABELS = pack(LANES, multiple=4)
# The same with everything scored.
EVERY = pack([[window._replace(scored=0) for window in lane] for lane in LANES], multiple=4)[1]


def trainer_of(discount, smoothing=0.1):
    keras.utils.set_random_seed(1)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "width": 16, "hidden": 24, "heads": 2, "dropout": 0.0}
    model = DocumentTransformer(20, **sizes, memory={"kind": "concat"}, name="transformer")
    trainer = DocumentTeacherForcing(model, smoothing, lanes=2, context_discount=discount)
    trainer.build()
    return trainer


def by_definition(trainer, discount):
    """Loss and likelihood from the whole softmax; the context has weight `discount` in the first."""
    states, _ = trainer.transformer.document_states(INPUTS, {})
    shares = tf.nn.log_softmax(trainer.transformer.output_embedding.logits(states))
    likelihood = -tf.gather(shares, EVERY, batch_dims=2)
    smoothed = 0.9 * likelihood - 0.1 * tf.reduce_mean(shares, -1)
    current, context = (tf.constant(mask, "float32") for mask in (LABELS > 0, (EVERY > 0) & (LABELS == 0)))
    tokens = tf.reduce_sum(current)
    loss = tf.reduce_sum(smoothed * (current + discount * context)) / tokens
    return loss, tf.reduce_sum(likelihood * current) / tokens


@pytest.mark.parametrize("discount", [0.0, 0.01, 0.5, 1.0])
def test_loss_and_gradient_are_those_of_the_definition(discount):
    trainer = trainer_of(discount)
    variables = [weight.value for weight in trainer.transformer.trainable_weights]
    with tf.GradientTape(persistent=True) as tape:
        loss = trainer.compute_loss(INPUTS, LABELS, trainer(INPUTS, training=True))
        expected, likelihood = by_definition(trainer, discount)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert float(trainer.get_metrics_result()["nll"]) == pytest.approx(float(likelihood), rel=1e-5)
    assert float(trainer.get_metrics_result()["tokens"]) == np.count_nonzero(LABELS)
    for mine, reference in zip(*(tape.gradient(each, variables) for each in (loss, expected)), strict=True):
        if reference is not None:
            equal(numbers(tf.convert_to_tensor(mine)), numbers(tf.convert_to_tensor(reference)), 1e-4)


def test_a_validation_scores_what_is_translated_alone():
    results = []
    for discount in (0.0, 0.7):
        trainer = trainer_of(discount)
        trainer.compile(jit_compile=False)
        results.append(trainer.evaluate(INPUTS, LABELS, batch_size=2, verbose=0, return_dict=True))
    assert results[0] == results[1]
