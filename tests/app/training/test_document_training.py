"""Trainings of documents: in two stages, with a memory that goes from batch to batch and through a stop."""

import itertools
import json
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest

from app.presets.preset import load_preset
from app.runs.run import TOKENIZER, Run
from app.runs.weights import read_variables, split_variables
from app.scoring.metrics import ScoreOptions, bleu
from app.training.first_stage import take_tokenizer, take_weights, unchecked_text
from app.training.objective import marked
from app.training.preparation import prepare
from app.training.supervisor import Supervisor
from app.training.train import train
from app.training.validation import Validation, spread_documents
from app.translation.translator import Translator
from data.errors import UserError
from data.tokenizer import EOS
from data.windows import ORDERS
from tests.app.copy_model import small_tokenizer
from tests.app.toy_training import toy_preset, train_here, write_corpus
from tests.slow import slow_but

WINDOWS = ["windows=segments", "lanes=3", "back_propagation=2", "training.batch_tokens=96"]
GRU = [*WINDOWS, "model.positions=rotary", "memory.kind=gru", "memory.gru.slots=2", "sides=both"]
# What differs from GRU, for memories that are elsewhere.
PLACES = {
    "gru": ["memory_tokens=mixed"],
    "gru-all": ["memory.layers=all", "memory_tokens=reference"],
    "recurrence": ["memory.kind=recurrence", "memory.recurrence.cache=6", "memory_tokens=reference"],
    "compressive": [
        "memory.kind=compressive",
        "memory.compressive.cache=3",
        "compressed=4",
        "rate=2",
        "memory_tokens=reference",
    ],
    "gru+recurrence": ["memory.kind=gru+recurrence", "memory.recurrence.cache=6", "memory_tokens=reference"],
    "fixed": ["memory.kind=fixed"],
    "cache": ["memory.kind=cache", "memory.cache.cache=5"],
    "variable": ["memory.kind=variable"],
    "prism": ["memory.kind=prism", "memory.prism.places=4"],
}
MEMORY = {"source_memory", "source_read", "target_memory", "target_read"}
SHORT = ["vocabulary=340", "checkpoint_every=5", "warmup=3", "bleu_lines=4", "max_extra=2", "validation=[]"]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder with a corpus of documents, `toy`, and a sentence-level run on it, `first`."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("stages")
    write_corpus(folder / "toy", train=60, validation=8, document=4)
    tf.config.run_functions_eagerly(True)
    train_here(folder, *SHORT, "model.positions=rotary", "updates=5")
    tf.config.run_functions_eagerly(False)
    (folder / "run").rename(folder / "first")
    return folder


def second(folder, first, name, *changes):
    """A run of the second stage that is not trained yet."""
    preset = toy_preset(folder, *SHORT, *GRU, f"start={first / 'first'}", *changes, corpus=first / "toy")
    return Run.create(folder / name, preset)


def silent(_):
    pass


@pytest.mark.parametrize("kind", ["gru", "none"])
def test_a_memory_makes_the_model_that_the_preset_describes(tmp_path, kind):
    preset = toy_preset(tmp_path, *GRU, f"memory.kind={kind}", "slots=5")
    names = read_variables(split_variables(Run(tmp_path, preset).new_model(340))[0])
    memory = [name for name in names if "memory" in name or "_read/" in name]
    assert bool(memory) == (kind == "gru")
    assert not memory or any(array.shape[-2:] == (5, 16) for array in names.values())
    plain = read_variables(split_variables(Run(tmp_path, toy_preset(tmp_path)).new_model(340))[0])
    assert set(plain) == set(names) - set(memory)


def test_batches_follow_documents_in_lanes(tmp_path, first):
    prepared = prepare(second(tmp_path, first, "run"), report=silent)
    (inputs, labels), following = itertools.islice(prepared.batches.epoch(0), 2)
    assert (len(labels), inputs["resets"].shape[1] <= 2) == (3, True)
    assert inputs["resets"][:, 0].all()
    assert not following[0]["resets"][:, 0].any()  # two windows a row, four segments a document
    assert sum(batch[0]["resets"].sum() for batch in prepared.batches.epoch(0)) == 60 / 4


def test_cleaned_text_and_mixtures_keep_documents(tmp_path, first):
    more = write_corpus(tmp_path / "more", train=10, document=5)
    for language in ("en", "de"):
        lines = (more / f"{language}.train.txt").read_text().splitlines()
        # Two lines stand in the other corpus as well.
        new = [line if number in (0, 7) else f"{number} {line}" for number, line in enumerate(lines)]
        (more / f"{language}.train.txt").write_text("".join(f"{line}\n" for line in new))
    run = second(tmp_path, first, "run", f"corpora={first / 'toy'},{more}", "deduplicate=true", "sampling=0.1")
    batches = list(prepare(run, report=silent).batches.epoch(1))
    once = len(set((first / "toy" / "en.train.txt").read_text().splitlines()))
    assert sum((labels == EOS).sum() for _, labels in batches) == once + 8
    assert sum(inputs["resets"].sum() for inputs, _ in batches) == 60 / 4 + 10 / 5


