"""Settings for all tests: quiet TensorFlow, repeatable hypothesis, and the corpora that only some machines have."""

import gc
import os
import signal
from pathlib import Path

import hypothesis
import pytest

from tests.processes import count

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# A shell starts its background jobs with SIGINT ignored, and what a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# As the command line does: tracing makes many objects that live, and collecting them again and again takes time.
gc.set_threshold(50_000, 10, 10)

hypothesis.settings.register_profile(
    "weitblick",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("weitblick")

# Says in red what could not be tested.
pytest_plugins = ["tests.left_out"]
REPOSITORY = Path(__file__).resolve().parents[1]
# Folders whose files share fixtures that take long to make, so that one process has them all.
TOGETHER = ("app/serving",)
# What takes longest. It begins first, so that at the end no process is left alone with one of them.
LONG = (
    "models/test_backends.py",
    "models/test_search_backends.py",
    "app/serving",
    "notebooks/test_notebooks.py",
    "data/test_beam.py",
    "app/training/test_cluster.py",
    "app/training/test_distribution.py",
    "app/training/test_resume.py",
    "app/cli/test_commands.py",
    "app/cli/test_compare.py",
    "app/export/test_export_ctranslate2.py",
    "test_documents.py",
)


def pytest_addoption(parser):
    parser.addoption("--share", metavar="I/N", help="only every N-th file from the I-th on; 0/3, 1/3 and 2/3 are all")


@pytest.hookimpl(trylast=True)  # after those that are not wanted have been taken out
def pytest_collection_modifyitems(config, items):
    """Takes out the files of other shares and puts the longest ones first; the order of all else stays."""
    if share := config.getoption("share"):
        number, count = map(int, share.split("/"))
        ours = sorted({item.path for item in items})[number::count]
        config.hook.pytest_deselected(items=[item for item in items if item.path not in ours])
        items[:] = [item for item in items if item.path in ours]
    places = {REPOSITORY / "tests" / name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, places.get(item.path.parent, len(places))))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    return count()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Gives each file to one process, and some folders as if they were one file."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return next((folder for folder in TOGETHER if file.startswith(f"tests/{folder}/")), file)

    return Scheduling(config, log)


@pytest.fixture(autouse=True, scope="module")
def _small_heap():
    """Keeps what earlier files left, mostly graphs of TensorFlow, out of every garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Keeps tests out of the user's cache folder and away from the user's corpora."""
    monkeypatch.setenv("WEITBLICK_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("WEITBLICK_CORPORA", raising=False)


@pytest.fixture(scope="session")
def shared_corpora() -> Path:
    """The folder of corpora beside the repository (or in WEITBLICK_CORPORA); skips the test where there is none."""
    named = [Path(folder) for folder in os.environ.get("WEITBLICK_CORPORA", "").split(os.pathsep) if folder]
    for folder in [*named, REPOSITORY.parent / "shared" / "corpora"]:
        if (folder / "newstest" / "en.test.txt").exists():
            return folder
    pytest.skip("needs the corpora of ../shared/corpora (or WEITBLICK_CORPORA), which this machine does not have")
