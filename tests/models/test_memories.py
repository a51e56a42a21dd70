"""Memories: the shared layer test with a window for each position, the cells' formulas, and what is kept and when."""

import functools
import subprocess
import sys
from dataclasses import fields, make_dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from models.attention import SelfAttention
from models.memories import WITHOUT_LAYER, in_layers, kinds, memory, new_memory, settings_of
from models.memories.base import Memory, Row, forgotten_bits, windows_of
from models.memories.cells import CELLS, GRUCell, MinimalCell
from models.memories.gru import GRUMemory, GRUSettings
from models.memories.inside import LayerMemory
from models.memories.reading import GatedRead, HeadGate
from models.memories.summaries import SummaryMemory
from models.past import Past
from tests.models.layer_checks import (
    FLOATS,
    MIXED,
    WIDTH,
    Subject,
    check_finite,
    check_no_future,
    check_one_trace,
    check_padding,
    check_saves,
    check_trains,
    equal,
    numbers,
)

REPOSITORY = Path(__file__).resolve().parents[2]
KINDS = {
    "gru": {"kind": "gru", "slots": 3},
    "minimal": {"kind": "gru", "slots": 2, "cell": "minimal"},
    "fixed": {"kind": "fixed", "segments": 2},
    "variable": {"kind": "variable", "summaries": 2, "segments": 3},
    "prism": {"kind": "prism", "places": 3, "share": 0.5, "couplings": 2},
    "cache": {"kind": "cache", "cache": 3},
    "recurrence": {"kind": "recurrence", "cache": 2},
    "recurrence-gated": {"kind": "recurrence", "cache": 2, "read": "gated_attention", "heads": 2, "bias": -0.5},
    "compressive": {"kind": "compressive", "cache": 1, "compressed": 2, "rate": 2},
    "compressive-queries": {"kind": "compressive", "cache": 2, "compressed": 1, "rate": 3, "compression": "queries"},
    "compressive-attention": {"kind": "compressive", "cache": 1, "compressed": 2, "rate": 2, "rebuilt": "attention"},
}