def test_held_out_text_that_the_first_stage_did_not_leave_out_is_pointed_out(tmp_path, first):
    lines, toy = [], first / "toy"
    prepare(second(tmp_path, first, "run", f"validation={toy}", "holdout=warn"), report=lines.append)
    (warning,) = [line for line in lines if "training.start" in line]
    assert f"was trained without leaving out text that {toy} validation repeats" in warning


def test_all_stages_before_must_have_left_out_held_out_text(tmp_path, first):
    """The third stage holds out what the second one held out, but the first may have learnt it."""
    toy = first / "toy"
    middle = second(tmp_path, first, "middle", f"validation={toy}")
    start = f"start={middle.path}"
    run = Run.create(tmp_path / "third", toy_preset(tmp_path, *SHORT, *GRU, start, f"validation={toy}", corpus=toy))
    found = [(stage.path.name, names) for stage, names in unchecked_text(run)]
    assert found == [("first", [f"{toy} validation"])]
    damaged = shutil.copytree(first / "first", tmp_path / "damaged")
    (damaged / "preset.toml").write_text("[model")
    middle = second(tmp_path, first, "other", f"validation={toy}", f"start={damaged}")
    run = second(tmp_path, first, "fourth", f"start={middle.path}", f"validation={toy}")
    assert unchecked_text(run) == []


def test_what_an_imported_model_was_trained_on_is_not_known(tmp_path, first):
    start, toy, lines = shutil.copytree(first / "first", tmp_path / "first"), first / "toy", []
    Run.open(start).write_summary(imported={"format": "marian", "folder": "opus"})
    prepare(second(tmp_path, first, "run", f"start={start}", f"test={toy}", "holdout=warn"), report=lines.append)
    (warning,) = [line for line in lines if "training.start" in line]
    assert f"{start} was imported, and may have been trained on text of {toy} test" in warning


def test_text_without_documents_is_pointed_out(tmp_path, first):
    write_corpus(tmp_path / "alone", train=10)
    run, lines = second(tmp_path, first, "run", f"corpora={first / 'toy'},{tmp_path / 'alone'}"), []
    resets = sum(inputs["resets"].sum() for inputs, _ in prepare(run, report=lines.append).batches.epoch(0))
    assert resets == 60 / 4 + 10
    (warning,) = [line for line in lines if line.startswith("warning")]
    assert f"{tmp_path / 'alone'} has no documents" in warning


def test_the_second_stage_begins_with_the_first(tmp_path, first):
    run = second(tmp_path, first, "run")
    prepare(run, report=silent)
    assert (run.path / TOKENIZER).read_bytes() == (first / "first" / TOKENIZER).read_bytes()
    model, lines = run.new_model(340), []
    fresh = read_variables(split_variables(model)[0])
    take_weights(run, model, lines.append)
    name, before = Run.open(first / "first").weights()
    after = read_variables(split_variables(model)[0])
    for key in after:
        np.testing.assert_array_equal(after[key], before.get(key, fresh[key]), err_msg=key)
    assert "source_memory, source_read, target_memory, target_read" in lines[0]
    noted = run.summary()["started_from"]
    averaged = Run.open(first / "first").summary()["averaged"]["checksum"]
    assert noted == {"run": str(first / "first"), "weights": name, "checksum": averaged}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["vocabulary=350"], ["tokenizer.vocabulary = 340 (here 350)"]),
        (["width=32", "norm=post"], ["model.width = 16 (here 32)", 'model.norm = "pre" (here "post")']),
        (["lowercase=true"], ["data.lowercase = false (here true)"]),
        (["start=nowhere"], ["training.start", "nowhere", "no such run"]),
        (["start={run}"], ["training.start", "the run folder of this training"]),
    ],
)
def test_another_shape_than_the_first_stages_is_refused_before_any_work(tmp_path, first, changes, expected):
    run = second(tmp_path, first, "run", *(change.format(run=tmp_path / "run") for change in changes))
    with pytest.raises(UserError) as caught:
        train(run.preset, run.path)
    for part in expected:
        assert part in str(caught.value)
    assert not run.path.exists()


def test_two_tokenizers_are_refused_before_any_work(tmp_path, first):
    other = second(tmp_path, first, "other", "start=")
    other.save_tokenizer(small_tokenizer())
    run = second(tmp_path, first, "run", f"tokenizer.run={other.path}")
    with pytest.raises(UserError, match="tokenizer.run: .* has another tokenizer than training.start"):
        take_tokenizer(run)
    run.preset = run.preset.with_overrides([f"tokenizer.run={first / 'first'}"])
    take_tokenizer(run)
    assert run.tokenizer().fingerprint == Run.open(first / "first").tokenizer().fingerprint


