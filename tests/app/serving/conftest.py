"""One run and one server for all tests that need a process."""

import pytest

from app.translation.translator import Translator
from tests.app.export.test_export_ctranslate2 import new_run
from tests.app.serving.server_process import serving

DOCUMENTS = ('documents.windows="segments"', 'memory.kind="gru"', "memory.gru.slots=4")


@pytest.fixture(scope="package")
def run(tmp_path_factory):
    """A run that reads documents; its weights were drawn, so that all it reads changes what it puts out."""
    return new_run(tmp_path_factory.mktemp("serving") / "run", *DOCUMENTS, "search.beam=2")


@pytest.fixture(scope="package")
def alone(run):
    """Its translator in this process."""
    return Translator.of_run(run)


@pytest.fixture(scope="package")
def server(run):
    """A server of the run, open to all on this machine."""
    with serving(run.path, "--rate", 0, "--seconds", 30) as process:
        yield process
        assert process.terminate() == 0
