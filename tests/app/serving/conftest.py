"""One run and one server for all tests that need a process, and a browser for those of the page."""

import importlib.util

import pytest

from app.translation.translator import Translator
from tests.app.export.test_export_ctranslate2 import new_run
from tests.app.serving.browser import CHROMIUM, WIDE, chromium
from tests.app.serving.phrase_model import phrase_server
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


@pytest.fixture(scope="module")
def phrases():
    """A server that knows a short text by heart."""
    with phrase_server() as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    """Chromium, where it is installed."""
    if not CHROMIUM.exists() or not importlib.util.find_spec("playwright"):
        pytest.skip("THE PAGE IN A BROWSER IS NOT TESTED: needs Debian's chromium and the package playwright")
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser):
    """Opens the page of a server; no script may fail, and the browser may have nothing to block."""
    contexts, complaints = [], []

    def open_page(server, viewport=WIDE, locale="en-US", **options):
        context = browser.new_context(viewport=viewport, locale=locale, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(server.url)
        page.locator("#direction:not(:empty), #key-dialog[open]").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [text for text in complaints if not text.startswith("Failed to load resource")]