@pytest.mark.usefixtures("eagerly")
def test_weights_that_find_no_place_are_refused_by_their_key(tmp_path, first):
    mixed = "memory_tokens=mixed"
    train(second(tmp_path, first, "second", "updates=1", mixed).preset, tmp_path / "second")
    for changes, expected in (
        (["memory.gru.slots=3", mixed], ["memory.gru.slots = 2 (here 3)", "of shape"]),
        (["memory.kind=none"], ['memory.kind = "gru" (here "none")', "does not have"]),
        (["memory.sides=encoder"], ['memory.sides = "both" (here "encoder")', "target_memory"]),
        (["memory_tokens=own"], ['training.memory_tokens = "mixed" (here "own")', "target_memory_tokens/trust"]),
    ):
        third = second(tmp_path, first, "third", f"start={tmp_path / 'second'}", *changes)
        with pytest.raises(UserError) as caught:
            take_weights(third, third.new_model(340))
        for part in ["training.start", *expected]:
            assert part in str(caught.value)


class Killed(Exception):
    """Ends a training without a last checkpoint."""


def ends_in(update, how):
    """A supervisor's method that ends the training in one update."""

    def log(self):
        if self.journal.update == update:
            how()

    return log


def kill():
    raise Killed


# Where an epoch ends there may be one window in a row, and nobody who reads what was written.
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", slow_but(PLACES, "gru", "recurrence"))
def test_a_stopped_training_goes_on_with_what_it_remembered(tmp_path, first, monkeypatch, kind):
    changes = [
        *PLACES[kind],
        "updates=8",
        "checkpoint_every=3",
        "context_segment_dropout=0.2",
        "context_word_dropout=0.1",
        "source_dropout=0.1",
        "training.ranking=0.5",
        "ranking_every=2",
        "learning_rate=0.002",
    ]
    run = second(tmp_path, first, "run", *changes)
    preset, other = run.preset, tmp_path / "undisturbed"
    train(preset, other)
    for update, how, error in ((5, kill, Killed), (6, lambda: signal.raise_signal(signal.SIGTERM), KeyboardInterrupt)):
        with monkeypatch.context() as patch:
            patch.setattr(Supervisor, "_log", ends_in(update, how))
            with pytest.raises(error):
                train(preset, run.path)
    assert [checkpoint.update for checkpoint in run.checkpoints.all()] == [3, 6]
    # The first stage may be gone by then.
    (first / "first").rename(first / "moved")
    try:
        train(preset, run.path)
    finally:
        (first / "moved").rename(first / "first")
    states = [Run.open(path).checkpoints.at(8) for path in (run.path, other)]
    carried = {name: array for name, array in states[0].state().items() if name.startswith("carried/")}
    assert len(carried) >= 2
    assert all(len(array) == 3 for array in carried.values())
    assert all(np.abs(array).any() for array in carried.values())
    for read in ("weights", "state"):
        one, two = (getattr(state, read)() for state in states)
        assert set(one) == set(two)
        # Their sums were not reset while the log was switched off.
        for name in (name for name in one if not name.startswith("metrics/")):
            np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.usefixtures("eagerly")
def test_frozen_weights_stay_those_of_the_first_stage(tmp_path, first, capsys):
    run = second(tmp_path, first, "second", "freeze=true", "updates=6", "checkpoint_every=3")
    train(run.preset, run.path)
    before, after = Run.open(first / "first").weights()[1], run.checkpoints.at(6).weights()
    for name, value in after.items():
        assert np.array_equal(value, before[name]) if name in before else name.partition("/")[0] in MEMORY, name
    earlier = run.checkpoints.at(3).weights()
    changed = {name for name in after if not np.array_equal(after[name], earlier[name])}
    assert {name.partition("/")[0] for name in changed} == MEMORY
    trained = sum(value.size for name, value in after.items() if name not in before)
    assert f"({trained:,} trained)" in "".join(capsys.readouterr())


@pytest.mark.parametrize("first_batch", [0, 1, 5, 8])
def test_the_number_of_the_update_decides_which_batches_are_ranked(first_batch):
    preset = load_preset("starter-documents", ["accumulate=2", "ranking=0.1", "ranking_every=3"])
    batches = [({"source": np.zeros((2, 3))}, np.full((2, 3), number)) for number in range(14)]
    found = list(marked(batches[first_batch:], preset, first_batch))
    assert all(
        np.array_equal(labels, batch[1]) for (_, labels), batch in zip(found, batches[first_batch:], strict=True)
    )
    marks = [inputs["ranked"].tolist() for inputs, _ in found]
    expected = [1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1]
    assert marks == [[[mark]] * 2 for mark in expected[first_batch:]]


