"""What decoder positions attend to in the source: for each layer and head, of every kind of model."""

import numpy as np
import pytest

from models.transformer import Transformer
from tests.models.test_document import MEMORIES, model_of
from tests.models.test_transformer import SOURCE, TARGET, array, make

SETTINGS = [{}, {"stack": "reversible", "norm": "pre"}, {"stack": "bdia", "norm": "pre"}, {"positions": "rotary"}]
INPUTS = {"source": SOURCE, "target": TARGET}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_attention_is_shared_out_among_real_source_tokens(settings):
    found = array(make(**settings).source_attention(INPUTS))
    assert found.shape == (2, 2, 2, 5, 4) and found.dtype == "float32"
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    assert (found[1, ..., 3] == 0).all() and (found[0] > 0).all()


def test_a_row_depends_on_no_later_target_token():
    model, other = make(), TARGET.copy()
    other[:, 3:] = 13
    before, after = (array(model.source_attention({"source": SOURCE, "target": t})) for t in (TARGET, other))
    np.testing.assert_allclose(before[..., :3, :], after[..., :3, :], rtol=1e-5, atol=1e-6)
    assert not np.allclose(before[:, 1, :, 3:], after[:, 1, :, 3:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", MEMORIES)
def test_a_document_model_reads_one_segment_as_if_nothing_came_before(kind):
    model = model_of(kind)
    found = array(model.source_attention(INPUTS))
    assert found.shape == (2, len(model.decoder.stack), 2, 5, 4)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)


def test_without_a_memory_it_is_that_of_a_transformer_with_the_same_weights():
    model = model_of("none")
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "width": 16, "hidden": 24, "heads": 2, "norm": "pre"}
    plain = Transformer(model.settings["vocabulary_size"], **sizes, dropout=0.0, name="transformer")
    plain.build()
    plain.set_weights(model.get_weights())
    np.testing.assert_allclose(
        array(plain.source_attention(INPUTS)), array(model.source_attention(INPUTS)), rtol=1e-5, atol=1e-6
    )
