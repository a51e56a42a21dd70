import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app.cli import main as cli
from app.probe import learning
from app.probe.batches import Shape
from app.probe.documents import Task
from app.probe.recall import Examiner

REPOSITORY = Path(__file__).resolve().parents[3]
TASK = Task(keys=4, values=4, facts=2, fillers=4)


class Oracle:
    """Answers by what it has read itself; its memory is each row's values by key, 0 where none was told."""

    def __init__(self, task: Task, forgets: bool = False):
        self.task, self.forgets = task, forgets
        self.output_embedding = SimpleNamespace(logits=lambda states: states)

    def initial_memory(self, batch):
        return {"values": np.zeros((batch, self.task.keys), "int32")}

    def document_states(self, inputs, memory, training=None):
        inputs = {name: np.asarray(value) for name, value in inputs.items()}
        values = np.array(memory["values"])
        states = np.zeros((*inputs["target"].shape, self.task.vocabulary), "float32")
        for row in range(len(values)):
            for window, reset in enumerate(inputs["resets"][row], start=1):
                if reset or self.forgets:
                    values[row] = 0
                source = inputs["source"][row][inputs["source_windows"][row] == window]
                where = np.flatnonzero(inputs["target_windows"][row] == window)
                if source.size and source[0] == 4:
                    values[row, source[1] - 6] = source[2] + self.task.words
                if source.size and source[0] == 5:
                    states[row, where[0], values[row, source[1] - 6]] = 1.0
        return states, {"values": values}


@pytest.mark.parametrize("distance", [1, 3, 4, 5, 40])
def test_the_examiner_carries_memory_over_batches_to_every_question(eagerly, distance):
    shape = Shape(lanes=8, windows=4)
    found = Examiner(Oracle(TASK), shape).recall(TASK, distance, 20, seed=3)
    assert (found.right, found.asked, found.distance) == (20, 20, distance)
    assert Examiner(Oracle(TASK, forgets=True), shape).recall(TASK, distance, 20, seed=3).right == 0


@pytest.fixture
def tiny(monkeypatch, eagerly):
    """A smaller model, fewer lanes, and a check after each update."""
    smaller = {"encoder_layers": 1, "width": 8, "hidden": 8, "heads": 2}
    monkeypatch.setattr(learning, "MODEL", {**learning.MODEL, **smaller})
    for name, value in {"LANES": 4, "WINDOWS": 4, "CHECK_EVERY": 1, "CHECKED": 4}.items():
        monkeypatch.setattr(learning, name, value)


def test_lessons_go_on_when_they_are_known_and_end_when_all_are(tiny, monkeypatch):
    monkeypatch.setattr(learning, "GOOD", 0.0)
    monkeypatch.setattr(learning, "PERFECT", 0.0)
    seen = []
    learnt = learning.learn(TASK, {"kind": "concat"}, 1, 8, 60.0, 1, seen.append)
    assert [(progress.update, progress.keys, progress.length) for progress in seen] == [(1, 2, 4), (2, 4, 4), (3, 4, 8)]
    assert learnt.progress == seen[-1] and learnt.weights > 1000
    assert learnt.examiner.shape == Shape(4, 2, 2)


def test_training_ends_in_time_and_is_the_same_again(tiny):
    losses = []
    for _ in range(2):
        seen = []
        learning.learn(TASK, {"kind": "none"}, 1, 8, 1e-4, 7, seen.append)
        assert [progress.update for progress in seen] == [1]
        losses.append(seen[0].loss)
    assert losses[0] == losses[1] > 0


def test_the_command_keeps_results_and_trains_only_what_is_missing(tiny, monkeypatch, tmp_path, capsys):
    options = ["--minutes", "0.0001", "--distances", "2", "1", "2", "--documents", "4", "--output", str(tmp_path)]
    assert cli.main(["probe", "--memory", "none", *options]) == 0
    written = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))
    assert list(written["memories"]) == ["none"] and written["distances"] == [1, 2]
    assert cli.main(["probe", "--memory", "gru", "none", "--set", "slots=2", *options]) == 0
    both = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))["memories"]
    assert list(both) == ["none", "gru"] and both["none"] == written["memories"]["none"]
    assert both["gru"]["settings"]["slots"] == 2
    assert both["gru"]["recall"][0]["asked"] == 4
    assert both["gru"]["state_bytes"] == 2 * 2 * 8 * 4  # sides, slots, width, float32
    assert both["none"]["state_bytes"] == 0 and both["none"]["promised"] == {"direct": 0, "most": 0}
    assert (tmp_path / "recall.svg").stat().st_size > 1000
    printed = capsys.readouterr()
    assert "gru" in printed.out and "recall.svg" in printed.out
    assert printed.err == ""


@pytest.mark.slow
def test_memories_of_one_kind_are_compared_by_name(tiny, tmp_path, capsys):
    options = ["--minutes", "0.0001", "--distances", "1", "--documents", "4", "--output", str(tmp_path)]
    names = ["gru", "gru layers=all", "gru layers=all read=attention", "compressive rate=2", "compressive rate=4"]
    assert (
        cli.main(
            [
                "probe",
                "--memory",
                *names,
                "gru  layers=all",
                "recurrence",
                "gru+recurrence cache=4",
                "--set",
                "slots=3",
                *options,
            ]
        )
        == 0
    )
    found = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))["memories"]
    assert list(found) == [
        "compressive rate=2",
        "compressive rate=4",
        *names[:3],
        "gru+recurrence cache=4",
        "recurrence",
    ]
    assert found["compressive rate=2"]["promised"] == {"direct": 24.0, "most": 48.0}
    slots, cached = 3 * 8 * 4, 8 * 4 + 1  # a layer's slots; a cached position, and whether it is filled
    expected = {
        "gru": 2 * slots,  # one on each side
        "gru layers=all": 2 * slots,  # one layer on each side
        "recurrence": 2 * 64 * cached,
        "gru+recurrence cache=4": 2 * slots + 2 * 4 * cached,
        "compressive rate=2": 2 * (33 * cached + 32 * 8 * 4 + 4),  # and the length
        "compressive rate=4": 2 * (35 * cached + 32 * 8 * 4 + 4),
    }
    assert {name: found[name]["state_bytes"] for name in expected} == expected
    assert "compressive rate=2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--facts", "9"], "--facts 9: each needs its own key; add --keys 9 or more"),
        (["--distances", "0"], "--distances 0: must be at least 1"),
        (["--minutes", "0"], "--minutes 0: must be above 0"),
        (["--longest", "3"], "--longest 3: must be at least 4"),
        (["--set", "slots=none"], "memory.gru.slots: expected a whole number"),
        (["--memory", "gru", "lstm"], '--memory "lstm": expected one of none, concat'),
        (["--memory", "recurrence", "--set", "layers=top"], '"recurrence" holds the inputs of layers'),
        (["--set", "kind=gru"], "--set kind=gru: use --memory gru"),
        (["--set", "model.width=8"], "only keys of the sections [memory] and [memory.KIND] can be changed"),
    ],
)
def test_errors(capsys, tmp_path, options, expected):
    assert cli.main(["probe", "--output", str(tmp_path), *options]) == 2
    assert expected in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_help_has_examples_and_loads_nothing_heavy():
    program = (
        "import sys\nfrom app.cli.main import main\n"
        "try:\n    main(['probe', '--help'])\n"
        "finally:\n    print(sorted({'tensorflow', 'keras', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout.endswith("[]\n") and "weitblick probe" in done.stdout.partition("examples:")[2]