@keras.saving.register_keras_serializable(package="tests")
class Remembering(keras.layers.Layer):
    """A memory and its reading, where each position is a window and the third begins a document."""

    def __init__(self, memory, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.settings = {"memory": memory, "dropout": dropout}
        self.in_layers = in_layers(memory["kind"])
        options = {"read": "attention"} if self.in_layers else {"dropout": dropout, "bias": 1.0}
        self.inside = LayerMemory(WIDTH, **{**options, **memory}, dtype=self.dtype_policy, name="inside")
        if self.in_layers:
            self.attention = SelfAttention(WIDTH, 2, dropout, rotary=True, dtype=self.dtype_policy, name="attention")

    @property
    def memory(self):
        return self.inside.memory

    def build(self, *_):
        self.inside.build((None, None, WIDTH))
        if self.in_layers:
            self.attention.build((None, None, WIDTH))

    def call(self, x, real, training=None):
        batch, length = ops.shape(x)[:2]
        numbers = ops.arange(1, length + 1, dtype="int32")
        windows = ops.where(real, numbers, 0)
        resets = ops.repeat(ops.equal(numbers, 3)[None], batch, axis=0)
        row = Row(windows, resets, real)
        attention = self.attention if self.in_layers else None
        reading, _ = self.inside(x, row, self.memory.initial_state(batch), attention=attention, training=training)
        if not self.in_layers:
            return reading.plus(x)
        own = ops.logical_and(ops.equal(windows[:, None], windows[..., None]), real[:, None])
        options = {"attention_mask": own, "positions": windows_of(row).positions, "past": reading.past}
        return x + self.attention(x, **options, training=training)

    def get_config(self):
        return {**super().get_config(), **self.settings}


def subject_of(name):
    def make(dropout=0.0, dtype="float32"):
        layer = Remembering(KINDS[name], dropout, dtype=dtype)
        layer.build()
        return layer

    def call(layer, x, real, training):
        return layer(x, real, training=training)

    return Subject(name, make, call, causal=True)


SUBJECTS = [subject_of(name) for name in KINDS]


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_serialises_and_loads(subject, tmp_path):
    check_saves(subject, tmp_path)


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_padding_never_changes_a_real_position(subject):
    check_padding(subject)


@pytest.mark.parametrize("training,dropout", [(False, 0.0), (True, 0.3)])
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_no_window_depends_on_a_later_one(subject, training, dropout):
    check_no_future(subject, dropout, training)


@pytest.mark.parametrize("dtype", [*FLOATS, *MIXED])
@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_finite_in_every_precision(subject, dtype):
    check_finite(subject, dtype)


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_a_few_training_steps_lower_a_loss(subject):
    check_trains(subject)


@pytest.mark.parametrize("subject", SUBJECTS, ids=str)
def test_one_trace_serves_unknown_lengths(subject):
    check_one_trace(subject, training=True)


def test_the_gru_is_that_of_keras_with_its_weights():
    mine = GRUCell(WIDTH, keep_bias=1.0)
    mine.build()
    theirs = keras.layers.GRUCell(WIDTH, reset_after=False)
    theirs.build((None, WIDTH))
    parts = [mine.update, mine.reset, mine.candidate]  # Keras' order; its kernel of x and its kernel of h are two
    kernels = [np.split(numbers(dense.kernel), [WIDTH]) for dense in parts]
    of_h, of_x = (np.concatenate([kernel[i] for kernel in kernels], axis=1) for i in (0, 1))
    theirs.set_weights([of_x, of_h, np.concatenate([numbers(dense.bias) for dense in parts])])
    random = np.random.default_rng(0)
    h, x = random.normal(size=(2, 5, WIDTH)).astype("float32")
    new, kept = mine(h, x)
    equal(numbers(new), numbers(theirs(x, h)[0]))
    assert np.all((numbers(kept) > 0) & (numbers(kept) < 1))


def test_the_minimal_cell_by_hand():
    cell = MinimalCell(1, keep_bias=2.0)
    cell.build()
    cell.forget.set_weights([np.array([[0.5], [-1.0]]), np.array([0.25])])
    cell.candidate.set_weights([np.array([[2.0], [1.0]]), np.array([-0.5])])
    forget = 1 / (1 + np.exp(-(0.5 * 0.3 - 0.8 + 0.25)))
    candidate = np.tanh(2.0 * forget * 0.3 + 0.8 - 0.5)
    new, kept = cell(np.array([[0.3]], "float32"), np.array([[0.8]], "float32"))
    equal(numbers(new), [[(1 - forget) * 0.3 + forget * candidate]])
    equal(numbers(kept), [[1 - forget]])


def test_the_bias_says_how_much_a_cell_keeps_at_the_start():
    for cell in (GRUCell(WIDTH, keep_bias=4.0), MinimalCell(WIDTH, keep_bias=4.0)):
        cell.build()
        zeros = np.zeros((1, WIDTH), "float32")
        equal(numbers(cell(zeros, zeros)[1]), np.full((1, WIDTH), 1 / (1 + np.exp(-4.0))))


def inputs(length=4, seed=0):
    return np.random.default_rng(seed).normal(size=(2, length, WIDTH)).astype("float32")


def test_a_gate_of_a_half_forgets_one_bit():
    kept = np.array([[[0.5, 0.5], [1.0, 0.25], [0.0, 0.0], [1.0, 1.0]]])
    equal(forgotten_bits(ops.convert_to_tensor(1 - kept, "float32")), [[1.0, 1.0, 32.0, 0.0]])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_remembered_changes_nothing(kind):
    layer = Remembering(KINDS[kind])
    layer.build()
    memory = functools.partial(layer.memory, attention=getattr(layer, "attention", None))
    start, resets = layer.memory.initial_state(2), np.array([[0], [0]])
    windows, remembered = np.array([[1, 1, 1, 0], [0, 0, 0, 0]]), np.array([[0, 0, 0, 0], [1, 1, 1, 1]])
    _, state, _ = memory(inputs(), Row(windows, resets, remembered), start)
    # Some backends sort the keys when they flatten a dictionary, others do not.
    assert list(state) == list(start) == sorted(start)
    for name in start:
        np.testing.assert_array_equal(ops.convert_to_numpy(state[name]), ops.convert_to_numpy(start[name]))
    words = np.array([[1, 0, 1, 1], [0, 1, 0, 0]])
    _, some, _ = memory(inputs(), Row(np.ones_like(words), resets, words), start)
    changed = np.where(words[..., None], inputs(), 9.0)
    _, same, _ = memory(changed.astype("float32"), Row(np.ones_like(words), resets, words), start)
    for name in start:
        np.testing.assert_array_equal(ops.convert_to_numpy(some[name]), ops.convert_to_numpy(same[name]))


def test_summaries_are_a_queue_with_the_newest_at_its_end():
    memory = SummaryMemory(WIDTH, summaries=1, segments=2)
    memory.build()
    windows, resets = np.array([[1, 2, 3, 0], [1, 0, 0, 0]]), np.zeros((2, 3), "int32")
    past, state, _ = memory(inputs(), Row(windows, resets, windows > 0), memory.initial_state(2))
    values = ops.reshape(past.values, (2, 3, 2, WIDTH))
    # The first position of each window; each may read two of six.
    assert ops.convert_to_numpy(past.mask)[0, :3].tolist() == [
        [False] * 6,
        [False, False, False, True, False, False],
        [False] * 4 + [True, True],
    ]
    ages = numbers(memory.ages)[:, 0]
    pushed = numbers(values) - ages
    equal(pushed[0, 2, 0], pushed[0, 1, 1])  # The first window's summary, one place further.
    equal(numbers(state["summaries"])[0, 0, 0], pushed[0, 2, 1])


def test_a_slot_adds_up_small_changes_in_low_precision():
    """A bfloat16 state would stay where it is, as each change is below its last digit."""
    memory = GRUMemory(WIDTH, slots=1, keep_bias=7.0, dtype="mixed_bfloat16")
    memory.build()
    x, state = 10 * inputs(1), memory.initial_state(2)
    before = numbers(state["slots"])
    windows, resets = np.ones((2, 1), "int32"), np.zeros((2, 1), "int32")
    for _ in range(100):
        _, state, _ = memory(x, Row(windows, resets, windows), state)
    assert state["slots"].dtype == "float32"
    assert np.abs(numbers(state["slots"]) - before).mean() > 0.02


def test_nothing_is_read_where_nothing_was_written():
    read = GatedRead(WIDTH, bias=5.0)
    read.build()
    past = Past(inputs(3, seed=1), np.array([[[True, False, True]], [[False, False, False]]]))
    added, gates, weights = read(inputs(), past, return_weights=True)
    assert np.all(numbers(added)[1] == 0)
    assert np.abs(numbers(added)[0]).max() > 0.01
    assert np.all(numbers(weights)[0][..., 1] == 0) and np.all(numbers(gates)[1] == 0)


def test_a_gate_divides_a_head_between_what_is_carried_and_its_window():
    """One key of the past, one of an earlier window of the row, and the position itself. The first head's gate is a
    quarter; the second's is a half for the first position and four fifths for the second."""
    gate = HeadGate(WIDTH, 2)
    gate.build()
    kernel = np.zeros((WIDTH, 2))
    kernel[0] = [0.0, 1.0]
    gate.dense.set_weights([kernel, np.array([-np.log(3), 0.0])])
    x = np.zeros((1, 2, WIDTH), "float32")
    x[0, 1, 0] = np.log(4)
    attention = SelfAttention(WIDTH, 2)
    attention.build((None, None, WIDTH))
    projections = np.zeros((WIDTH, 3 * WIDTH))
    projections[1, WIDTH], bias = 2 * np.log(3), np.eye(1, 3 * WIDTH)[0]
    attention.query_key_value.set_weights([projections, bias])  # the first head scores log 3 where a key's x has 1
    own = np.eye(2, dtype=bool)[None]
    row = np.array([[[False, False], [True, False]]])
    values = np.eye(1, WIDTH, 1, dtype="float32")[None]
    past = Past(values, np.array([[[True]]]), row=row, gate=gate(x))
    _, weights = attention(x, attention_mask=own, past=past, return_weights=True)
    first, second = numbers(weights)[0]
    equal(first, [[1 / 4, 3 / 4, 0], [3 / 16, 1 / 16, 3 / 4]])
    equal(second, [[1 / 2, 1 / 2, 0], [2 / 5, 2 / 5, 1 / 5]])


def test_unknown_kinds_and_settings_are_refused():
    with_layer = [kind for kind in kinds() if kind not in WITHOUT_LAYER]
    with pytest.raises(ValueError, match=f"one of {', '.join(kinds())}, got 'lstm'"):
        new_memory("lstm", WIDTH)
    with pytest.raises(ValueError, match=f"'concat' has no layer; choose from {', '.join(with_layer)}$"):
        new_memory("concat", WIDTH)
    with pytest.raises(ValueError, match="'gru' has no setting 'segments'; it has slots, cell, keep_bias"):
        new_memory("gru", WIDTH, segments=2)
    with pytest.raises(ValueError, match="gru, minimal"):
        GRUMemory(WIDTH, cell="lstm")


def test_settings_read_from_the_text_of_a_file_are_those_of_the_file():
    assert kinds()[:3] == WITHOUT_LAYER and {"compressive", "gru", "fixed", "variable"} < set(kinds())
    read, declared = fields(settings_of("gru")), fields(GRUSettings)
    assert [(key.name, key.type, key.default, key.metadata) for key in read] == [
        (key.name, key.type, key.default, key.metadata) for key in declared
    ]
    assert read[1].metadata["choices"] == tuple(CELLS)
    assert settings_of("none")() == settings_of("concat")()


def test_every_kind_with_a_layer_passes_the_shared_checks():
    checked = {settings["kind"] for settings in KINDS.values()}
    assert checked == set(kinds()) - set(WITHOUT_LAYER), "add the kind to KINDS, with small settings"


def test_a_kind_belongs_to_one_file_and_its_settings_are_its_own():
    with pytest.raises(ValueError, match="memory kind 'gru' is taken by models.memories.gru"):
        memory("gru", GRUSettings)(type("Other", (Memory,), {}))
    general = make_dataclass("General", [("sides", str, "both")], frozen=True)
    with pytest.raises(ValueError, match="'sides' is one that all memories have"):
        memory("other", general)(type("Other", (Memory,), {}))


def test_reading_settings_imports_no_keras():
    program = (
        "import sys; from models.memories import settings_of as of; print(of('gru')().slots, 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout.split() == ["64", "False"], done.stderr
