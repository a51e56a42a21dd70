"""The same weights give the same numbers on TensorFlow, JAX and PyTorch: logits, search, loss, gradients, updates."""

import functools
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.models.backend_worker import KINDS, MEMORIES, VOCABULARY

pytestmark = pytest.mark.backends
LOSSES = ("loss", "likelihood", "states_gradient", "table_gradient")
TWIN_LOSSES = [f"twins_{name}" for name in (*LOSSES, "divergence")]
REPOSITORY = Path(__file__).resolve().parents[2]


@functools.cache
def results(backend):
    """What `backend_worker` computes in a process of its own, since a process has one backend."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed; the extra `backends` brings it")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.npz"
        command = [sys.executable, "-m", "tests.models.backend_worker", str(path)]
        environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        with np.load(path) as saved:
            return dict(saved)


def equal(backend, name, tolerance=1e-5):
    ours, expected = results(backend)[name], results("tensorflow")[name]
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("kind", KINDS)
class TestEqual:
    def test_encodings_and_logits(self, backend, kind):
        equal(backend, f"{kind}/encodings")
        equal(backend, f"{kind}/logits")

    def test_cached_steps(self, backend, kind):
        equal(backend, f"{kind}/steps")
        real = np.s_[:, :2]  # Later positions of short rows are padding for the whole target, and not for a step.
        ours = results(backend)
        np.testing.assert_allclose(ours[f"{kind}/steps"][real], ours[f"{kind}/logits"][real], rtol=1e-4, atol=1e-4)

    def test_search(self, backend, kind):
        for name in ("greedy", "beam"):
            np.testing.assert_array_equal(results(backend)[f"{kind}/{name}"], results("tensorflow")[f"{kind}/{name}"])
            equal(backend, f"{kind}/{name}_scores")

    def test_updates_by_fit(self, backend, kind):
        for name in ("history", "nll", "trained"):
            equal(backend, f"{kind}/{name}", 1e-4)
        history = results(backend)[f"{kind}/history"]
        assert history[-1] < history[0]


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_text_generator(backend):
    for name in ("states", "steps"):
        equal(backend, f"generator/{name}")
    for name in ("loss", "carried"):
        equal(backend, f"generator/{name}", 1e-4)


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("kind", MEMORIES)
def test_documents(backend, kind):
    for name in ("states", "steps"):
        equal(backend, f"document-{kind}/{name}")
    extra = [name for name in ("rebuild",) if f"document-{kind}/{name}" in results("tensorflow")]
    assert bool(extra) == (kind in ("prism", "compressive"))
    for name in ("loss", "nll", "ranking", "carried", *extra):
        equal(backend, f"document-{kind}/{name}", 1e-4)
    history, ranking = (results(backend)[f"document-{kind}/{name}"] for name in ("loss", "ranking"))
    assert history[-1] < history[0]
    assert ranking[1] == 0 < min(ranking[0], ranking[2]), "one that is not compared has none"


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
@pytest.mark.parametrize("name,tolerance", [("bdia", 0), ("coupling", 1e-5), ("couplings", 1e-5)])
def test_what_was_forgotten_is_found_again(backend, name, tolerance):
    """That of BDIA bit by bit."""
    states, undone = (results(backend)[f"reversing/{name}/{way}"] for way in ("states", "undone"))
    np.testing.assert_allclose(undone, states, rtol=tolerance, atol=tolerance)
    equal(backend, f"reversing/{name}/states", 0.05 if name != "couplings" else 1e-5)  # bfloat16 products


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
@pytest.mark.parametrize("name", ["reversible", "bdia"])
def test_dropout_is_repeated_on_the_way_back(backend, name):
    """Otherwise the gradients of a stack that forgets would not be those of one that keeps all."""
    forgetting, keeping = (results(backend)[f"reversing/{name}/{way}"] for way in ("forgetting", "keeping"))
    assert np.abs(keeping).max() > 0.1
    np.testing.assert_allclose(forgetting, keeping, rtol=1e-3, atol=1e-4 * np.abs(keeping).max())


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("name", [*LOSSES, *TWIN_LOSSES])
def test_loss_and_its_gradient(backend, name):
    assert np.abs(results(backend)[f"loss/{name}"]).max() > 0.1
    equal(backend, f"loss/{name}")


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_dropout(backend):
    """Backends draw different numbers; the rate and the mean are the same."""
    dropped = results(backend)["dropout"]
    assert (dropped == 0).mean() == pytest.approx(77 / 256, abs=0.006)
    assert dropped.mean() == pytest.approx(1, abs=0.01)
    noisy = results(backend)["noisy"]
    assert noisy.shape == (3, 5, VOCABULARY) and np.isfinite(noisy).all()
    assert np.abs(noisy - results(backend)["paper/logits"]).max() > 0.1
