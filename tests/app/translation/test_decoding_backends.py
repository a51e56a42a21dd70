"""The same translations, scores and draws rules on every backend of Keras."""

import pytest

from tests.app.backend_script import run_on

SCRIPT = """
import json
import numpy as np
from app.retrieval.entries import concatenated
from app.translation.decoder import Sampling
from app.translation.keras_decoder import KerasDecoder
from app.presets.schema import SearchPreset
from models.transformer import Transformer
from tests.app.decoding import decode

random = np.random.default_rng(5)
model = Transformer(40, 1, 1, width=16, hidden=16, heads=2)
model.build()
for variable in model.weights:
    if variable.dtype == "float32":
        variable.assign(0.5 * random.standard_normal(variable.shape).astype("float32"))
sources = [list(map(int, random.integers(4, 40, size))) for size in (3, 9, 1, 30, 12)]
limits = {"max_ratio": 1.0, "max_extra": 3, "batch_tokens": 80}
found = {}
for beam in (1, 3):
    decoding = KerasDecoder(model, SearchPreset(beam=beam, **limits))
    found[f"beam {beam}"] = [[list(d) for d in source] for source in decode(decoding, sources, beam)]
found["score"] = [list(score) for score in decoding.score(sources, sources[::-1])]
drawing = KerasDecoder(model, SearchPreset(beam=1, **limits), Sampling(top_k=5, seed=-3))
drawn = decode(drawing, sources, 2)
again = decode(KerasDecoder(model, SearchPreset(beam=1, **limits), Sampling(top_k=5, seed=-3)), sources, 2)
found["same draws"] = drawn == again and drawn != decode(drawing, sources, 2)
entries = decoding.entries(sources, sources[::-1])
found["kept"] = [float(np.sum(part.keys**2)) for part in entries]
read = [lambda: concatenated(entries)] * 5
found["retrieval"] = [[list(d) for d in source] for source in decode(decoding, sources, stored=read)]
table = model.weights[0]
table.assign(-np.asarray(table.numpy()))
found["other weights"] = [[list(d) for d in source] for source in decode(decoding, sources)]
print(json.dumps(found))
"""


def flat(decoded) -> list:
    return [number for source in decoded for ids, score in source for number in (*ids, -1, score)]


@pytest.fixture(scope="module")
def expected():
    return run_on("tensorflow", SCRIPT)


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backends_decode_alike(expected, backend):
    pytest.importorskip(backend)
    found = run_on(backend, SCRIPT)
    for key in ("beam 1", "beam 3", "retrieval", "other weights"):
        assert flat(found[key]) == pytest.approx(flat(expected[key]), abs=1e-3), key
    assert found["kept"] == pytest.approx(expected["kept"], rel=1e-3)
    assert found["retrieval"] != [source[:1] for source in found["beam 3"]]
    assert found["score"] == [pytest.approx(score, abs=1e-3) for score in expected["score"]]
    assert found["other weights"] != [source[:1] for source in found["beam 3"]]
    assert found["same draws"] and expected["same draws"]
