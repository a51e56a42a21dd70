"""The tests of search once more on the other backends of Keras, which a process chooses once."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_search_passes_its_tests_on_the_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed; the extra `backends` brings it")
    files = sorted(path for path in Path(__file__).parent.glob("test_search_*.py") if path.name != Path(__file__).name)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *map(str, files)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
