import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from app.runs.weights import build_with, read_variables, split_variables
from data.errors import UserError
from models.transformer import Transformer

REPOSITORY = Path(__file__).resolve().parents[3]


def build(width=8):
    model = Transformer(20, encoder_layers=1, decoder_layers=1, width=width, hidden=8, heads=2, dropout=0.5)
    model.build()
    return model


@pytest.fixture(scope="module")
def trained():
    return build()


@pytest.fixture
def values(trained):
    return read_variables(split_variables(trained)[0])


def test_a_model_is_built_with_its_weights_and_draws_none(trained, values, monkeypatch):
    for initializer in (keras.initializers.VarianceScaling, keras.initializers.RandomNormal):
        monkeypatch.setattr(initializer, "__call__", pytest.fail)
    model = build_with(build, values, "file")
    inputs = {"source": np.array([[5, 6, 3]]), "target": np.array([[2, 7]])}
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(inputs)), ops.convert_to_numpy(trained(inputs)), rtol=1e-5, atol=1e-5
    )
    assert not np.array_equal(model(inputs, training=True), model(inputs, training=True))


def test_weights_that_do_not_fit_are_named(values):
    with pytest.raises(UserError, match=r"file: has no value for decoder/layer_0/.*another preset"):
        build_with(build, {name: value for name, value in values.items() if "decoder" not in name}, "file")
    with pytest.raises(UserError, match=r"file: \S+ has shape \(.*\), but \(.*\) is needed: .* another preset"):
        build_with(lambda: build(width=4), values, "file")
    assert build().built  # a failure leaves nothing behind


def test_keras_is_loaded_without_what_nothing_here_uses():
    program = (
        "import sys, gc\nfrom app.cli.startup import load_keras\nload_keras()\n"
        "loaded = 'matplotlib' in sys.modules\n"
        "try:\n    import matplotlib.pyplot\nexcept ImportError as error:\n    assert 'None' not in str(error)\n"
        "import keras\nprint(loaded, gc.isenabled(), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "False True True\n"
