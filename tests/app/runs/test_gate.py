"""The gate in a run's folder: read as it was written, for the settings by which it was learnt."""

import json
from types import SimpleNamespace

import pytest

from app.presets.preset import Preset
from app.runs.gate import FILE, GateWeights, read_gate, write_gate
from data.errors import UserError

GATE = GateWeights([[0.5, -1.0], [2.0, 0.25]], [0.1, -0.2])


def run(folder, *changes):
    return SimpleNamespace(path=folder, preset=Preset("toy").with_overrides(changes))


def test_a_gate_comes_back_where_the_settings_ask_for_it(tmp_path):
    learnt = run(tmp_path, "memory.retrieval.gate=learnt")
    write_gate(learnt, GATE, {"test_set": "toys"})
    assert read_gate(learnt) == GATE and read_gate(run(tmp_path)) is None


def test_a_gate_that_does_not_fit_is_refused(tmp_path):
    learnt = run(tmp_path, "memory.retrieval.gate=learnt")
    with pytest.raises(UserError, match=r"missing.*weitblick tune .* --learn"):
        read_gate(learnt)
    write_gate(learnt, GATE, {})
    with pytest.raises(UserError, match="learnt with memory.retrieval.neighbours=8, not 4"):
        read_gate(run(tmp_path, "memory.retrieval.gate=learnt", "memory.retrieval.neighbours=4"))
    content = json.loads((tmp_path / FILE).read_text())
    content["bias"][0] = 7.0
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(UserError, match="edited or damaged"):
        read_gate(learnt)
