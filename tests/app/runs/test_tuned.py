"""What `weitblick tune` chose stays when a training is started again, until the user says something else."""

import io

import pytest
from rich.console import Console

from app.presets.preset import load_preset
from app.runs.run import Run
from app.runs.tuned import TUNED, tune
from app.training import train as training
from app.training.train import open_or_create, train
from app.training.workers.agreement import open_shared
from tests.app.toy_training import toy_preset

NEIGHBOURS, BEAM = "memory.retrieval.neighbours", "search.beam"


@pytest.fixture
def preset(tmp_path):
    return toy_preset(tmp_path)


@pytest.fixture
def run(tmp_path, preset):
    """A run with a checkpoint, whose preset reads 8 neighbours; 4 were chosen."""
    run = Run.create(tmp_path / "run", preset)
    run.checkpoints.save(10, {}, {}, {})
    tune(run, [f"{NEIGHBOURS}=4"])
    return run


def value(run, key=NEIGHBOURS):
    return Run.open(run.path).preset.value(key)


def test_the_same_training_keeps_it(run, preset):
    _, changed = open_or_create(run.path, preset)
    assert value(run) == 4 and not changed
    assert open_shared(run.path, preset, patience=0).preset == Run.open(run.path).preset


def test_other_keys_change_beside_it(run, preset):
    _, changed = open_or_create(run.path, preset.with_overrides([f"{BEAM}=2"]))
    assert (value(run), value(run, BEAM)) == (4, 2) and [change.key for change in changed] == [BEAM]


def test_another_value_in_the_preset_counts_from_then_on(run, preset):
    open_or_create(run.path, preset.with_overrides([f"{NEIGHBOURS}=16"]))
    assert value(run) == 16
    open_or_create(run.path, preset)
    assert value(run) == 8 and not Run.open(run.path).summary()[TUNED]


def test_a_key_that_is_named_has_the_value_named_even_if_it_is_that_of_the_preset(run, preset):
    overrides = ["neighbours=8"]
    assert preset.keys_in(overrides) == {NEIGHBOURS}
    open_or_create(run.path, preset.with_overrides(overrides), preset.keys_in(overrides))
    assert value(run) == 8
    open_or_create(run.path, preset)
    assert value(run) == 8


def test_choosing_again_remembers_what_the_preset_said_at_first(run, preset):
    tune(Run.open(run.path), [f"{NEIGHBOURS}=2"])
    open_or_create(run.path, preset)
    assert value(run) == 2
    tune(Run.open(run.path), [f"{NEIGHBOURS}=8"])
    assert Run.open(run.path).summary()[TUNED] == {}


def test_a_damaged_preset_is_restored_with_it(run, preset):
    (run.path / "preset.toml").write_text("")
    open_or_create(run.path, preset)
    assert value(run) == 4


def test_the_user_is_told_what_changes_and_what_stays(run, preset, monkeypatch):
    monkeypatch.setattr(training, "_train", lambda *_: None)
    console = Console(file=io.StringIO(), soft_wrap=True)
    train(preset.with_overrides([f"{BEAM}=2"]), run.path, console=console)
    printed = console.file.getvalue()
    assert f"its preset has changed: {BEAM}: 4 -> 2." in printed
    assert f"keeps what `weitblick tune` chose: {NEIGHBOURS}: 8 -> 4." in printed
    console = Console(file=io.StringIO())
    train(load_preset(run.path / "preset.toml"), run.path, console=console)
    assert console.file.getvalue() == ""
