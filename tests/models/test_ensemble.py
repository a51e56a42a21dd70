"""Ensembles: the mean of probabilities, in scoring, in steps, in search, and over documents."""

import keras
import numpy as np
import pytest
from keras import ops

from data.packing import PackedWindow, pack
from models.document import DocumentTransformer
from models.ensemble import ensemble
from models.fusion import FusedModel
from models.search import beam_search
from models.text_generator import TextGenerator
from models.transformer import Transformer
from tests.models.layer_checks import equal, numbers

SHAPE = {"hidden": 16, "heads": 2, "dropout": 0.0, "encoder_layers": 1, "decoder_layers": 1}
SOURCE, TARGET = [[5, 6, 7, 3], [9, 4, 3, 0]], [[2, 8, 9], [2, 7, 0]]
DOCUMENT = [PackedWindow([[5, 6]], [[7, 8, 9]], 0, True), PackedWindow([[6], [5]], [[9], [4, 8]], 0, False)]


def built(model, seed):
    keras.utils.set_random_seed(seed)
    model.build()
    for variable in model.trainable_variables:
        variable.assign(2.0 * keras.random.normal(variable.shape, stddev=0.3))
    return model


def sentences():
    return [built(Transformer(20, width=width, **SHAPE), seed) for seed, width in enumerate((8, 12, 8))]


def documents(kinds=("gru", "none")):
    models = (DocumentTransformer(20, width=8 + 4 * n, **SHAPE, memory={"kind": kind}) for n, kind in enumerate(kinds))
    return [built(model, seed) for seed, model in enumerate(models)]


def mean(logits):
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.log((shares / shares.sum(axis=-1, keepdims=True)).mean(axis=0))


def test_probabilities_are_the_mean_of_those_of_all_models():
    models = sentences()
    inputs = {"source": ops.convert_to_tensor(SOURCE), "target": ops.convert_to_tensor(TARGET)}
    alone = np.stack([numbers(model(inputs)) for model in models])
    found = numbers(ensemble(models, documents=False)(inputs))
    equal(found, mean(alone), 1e-4)
    equal(np.exp(found).sum(axis=-1), 1.0, 1e-4)
    assert np.abs(np.exp(found) - np.exp(mean(alone[:1]))).max() > 0.01


def test_steps_score_as_the_whole_sentence():
    model = ensemble(sentences(), documents=False)
    whole = numbers(model({"source": ops.convert_to_tensor(SOURCE[:1]), "target": ops.convert_to_tensor(TARGET[:1])}))
    state = model.initial_state(ops.convert_to_tensor(SOURCE[:1]), 1)
    for place, token in enumerate(TARGET[0]):
        logits, state = model.step(ops.convert_to_tensor([token]), state)
        equal(numbers(logits)[0], whole[0, place], 1e-4)
        state = model.lengthen_state(state, 1)


@pytest.mark.parametrize("beam", [1, 3])
def test_the_search_of_a_model_joined_with_itself_is_its_own(beam):
    one, two, _ = sentences()

    def found(model):
        state = model.initial_state(ops.convert_to_tensor(SOURCE), 8)
        return beam_search(model.step, state, 2, beam, 8, bos=2, eos=3)

    alone, twice, both = found(one), found(ensemble([one, one], False)), found(ensemble([one, two], False))
    assert numbers(alone.tokens).tolist() == numbers(twice.tokens).tolist()
    equal(numbers(alone.scores), numbers(twice.scores), 1e-4)
    assert np.abs(numbers(both.scores) - numbers(alone.scores)).max() > 0.01


def test_each_model_carries_its_own_memory_through_a_document():
    models = documents()
    model = ensemble(models, documents=True)
    inputs, _ = pack([DOCUMENT], 1)
    whole = numbers(model(inputs))[0]
    equal(whole, mean(np.stack([numbers(each(inputs)) for each in models]))[0], 1e-4)
    first, _ = pack([DOCUMENT[:1]], 1)
    memory = model.remember(first, model.initial_memory(1))
    assert list(memory) == ["translator"]  # the other has none
    state = model.initial_state(ops.convert_to_tensor([[6, 3, 5, 3]]), 1, ops.convert_to_tensor([[2, 9]]), memory)
    for place, token in enumerate(inputs["target"][0, 6:].tolist()):
        logits, state = model.step(ops.convert_to_tensor([token]), state)
        equal(numbers(logits)[0], whole[6 + place], 1e-4)
        state = model.lengthen_state(state, 1)
    assert sorted(model.initial_memory(1)) == ["translator"]
    both = ensemble(documents(("gru", "fixed")), documents=True)
    assert sorted(both.initial_memory(1)) == ["translator", "translator_02"]


def test_a_language_model_joins_an_ensemble():
    generator = built(TextGenerator(20, layers=1, width=12, hidden=16, heads=2, dropout=0.0), 5)
    model = ensemble(documents(), documents=True)
    fused = FusedModel(model, generator, 0.5)
    inputs, _ = pack([DOCUMENT], 1)
    equal(numbers(fused(inputs)), numbers(model(inputs)) + 0.5 * numbers(generator(inputs)), 1e-4)
    source = ops.convert_to_tensor(SOURCE)
    scores = beam_search(fused.step, fused.initial_state(source, 8), 2, 3, 8, bos=2, eos=3).scores
    assert np.all(np.isfinite(numbers(scores)))
