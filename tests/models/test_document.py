"""The document Transformer: packed windows equal windows one by one, and nothing crosses where it must not."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops, tree

from data.packing import PackedWindow, pack
from models.document import DocumentTransformer
from models.memories import in_layers, kinds, parts_of
from models.search.state import repeat_rows
from models.teacher_forcing import DocumentTeacherForcing
from models.transformer import Transformer
from tests.models.layer_checks import call_with_same_seed, equal, numbers

VOCABULARY = 30
MEMORIES = {
    "none": {"kind": "none"},
    "gru": {"kind": "gru", "slots": 3},
    "gru-both": {"kind": "gru", "slots": 2, "sides": "both"},
    "gru-source": {"kind": "gru", "slots": 2, "sides": "encoder"},
    "fixed": {"kind": "fixed", "segments": 2},
    "variable-both": {"kind": "variable", "summaries": 2, "segments": 2, "sides": "both"},
    "cache-both": {"kind": "cache", "cache": 3, "sides": "both"},
    "cache-all": {"kind": "cache", "cache": 4, "layers": ["all"]},
    "prism-both": {"kind": "prism", "places": 4, "sides": "both"},
    "gru-all": {"kind": "gru", "slots": 2, "layers": ["all"]},
    "gru-second": {"kind": "gru", "slots": 2, "layers": ["2"], "sides": "encoder"},
    "gru-attention": {"kind": "gru", "slots": 2, "layers": ["all"], "read": "attention"},
    "recurrence": {"kind": "recurrence", "cache": 5},
    "recurrence-gated": {"kind": "recurrence", "cache": 5, "read": "gated_attention"},
    "compressive": {"kind": "compressive", "cache": 4, "compressed": 3, "rate": 2},
    "compressive-queries": {"kind": "compressive", "cache": 2, "compressed": 4, "rate": 3, "compression": "queries"},
    "compressive-gated": {"kind": "compressive", "cache": 4, "compressed": 3, "rate": 2, "read": "gated_attention"},
    "gru+recurrence": {"kind": "gru+recurrence", "slots": 2, "cache": 5},
    "both-in-layers": {"kind": "variable+compressive", "cache": 3, "rate": 2, "layers": ["2"]},
}
RELATIVE = tuple(name for name, settings in MEMORIES.items() if any(map(in_layers, parts_of(settings["kind"]))))
# Each memory with positions that it may have.
CASES = [
    *((kind, "rotary" if kind in RELATIVE else "sinusoidal") for kind in MEMORIES),
    ("gru-both", "rotary"),
    ("gru", "learned"),
    ("gru-attention", "rotary"),
]


def model_of(kind, positions="sinusoidal", dropout=0.0, read_bias=1.0, layers=1, dtype=None, **more):
    keras.utils.set_random_seed(3)
    memory = {**MEMORIES[kind], "read_bias": read_bias}
    layers = max(layers, 2) if memory.get("layers") or kind in RELATIVE else layers
    positions = "rotary" if kind in RELATIVE else positions
    sizes = {"encoder_layers": layers, "decoder_layers": layers, "width": 16, "hidden": 24, "heads": 2}
    options = {"norm": "pre", "positions": positions, "dropout": dropout, "dtype": dtype, "name": "transformer"}
    model = DocumentTransformer(VOCABULARY, memory=memory, **sizes, **options, **more)
    model.build()
    return model


def documents(seed=0, count=2, windows=4):
    """Windows of one to three segments, the first one of each document marked."""
    random = np.random.default_rng(seed)

    def segments(size):
        return [random.integers(4, VOCABULARY, random.integers(1, 5)).tolist() for _ in range(size)]

    sizes = random.integers(1, 4, (count, windows))
    return [[PackedWindow(segments(n), segments(n), 0, w == 0) for w, n in enumerate(own)] for own in sizes]


def test_memories_that_are_joined_keep_settings_of_the_same_name_apart():
    memory = {"kind": "prism+compressive", "layers": ["all"], "prism.rebuild": 0.25, "compressive.rebuild": 0.5}
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "width": 8, "hidden": 8, "heads": 2}
    model = DocumentTransformer(VOCABULARY, **sizes, positions="rotary", memory=memory)
    weights = {kind: layer.memory.rebuild for kind, layer in model.source_stack.at[0].items()}
    assert weights == {"prism": 0.25, "compressive": 0.5}
    with pytest.raises(ValueError, match="no setting 'rebuild'"):
        DocumentTransformer(VOCABULARY, **sizes, positions="rotary", memory={**memory, "rebuild": 1.0})


def window_rows(states, inputs, row, window):
    return numbers(states)[row][inputs["target_windows"][row] == window + 1]


@pytest.mark.parametrize("kind,positions", CASES)
def test_packed_windows_equal_windows_one_by_one(kind, positions):
    model, lanes = model_of(kind, positions), documents()
    packed, _ = pack(lanes, multiple=4)
    whole, memory = model.document_states(packed, model.initial_memory(2))
    carried = model.initial_memory(2)
    for window in range(4):
        inputs, _ = pack([[lane[window]] for lane in lanes], multiple=8)
        states, carried = model.document_states(inputs, carried)
        for row in range(2):
            equal(window_rows(states, inputs, row, 0), window_rows(whole, packed, row, window))
    for other in (carried, model.remember(packed, model.initial_memory(2))):
        for mine, theirs in zip(tree.flatten(memory), tree.flatten(other), strict=True):
            equal(numbers(ops.cast(mine, "float32")), numbers(ops.cast(theirs, "float32")))


def test_without_a_memory_it_is_a_transformer_with_the_same_weights():
    model = model_of("none")
    own = ("memory", "segment_shift", "begin_id", "end_id")
    settings = {key: value for key, value in model.settings.items() if key not in own}
    plain = Transformer(**settings, name="transformer")
    plain.build()
    assert [v.path for v in plain.weights] == [v.path for v in model.weights]
    plain.set_weights(model.get_weights())
    lane = [PackedWindow([[5, 6, 7]], [[8, 9]], 0, True), PackedWindow([[9, 4]], [[7, 7, 5, 6]], 0, False)]
    inputs, labels = pack([lane], multiple=1)
    states, _ = model.document_states(inputs, {})
    rows = {"source": np.array([[5, 6, 7, 3], [9, 4, 3, 0]]), "target": np.array([[2, 8, 9, 0, 0], [2, 7, 7, 5, 6]])}
    expected = numbers(plain.states(rows))
    equal(numbers(states)[0], np.concatenate([expected[0, :3], expected[1]]))
    assert labels.tolist() == [[8, 9, 3, 7, 7, 5, 6, 3]]


@pytest.mark.parametrize("kind,shape", [("gru-both", {}), ("recurrence-gated", {"positions": "rotary", "layers": 2})])
def test_a_closed_gate_leaves_the_sentence_level_model_as_it_was(kind, shape):
    closed, plain = model_of(kind, read_bias=-40.0, **shape), model_of("none", **shape)
    known = {v.path: v for v in closed.weights}
    for variable in plain.weights:
        variable.assign(known[variable.path])
    inputs, _ = pack(documents(), multiple=4)
    states, _ = closed.document_states(inputs, closed.initial_memory(2))
    equal(numbers(states), numbers(plain.document_states(inputs, {})[0]))


@pytest.mark.parametrize("kind", ["gru-both", "variable-both", "gru-all", "gru-attention", "recurrence"])
def test_a_document_does_not_depend_on_the_one_before_it_in_its_lane(kind):
    model = model_of(kind)
    one, other, third = documents(1, count=3)
    results = []
    for before in (one, other):
        inputs, _ = pack([[*before, *third]], multiple=1)
        states, _ = model.document_states(inputs, model.initial_memory(1))
        results.append(np.concatenate([window_rows(states, inputs, 0, window) for window in range(4, 8)]))
    equal(results[1], results[0])
    inputs, _ = pack([[*one, *(window._replace(reset=False) for window in third)]], multiple=1)
    states, _ = model.document_states(inputs, model.initial_memory(1))
    without = np.concatenate([window_rows(states, inputs, 0, window) for window in range(4, 8)])
    assert np.abs(without - results[0]).max() > 1e-3, "the memory is not used at all"


def other_tokens(tokens):
    return 4 + (tokens + 3) % (VOCABULARY - 4)


@pytest.mark.parametrize("dropout,training", [(0.0, False), (0.3, True)])
@pytest.mark.parametrize("kind", ["gru-both", "variable-both", "gru-all", "gru-attention", "recurrence"])
def test_no_window_sees_a_later_window_and_no_position_a_later_target(kind, dropout, training):
    model = model_of(kind, dropout=dropout)
    (lane,) = documents(2, count=1, windows=3)
    sizes = [len(window.targets) for window in lane]
    inputs, _ = pack([lane], multiple=1)

    def states_of(inputs):
        def run():
            return numbers(model.document_states(inputs, model.initial_memory(1), training=training)[0])

        return call_with_same_seed(model, run)

    before = states_of(inputs)
    changed = {name: value.copy() for name, value in inputs.items()}
    for side in ("source", "target"):
        later = changed[f"{side}_windows"] == 3
        changed[side] = np.where(later, other_tokens(changed[side]), changed[side])
    after, earlier = states_of(changed), inputs["target_windows"] < 3
    equal(after[earlier], before[earlier])
    assert np.abs(after[~earlier] - before[~earlier]).max() > 1e-3
    for t in (1, inputs["target"].shape[1] // 2, inputs["target"].shape[1] - 1):
        changed = {name: value.copy() for name, value in inputs.items()}
        changed["target"][:, t:] = other_tokens(changed["target"][:, t:])
        equal(states_of(changed)[:, :t], before[:, :t])
    assert sum(sizes) == np.sum(inputs["target"] == 2)


def test_own_choices_are_remembered_instead_of_the_target():
    model = model_of("gru-both")

    def remembered(token, own_choices):
        inputs, _ = pack([[PackedWindow([[5, 6, 7]], [[token]], 0, True)]], multiple=1)
        # Not the second state, which the token was an input of.
        inputs["target_remembered"][:, 1] = 0
        state = model.document_states(inputs, model.initial_memory(1), own_choices=own_choices)[1]
        return numbers(state["target"]["slots"])

    inputs, _ = pack([[PackedWindow([[5, 6, 7]], [[9]], 0, True)]], multiple=1)
    likeliest = int(numbers(model(inputs))[0, 0].argmax())
    other = 9 if likeliest != 9 else 10
    equal(remembered(other, own_choices=True), remembered(likeliest, own_choices=False))
    assert np.abs(remembered(other, own_choices=True) - remembered(other, own_choices=False)).max() > 1e-3


def test_a_segment_ends_in_memory_as_it_does_in_the_labels(monkeypatch):
    model, embedded = model_of("gru-both"), []
    embed = type(model.output_embedding).call

    def recording(self, ids, *arguments, **options):
        embedded.append(numbers(ids).tolist())
        return embed(self, ids, *arguments, **options)

    first = PackedWindow([[5, 6], [7]], [[9, 10], [11]], 1, True)
    inputs, labels = pack([[first, PackedWindow([[8]], [[12]], 0, False)]], multiple=1)
    assert inputs["target"].tolist() == [[2, 9, 10, 2, 11, 2, 12]] and labels.tolist() == [[0, 0, 0, 11, 3, 12, 3]]
    monkeypatch.setattr(type(model.output_embedding), "call", recording)
    following = []
    for own_choices in (False, True):
        model.document_states(inputs, model.initial_memory(1), own_choices=own_choices)
        following.append(embedded[-1][0])
    model.remember(inputs, model.initial_memory(1))
    assert following[0] == embedded[-1][0] == [9, 10, 3, 11, 0, 12, 0]
    assert following[1][2] == 3 and following[1] != following[0]


@pytest.mark.parametrize("kind,positions", CASES)
def test_steps_after_a_prefix_and_with_a_memory_equal_all_at_once(kind, positions):
    check_steps(model_of(kind, positions))


def test_steps_after_a_prefix_that_is_hashed_equal_all_at_once():
    check_steps(model_of("none", attention="lsh", lsh_chunk=2, lsh_buckets=4))


def check_steps(model):
    first, second = documents(4, count=2)
    carried = model.remember(pack([first[:2], second[:2]])[0], model.initial_memory(2))
    sources = [[[5, 6], [7], [8, 9, 10]], [[11, 12]]]
    prefixes, current = [[[13, 14], [15]], []], [[16, 17, 18], [19, 20, 21]]
    windows = [
        PackedWindow(source, [*prefix, own], 0, False)
        for source, prefix, own in zip(sources, prefixes, current, strict=True)
    ]
    inputs, _ = pack([[window] for window in windows], multiple=1)
    states, _ = model.document_states(inputs, carried)
    expected = numbers(model.output_embedding.logits(states))
    prefix = np.array([[2, 13, 14, 2, 15, 0], [0, 0, 0, 0, 0, 0]])
    state = model.lengthen_state(model.initial_state(inputs["source"], 0, prefix, carried), 5)
    tokens = np.array([[2, 16, 17, 18], [2, 19, 20, 21]])
    for t in range(4):
        logits, state = model.step(tokens[:, t], state)
        equal(numbers(logits)[0], expected[0, 5 + t], 1e-4)
        equal(numbers(logits)[1], expected[1, t], 1e-4)


def test_hypotheses_share_what_stands_before_them():
    source, prefix = np.array([[5, 6, 3, 7, 3]]), np.array([[2, 13, 14, 15, 16, 17]])
    state = model_of("none").initial_state(source, 0, prefix)
    sizes = [sum(np.size(leaf) for leaf in keras.tree.flatten(part)) for part in (state, repeat_rows(state, 4))]
    # Positions are counted for each hypothesis.
    assert sizes[1] - sizes[0] == 3


def test_looking_tells_how_a_memory_is_used():
    model, lanes = model_of("gru"), documents()
    inputs, _ = pack(lanes, multiple=4)
    found = {name: numbers(value) for name, value in model.inspect_memory(inputs, model.initial_memory(2)).items()}
    real = inputs["source_windows"] > 0
    equal(found["source_slots"].sum(-1)[real], np.ones(real.sum()))
    assert np.all((found["source_gates"][real] > 0) & (found["source_gates"][real] < 1))
    assert np.all((found["writes"] > 0) & (found["writes"] < 1))
    begins = inputs["resets"].astype(bool)[..., None]
    assert np.all((found["forgotten"] > 0) == np.broadcast_to(~begins, found["forgotten"].shape))
    # -log2 is convex: the mean of the bits is at least the bits of the mean.
    assert np.all(np.where(begins, 0, found["forgotten"] + np.log2(1 - found["writes"])) > -1e-5)
    for window in range(4):
        seen = found["attended"][:, window].sum(axis=1)
        assert np.all((seen > 0) == (inputs["source_windows"] == window + 1))
    assert model_of("none").inspect_memory(inputs, {}) == {}


def batches(lanes=2):
    """Two batches: the second goes on with the documents of the first."""
    windows = documents(5, count=lanes, windows=6)
    return [pack([own[:3] for own in windows], 4), pack([own[3:] for own in windows], 4)]


@pytest.mark.parametrize(
    "kind,own_choices",
    [("gru-both", False), ("gru-both", True), ("fixed", False), ("gru-all", False), ("recurrence", False)],
)
def test_training_carries_the_memory_from_batch_to_batch(kind, own_choices):
    model = model_of(kind)
    training = DocumentTeacherForcing(model, 0.1, lanes=2, own_choices=own_choices)
    training.build()
    (first, _), (second, _) = batches()
    training(first)
    carried = [numbers(ops.cast(variable, "float32")) for variable in training.carried]
    _, memory = model.document_states(first, model.initial_memory(2), own_choices=own_choices)
    for mine, theirs in zip(carried, tree.flatten(memory), strict=True):
        equal(mine, numbers(ops.cast(theirs, "float32")))
    expected = model.document_states(second, memory, own_choices=own_choices)[0]
    equal(numbers(training(second)), numbers(expected))
    other = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(training))
    assert other.get_config() == training.get_config()


def test_fit_trains_every_weight_of_the_memory_and_lowers_the_loss():
    model = model_of("gru-both", dropout=0.1, dtype="mixed_bfloat16")
    training = DocumentTeacherForcing(model, 0.0, lanes=2)
    training.build()
    training.compile(keras.optimizers.Adam(0.02), jit_compile=False)
    before = {v.path: numbers(v) for v in model.trainable_weights}
    both = batches()
    kinds = tree.map_structure(lambda array: tf.TensorSpec((None, None), "int32"), both[0])
    data = tf.data.Dataset.from_generator(lambda: (b for _ in range(15) for b in both), output_signature=kinds)
    losses = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: losses.append(logs["nll"]))
    training.fit(data, steps_per_epoch=30, verbose=0, callbacks=[note], shuffle=False)
    assert losses[-1] < 0.8 * losses[0]
    unmoved = [v.path for v in model.trainable_weights if np.array_equal(numbers(v), before[v.path])]
    # A bias of the queries adds the same to a position's scores in all slots, which compete: only rounding moves it.
    assert {path.split("/", 2)[2] for path in unmoved} <= {"query/bias"}


@pytest.mark.parametrize("kind", ["prism-both", "compressive", "both-in-layers"])
def test_extra_losses_of_a_memory_join_the_loss_wherever_it_is(kind):
    """Above the stacks and in the layers; they have a name in the log and a gradient."""
    training = DocumentTeacherForcing(model_of(kind), 0.0, lanes=2)
    training.build()
    inputs, labels = batches()[0]
    tokens = ops.cast(np.count_nonzero(labels), "float32")
    with tf.GradientTape(persistent=True) as tape:
        tokens_alone = training.token_losses(ops.convert_to_tensor(labels), training(inputs, training=True), tokens)
        found = training.with_extra_losses(tokens_alone)
    assert float(found["rebuild"]) > 0.01 and "rebuild" in training.trackers
    assert float(found["loss"]) == pytest.approx(float(tokens_alone["loss"]) + float(found["rebuild"]), rel=1e-5)
    weights = [weight.value for weight in training.transformer.memory_weights]
    reached = [gradient for gradient in tape.gradient(found["rebuild"], weights) if gradient is not None]
    assert any(np.abs(numbers(gradient)).max() > 1e-8 for gradient in reached)


def test_bad_settings_are_refused():
    with pytest.raises(
        ValueError,
        match=f"memory kind must be one of {', '.join(kinds())}, got .tape.",
    ):
        DocumentTransformer(30, width=16, hidden=16, heads=2, memory={"kind": "tape"})
    with pytest.raises(ValueError, match="memory sides must be one of encoder, both"):
        DocumentTransformer(30, width=16, hidden=16, heads=2, memory={"kind": "gru", "sides": "decoder"})
    with pytest.raises(ValueError, match="'gru\\+recurrence' has no setting 'summaries'"):
        DocumentTransformer(30, width=16, hidden=16, heads=2, memory={"kind": "gru+recurrence", "summaries": 2})
    with pytest.raises(ValueError, match="self-attention can read only the memory that holds the inputs of layers"):
        both = {"kind": "gru+recurrence", "layers": ["all"], "read": "attention"}
        DocumentTransformer(30, width=16, hidden=16, heads=2, memory=both)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("gru+tape", "memory kind must be one of"),
        ("gru+concat", '"concat" cannot be combined'),
        ("recurrence+compressive", '"recurrence" and "compressive" would hold the same positions twice'),
        ("gru+fixed", 'and one of compressive, recurrence, as in "gru+recurrence"'),
        ("gru+fixed+recurrence", "join one of cache, gru"),
    ],
)
def test_memories_that_do_not_go_together_are_refused(kind, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        DocumentTransformer(30, width=16, hidden=16, heads=2, memory={"kind": kind})
