"""A translator with a language model: the product of both at each token, in scoring, in steps, and over documents."""

import keras
import numpy as np
import pytest
from keras import ops

from data.packing import PackedWindow, pack
from models.document import DocumentTransformer
from models.fusion import FusedModel
from models.search import beam_search
from models.text_generator import TextGenerator
from tests.models.layer_checks import equal, numbers

SHAPE = {"width": 8, "hidden": 16, "heads": 2, "dropout": 0.0}
WEIGHT = 0.6
DOCUMENT = [PackedWindow([[5, 6]], [[7, 8, 9]], 0, True), PackedWindow([[6], [5]], [[9], [4, 8]], 0, False)]


def make(weight=WEIGHT, memory="gru", layers=1):
    keras.utils.set_random_seed(1)
    translator = DocumentTransformer(
        20, encoder_layers=1, decoder_layers=1, **SHAPE, positions="rotary", memory={"kind": memory}
    )
    generator = TextGenerator(20, layers=layers, **{**SHAPE, "width": 12})
    for model in (translator, generator):
        model.build()
        for variable in model.trainable_variables:
            variable.assign(variable * 2.0)
    return FusedModel(translator, generator, weight)


def test_logits_are_those_of_both_models_weighted():
    model = make()
    inputs, _ = pack([DOCUMENT], 1)
    fused = numbers(model(inputs))
    own = numbers(model.translator(inputs))
    equal(fused, own + WEIGHT * numbers(model.generator(inputs)))
    assert np.abs(fused - own).max() > 0.1


def test_a_language_model_with_learned_positions_limits_the_search():
    translator = make().translator
    generator = TextGenerator(20, layers=1, **SHAPE, positions="learned", max_positions=9)
    model = FusedModel(translator, generator, WEIGHT)
    assert (model.positions_kind, model.max_positions) == ("learned", 9)


@pytest.mark.parametrize("layers", [1, 0])
def test_steps_after_windows_and_a_prefix_are_those_of_the_whole_document(layers):
    model = make(layers=layers)
    inputs, labels = pack([DOCUMENT], 1)
    whole = numbers(model(inputs))[0]
    first, _ = pack([DOCUMENT[:1]], 1)
    memory = model.remember(first, model.initial_memory(1))
    source = ops.convert_to_tensor([[6, 3, 5, 3]])
    state = model.initial_state(source, 1, ops.convert_to_tensor([[2, 9]]), memory)
    found, place = [], 6
    for token in inputs["target"][0, place:].tolist():
        logits, state = model.step(ops.convert_to_tensor([token]), state)
        found.append(numbers(logits)[0])
        state = model.lengthen_state(state, 1)
    equal(np.stack(found), whole[place:], 1e-4)


def test_the_search_finds_what_both_like():
    """Without weight it finds what the translator alone does; the memory of the language model changes it, too."""
    source = ops.convert_to_tensor([[5, 6, 7, 3], [9, 4, 3, 0]])

    def found(model, memory=None):
        state = model.initial_state(source, 8, memory=memory)
        return numbers(beam_search(model.step, state, 2, 3, 8, bos=2, eos=3).tokens)[:, 0].tolist()

    plain = make(0.0)
    assert found(plain) == found(plain.translator)
    fused = make(3.0, "none")
    assert found(fused) != found(fused.translator)
    memory = fused.initial_memory(2)
    assert list(memory) == ["language_model"]
    inputs, _ = pack([DOCUMENT[:1], DOCUMENT[:1]], 1)
    before, after = (
        numbers(fused.initial_state(source, 1, memory=m)["language_model"]["cell"])
        for m in (memory, fused.remember(inputs, memory))
    )
    assert np.abs(before - after).max() > 0.01
