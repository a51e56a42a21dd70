"""The same translations and scores of documents on every backend of Keras."""

import pytest

from tests.app.backend_script import run_on

SCRIPT = """
import json
import numpy as np
from app.translation.keras_decoder import KerasDecoder
from app.translation.translator import Translator
from app.presets.schema import SearchPreset
from data.windows import WindowOptions
from models.document import DocumentTransformer
from tests.app.word_tokenizer import WordTokenizer, words

random = np.random.default_rng(5)
memory = {"kind": "gru", "slots": 3, "sides": "both", "read_bias": 1.0}
model = DocumentTransformer(40, encoder_layers=1, decoder_layers=1, width=16, hidden=16, heads=2, memory=memory)
model.build()
for variable in model.weights:
    if variable.dtype == "float32":
        variable.assign(0.5 * random.standard_normal(variable.shape).astype("float32"))
search = SearchPreset(beam=2, max_ratio=1.0, max_extra=3, length_penalty=0.0)
translator = Translator.of_model(model, WordTokenizer(), search, WindowOptions("tokens", tokens=18))
documents = [[words(random.integers(4, 40, size)) for size in sizes] for sizes in ((3, 7, 9), (5,), (2, 4, 4, 8))]
found = {"translations": list(translator.translate_documents(documents))}
pairs = [list(zip(*both)) for both in zip(documents, found["translations"])]
found["scores"] = translator.score(pairs)
ids = WordTokenizer().encode(documents[0][:1] + found["translations"][0][:1])
found["alone"] = [KerasDecoder(model, search).score(ids[:1], ids[1:])[0], translator.score([pairs[0][:1]])[0][0]]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def expected():
    return run_on("tensorflow", SCRIPT)


def numbers(scores) -> list:
    return [number for document in scores for score in document for number in score]


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backends_translate_documents_alike(expected, backend):
    pytest.importorskip(backend)
    found = run_on(backend, SCRIPT)
    assert found["translations"] == expected["translations"]
    assert numbers(found["scores"]) == pytest.approx(numbers(expected["scores"]), abs=1e-3)
    first, second = found["alone"]
    assert first == pytest.approx(second, abs=1e-3)
