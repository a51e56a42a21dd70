"""A memory that is declared here, and nowhere else, does all that the others do."""

import contextlib
import json
from dataclasses import dataclass, fields

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from app.cli import main as cli
from app.presets.preset import load_preset
from app.presets.text import reference
from app.runs.run import Run
from app.training.train import train
from models import memories
from models.memories import kinds, memory, settings_of
from models.memories.base import Memory, where
from models.options import option
from tests.app.kill_training import differences
from tests.app.toy_training import write_corpus, write_preset

# No reader would call a memory so.
KIND = "last_of_tests"


@dataclass(frozen=True)
class LastSettings:
    """The mean of the last window."""

    scale: float = option(1.0, "factor on what is remembered", above=0.0)


@keras.saving.register_keras_serializable(package="tests")
class LastMemory(Memory):
    """Remembers the mean of the positions of the last window, times a weight."""

    def __init__(self, width, scale=1.0, **kwargs):
        super().__init__(width, **kwargs)
        self.scale = scale

    def build(self, *_):
        self.factor = self.add_weight(shape=(self.width,), initializer="ones", name="factor")

    def initial_state(self, batch):
        return {"last": ops.zeros((batch, 1, self.width), "float32")}

    def prepare(self, x):
        return self.scale * ops.cast(self.factor, "float32") * ops.cast(x, "float32")

    def write(self, prepared, here, state):
        weights = ops.cast(here, "float32")[:, None]
        weights = weights / ops.maximum(ops.sum(weights, axis=-1, keepdims=True), 1.0)
        anything = ops.any(here, axis=1)
        after = where(anything, {"last": ops.matmul(weights, prepared)}, state)
        return after, (ops.cast(anything, "float32")[:, None, None], weights)

    def view(self, state):
        last = state["last"]
        return ops.cast(last, self.compute_dtype), ops.ones(ops.shape(last)[:-1], "bool")

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


# A memory of one vector.
pytestmark = pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
CHANGES = [
    "windows=segments",
    "lanes=3",
    "back_propagation=2",
    "training.batch_tokens=96",
    "vocabulary=340",
    f"memory.kind={KIND}",
    "scale=2.0",
    "read_bias=0.0",
    "updates=12",
    "checkpoint_every=4",
    "warmup=3",
    "bleu_lines=4",
    "max_extra=2",
    "deterministic=true",
]


class Interrupted(Exception):
    """Ends a training as a kill would."""


@pytest.fixture(scope="module", autouse=True)
def declared():
    """Registers the memory as a decorator in its file would, for these tests alone."""
    memory(KIND, LastSettings)(LastMemory)
    yield
    for registry in (memories._settings, memories._layers, memories._modules):
        registry.pop(KIND)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, declared):
    """A corpus of documents, and a run with this memory on it."""
    folder = tmp_path_factory.mktemp("own")
    corpus = write_corpus(folder / "toy", train=60, validation=12, document=4)
    for language in ("en", "de", "doc"):
        (corpus / f"{language}.test.txt").write_text((corpus / f"{language}.validation.txt").read_text())
    with eager():
        train(preset_in(folder), folder / "run")
    return folder


@contextlib.contextmanager
def eager():
    """Runs functions as they are, which for a few updates is faster than to compile them."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def preset_in(folder):
    return load_preset(write_preset(folder, folder / "toy"), CHANGES)


def test_presets_offer_it(folder):
    assert kinds()[-1] == KIND and [key.name for key in fields(settings_of(KIND))] == ["scale"]
    kept = (folder / "run" / "preset.toml").read_text()
    assert f"[memory.{KIND}]\nscale = 2.0  # factor on what is remembered" in kept and "[memory.gru]" not in kept
    assert f"## `[memory.{KIND}]`" in reference()


def test_it_is_trained(folder):
    weights = Run.open(folder / "run").weights("last")[1]
    for side in ("source", "target"):
        assert np.abs(weights[f"{side}_memory/factor"] - 1).max() > 1e-4


def test_it_goes_on_after_an_interruption_as_if_there_had_been_none(folder, monkeypatch):
    from app.training.supervisor import Supervisor

    log = Supervisor._log

    def interrupted(self, *args):
        log(self, *args)
        if self.journal.update == 6:
            raise Interrupted

    monkeypatch.setattr(Supervisor, "_log", interrupted)
    with eager():
        with pytest.raises(Interrupted):
            train(preset_in(folder), folder / "again")
        monkeypatch.undo()
        train(preset_in(folder), folder / "again")
    assert differences(folder / "run", folder / "again") == []


def test_it_translates_and_shows_what_it_read(folder, capsys):
    out, shown = folder / "out.txt", folder / "shown.jsonl"
    source = str(folder / "toy" / "en.validation.txt")
    options = ["--document", "--output", str(out), "--show-memory", str(shown)]
    assert cli.main(["translate", str(folder / "run"), source, *options]) == 0, capsys.readouterr().err
    assert len(out.read_text().splitlines()) == 12
    first, second = map(json.loads, shown.read_text().splitlines()[:2])
    assert first.keys() == second.keys() and first != second


def test_it_is_scored(folder, capsys):
    command = ["evaluate-documents", str(folder / "run"), "--corpus", str(folder / "toy"), "--split", "validation"]
    assert cli.main(command) == 0, capsys.readouterr().err
    assert "d-BLEU" in capsys.readouterr().out


def test_it_is_probed(tmp_path, monkeypatch, eagerly):
    from app.probe import learning

    monkeypatch.setattr(learning, "MODEL", {**learning.MODEL, "encoder_layers": 1, "width": 8, "hidden": 8, "heads": 2})
    for name, value in {"LANES": 4, "WINDOWS": 4, "CHECK_EVERY": 1, "CHECKED": 4}.items():
        monkeypatch.setattr(learning, name, value)
    options = ["--minutes", "0.0001", "--distances", "1", "2", "--documents", "4", "--output", str(tmp_path)]
    assert cli.main(["probe", "--memory", KIND, "--set", "scale=0.5", *options]) == 0
    found = json.loads((tmp_path / "probe.json").read_text())["memories"][KIND]
    assert found["settings"]["scale"] == 0.5 and len(found["recall"]) == 2
    assert KIND.encode() in (tmp_path / "recall.svg").read_bytes()