def test_ranking_needs_another_lane(tmp_path, first):
    run = second(tmp_path, first, "run", "ranking=0.1", "lanes=1")
    with pytest.raises(UserError, match=r"training.ranking: .* set documents.lanes to 2 or more, got 1"):
        train(run.preset, run.path)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("order", ORDERS)
def test_validation_reads_whole_documents_with_their_memory(tmp_path, first, order):
    run = second(
        tmp_path,
        first,
        "run",
        f"validation={first / 'toy'}",
        "source_dropout=0.5",
        "context_segment_dropout=0.5",
        "dropout=0",
        f"order={order}",
    )
    prepared = prepare(run, report=silent)
    model = run.new_model(340)
    # Gates wide open, so that what is remembered counts.
    for variable in model.trainable_variables:
        if "_read/" in variable.path and "gate" in variable.path:
            variable.assign(variable + 5)
    validation = Validation(model, prepared, run.preset)
    english = (first / "toy" / "en.validation.txt").read_text().splitlines()
    ((*chosen,),) = validation.output.chosen
    sources = [pair.source for pair in chosen]
    assert sources in (english[0:4], english[4:8])
    found = [validation(), validation()]
    assert found[0]["nll"] == found[1]["nll"]  # nothing dropped, nothing left over from the first time
    assert found[0]["nll"] == pytest.approx(_nll(model, prepared, order), rel=1e-5)
    translator = Translator.of_model(
        model, prepared.tokenizer, replace(run.preset.search, beam=1), run.preset.window_options()
    )
    (expected,) = translator.translate_documents([sources])
    assert found[0]["sample"]["output"] in expected
    assert list(validation.output.translator.translate_documents([sources])) == [expected]
    assert found[0]["bleu"] == bleu(expected, [pair.target for pair in chosen], ScoreOptions(samples=0)).value
    assert found[0]["nll"] != pytest.approx(_nll(model, prepared, order, forget=True), rel=1e-5)


def _nll(model, prepared, order, forget=False):
    """The loss of the validation documents, one after another, segment by segment."""
    from keras import ops

    from data.packing import PackedWindow, pack

    shards, total, tokens, memory = prepared.validation, 0.0, 0, model.initial_memory(1)
    before, segments = None, list(range(len(shards)))[:: 1 if order == "forward" else -1]
    for i in segments:
        reset = forget or before is None or shards.doc(i) != shards.doc(before)
        before = i
        inputs, labels = pack([[PackedWindow([shards.source(i)], [shards.target(i)], 0, reset)]], multiple=1)
        states, memory = model.document_states(inputs, memory, own_choices=True)
        logits = ops.convert_to_numpy(ops.log_softmax(model.output_embedding.logits(states)))
        total -= np.take_along_axis(logits[0], labels[0][:, None], axis=1).sum()
        tokens += labels.size
    return total / tokens


def test_a_part_of_the_documents_is_drawn_from_all_over_the_list():
    documents = [[(number, line) for line in range(number % 3 + 1)] for number in range(16)]
    assert spread_documents(documents, 100) == documents
    for lines in (1, 5, 10, 20):
        chosen = spread_documents(documents, lines)
        assert sum(map(len, chosen[:-1])) < sum(map(len, chosen))
        assert lines <= sum(map(len, chosen)) < lines + 3
        assert chosen == sorted(chosen)
    numbers = [document[0][0] for document in spread_documents(documents, 8)]
    assert max(np.diff(numbers)) <= 5


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_a_training_without_memory_reads_windows_too(tmp_path, first):
    for name, changes in {
        "none": ["size=2"],
        "concat": ["size=3", "context_word_dropout=0.1", "segment_shift=5"],
        "discounted": ["size=3", "context_discount=0.1"],
    }.items():
        kind = "none" if name == "none" else "concat"
        run = second(tmp_path, first, name, f"memory.kind={kind}", "updates=2", f"validation={first / 'toy'}", *changes)
        train(run.preset, run.path)
        entries = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
        assert np.isfinite(entries[-1]["validation"]["nll"])
        assert not any(name.startswith("carried/") for name in run.checkpoints.at(2).state())
        assert run.new_model(340).segment_shift == (5 if name == "concat" else 0)


def test_numbers_that_npz_files_do_not_know_are_widened():
    import keras

    from app.training.state import to_array

    variable = keras.Variable(np.array([1.5, -2.0], "float32"), dtype="bfloat16")
    assert to_array(variable).dtype == np.float32
    np.testing.assert_array_equal(to_array(variable), [1.5, -2.0])
