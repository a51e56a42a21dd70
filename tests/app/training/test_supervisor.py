"""The supervisor's decisions, with a model whose updates cost nothing."""

import json
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.runs.averaging import average
from app.runs.journal import Journal
from app.runs.run import Run
from app.training import supervisor as module
from app.training.supervisor import NotFinite, Supervisor
from app.training.workers.agreement import shared_checkpoint
from app.training.workers.cluster import Cluster
from data import files
from data.errors import UserError
from tests.app.kill_training import differences, read_log
from tests.app.toy_training import toy_preset


class CountingModel:
    """Its one weight is the number of batches it has seen; its loss is their numbers' mean since the last reset."""

    metrics, transformer, stop_training = (), None, False

    def __init__(self):
        self.batches, self.sum, self.count = 0, 0.0, 0
        self.optimizer = SimpleNamespace(learning_rate=None)

    def train_batch(self):
        self.batches, self.sum, self.count = self.batches + 1, self.sum + self.batches, self.count + 1

    def get_metrics_result(self):
        return {"loss": self.sum / max(self.count, 1), "tokens": 7.0 * self.count}

    def reset_metrics(self):
        self.sum, self.count = 0.0, 0

    def read(self, carried, whole):
        state = {"sums": np.array([self.sum, self.count])} if whole else None
        return {"weight": np.full(1, self.batches, "float32")}, state

    def restore(self, weights, state):
        self.batches, (self.sum, self.count) = int(weights["weight"][0]), state["sums"]


class ScriptedValidation:
    """Gives each validation the score that a list holds for its update."""

    def __init__(self, scores, journal):
        self.scores, self.journal = scores, journal

    def __call__(self):
        score = self.scores[self.journal.update % len(self.scores)]
        return {
            "nll": 1.0,
            "perplexity": 2.7,
            "bleu": score,
            "sample": {"source": "s", "reference": "r", "output": "o"},
        }

    def score(self, found):
        return found["bleu"]


@pytest.fixture(scope="module", autouse=True)
def _without_a_real_model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "read_state", CountingModel.read)
        patch.setattr(module, "sync", lambda model: None)
        patch.setattr(module, "Validation", lambda transformer, prepared, preset: prepared.validation)
        patch.setattr(module, "ScalarWriter", lambda folder: SimpleNamespace(write=lambda update, **scalars: None))
        patch.setattr(files.os, "fsync", lambda handle: None)
        yield


def supervise(run, scores=()):
    """A supervisor as at the start of a session, its model where the last checkpoint left it."""
    model, found = CountingModel(), shared_checkpoint(run, Cluster(), print)
    if found:
        model.restore(found[0].weights(), found[0].state())
    journal = Journal.from_summary(found[1] if found else {})
    validation = ScriptedValidation(scores, journal) if scores else None
    prepared = SimpleNamespace(batches=SimpleNamespace(counts={0: 5}), fingerprint="text", validation=validation)
    console = SimpleNamespace(print=lambda text: None, is_terminal=False)
    return Supervisor(run, model, prepared, journal, console, Cluster())


def train(run, scores=(), stop=None, die=None):
    """Trains until the end, until Ctrl-C in update `stop`, or until a kill in update `die`."""
    supervisor = supervise(run, scores)
    supervisor.conclude()
    while not supervisor.why_finished and not supervisor.interrupted and supervisor.journal.update + 1 != die:
        supervisor.interrupted = supervisor.journal.update + 1 == stop
        for _ in range(run.preset.training.accumulate):
            supervisor.model.train_batch()
            supervisor.on_train_batch_end(0, {"loss": 1.0})
        assert supervisor.model.stop_training == (supervisor.interrupted or bool(supervisor.why_finished))
    return supervisor


def make_run(folder, *changes):
    return Run.create(Path(folder) / "run", toy_preset(folder, *changes))


def updates(run):
    return [checkpoint.update for checkpoint in run.checkpoints.all()]


@settings(max_examples=15)
@given(
    scores=st.lists(st.integers(0, 5), min_size=1, max_size=20),
    numbers=st.fixed_dictionaries(
        {
            "updates": st.integers(21, 60),
            "accumulate": st.integers(1, 2),
            "validate_every": st.integers(1, 15),
            "checkpoint_every": st.integers(1, 15),
            "average": st.integers(1, 3),
            "keep": st.integers(3, 4),
            # The first one of a session has a state, all have, or some have.
            "resume_minutes": st.sampled_from([0, 1, 1e-5]),
            "patience": st.integers(0, 3),
            "average_around": st.sampled_from(["last", "best"]),
        }
    ),
    events=st.lists(st.tuples(st.sampled_from(["stop", "die"]), st.integers(1, 60)), max_size=6),
)
def test_interruptions_and_kills_change_nothing(scores, numbers, events):
    with tempfile.TemporaryDirectory() as folder:
        changes = [f"training.{key}={value}" for key, value in numbers.items()]
        run = make_run(folder, *changes)
        for kind, update in events:
            train(run, scores, **{kind: update})
        train(run, scores)
        average(run)
        run.path.rename(Path(folder) / "disturbed")
        undisturbed = make_run(folder, *changes)
        train(undisturbed, scores)
        average(undisturbed)
        assert differences(undisturbed.path, Path(folder) / "disturbed") == []


def test_each_log_entry_is_the_mean_of_ten_updates(tmp_path):
    run = make_run(tmp_path, "updates=25", "checkpoint_every=7", "accumulate=2", "validation=[]")
    train(run)
    # Batches are numbered from 0, two an update: 0..19, 20..39, 40..49.
    assert [(entry["update"], entry["loss"]) for entry in read_log(run.path)] == [(10, 9.5), (20, 29.5), (25, 44.5)]


def test_a_training_that_goes_on_after_its_end_logs_as_if_it_had_had_none(tmp_path):
    run = make_run(tmp_path, "updates=25", "validation=[]")
    train(run)
    run.preset = run.preset.with_overrides(["updates=30"])
    train(run)
    found = [(entry["update"], entry["loss"]) for entry in read_log(run.path)]
    assert found == [(10, 4.5), (20, 14.5), (25, 22.0), (30, 24.5)]


def test_each_log_entry_has_the_rate_of_its_update(tmp_path):
    run = make_run(tmp_path, "updates=40", "learning_rate=0.1", "warmup=20", "accumulate=2", "validation=[]")
    train(run)
    rates = [entry["learning_rate"] for entry in read_log(run.path)]
    assert rates == pytest.approx([0.05, 0.1, 0.1 * (20 / 30) ** 0.5, 0.1 * 0.5**0.5])


def test_tokens_a_second_count_this_session_alone(tmp_path):
    run = make_run(tmp_path, "updates=20", "validation=[]")
    train(run, stop=19)
    supervisor = supervise(run)
    supervisor.log_start -= 1.0
    supervisor.model.train_batch()
    supervisor.on_train_batch_end(0, {"loss": 1.0})
    entry = json.loads(supervisor.log.path.read_text().splitlines()[-1])
    assert entry["update"] == 20
    assert 5 <= entry["tokens_per_second"] <= 7  # 7 tokens in a little more than a second


def test_all_target_tokens_are_counted_once_however_often_a_training_is_interrupted(tmp_path):
    run = make_run(tmp_path, "updates=43", "accumulate=2", "checkpoint_every=4", "validation=[]", "resume_minutes=0")
    for event in ({"stop": 3}, {"die": 11}, {"stop": 20}, {"die": 37}):
        train(run, **event)
    assert train(run).journal.tokens == 7 * 2 * 43
    # And in a training that ends between two entries of the log, and then goes on.
    run.preset = run.preset.with_overrides(["updates=47"])
    assert train(run).journal.tokens == 7 * 2 * 47
    assert run.checkpoints.latest()[1]["tokens"] == 7 * 2 * 47


def test_the_tokens_of_a_training_that_an_earlier_version_began_are_unknown(tmp_path, monkeypatch):
    run = make_run(tmp_path, "updates=30", "validation=[]")
    former = Journal.as_dict
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "as_dict", lambda self: {k: v for k, v in former(self).items() if k != "tokens"})
        train(run, stop=15)
    assert train(run).journal.tokens is None
    assert run.checkpoints.latest()[1]["tokens"] is None


def test_the_log_has_the_time_of_all_sessions(tmp_path, monkeypatch):
    run = make_run(tmp_path, "updates=40", "validate_every=20", "checkpoint_every=10")
    # Each session's own clock: two seconds an update on top of what the journal has.
    monkeypatch.setattr(Supervisor, "seconds", property(lambda self: 2.0 * self.journal.update))
    train(run, scores=[1], stop=25)
    train(run, scores=[1])
    entries = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert [entry["seconds"] for entry in entries] == [2.0 * entry["update"] for entry in entries]
    assert [entry["update"] for entry in entries if "validation" in entry] == [20, 40]


def test_the_end_is_validated_and_saved_wherever_it_falls(tmp_path):
    run = make_run(tmp_path, "updates=23", "validate_every=10", "checkpoint_every=10")
    supervisor = train(run, scores=[1])
    assert supervisor.journal.validated == 23
    assert updates(run) == [10, 20, 23]


def test_the_best_checkpoint_outlives_the_others(tmp_path):
    run = make_run(tmp_path, "updates=60", "validate_every=15", "checkpoint_every=10", "keep=2")
    train(run, scores=[0] * 15 + [9] + [1] * 100)
    assert updates(run) == [15, 50, 60]
    assert run.weights("best")[1]["weight"] == 15


def test_a_former_best_checkpoint_goes_if_it_is_no_regular_one(tmp_path):
    run = make_run(tmp_path, "updates=40", "validate_every=15", "checkpoint_every=10", "keep=3")
    train(run, scores=list(range(100)))
    assert updates(run) == [20, 30, 40]


def test_the_checkpoints_around_the_best_are_kept_for_the_average(tmp_path):
    changes = ["updates=90", "validate_every=10", "checkpoint_every=10", "keep=3", "average=3"]
    run = make_run(tmp_path, *changes, "average_around=best")
    train(run, scores=[0] * 30 + [9] + [1] * 100)
    assert updates(run) == [20, 30, 40, 70, 80, 90]
    assert average(run) == [20, 30, 40]


def resumable(run):
    return [checkpoint.update for checkpoint in run.checkpoints.all() if checkpoint.resumable]


def test_states_are_written_by_the_clock(tmp_path, monkeypatch):
    run = make_run(tmp_path, "updates=24", "checkpoint_every=2", "validation=[]", "keep=20")
    monkeypatch.setattr(Supervisor, "seconds", property(lambda supervisor: 10.0 * supervisor.journal.update))
    train(run, die=14)
    # The first one, and those a minute later: 2, 8; 14 was not reached.
    assert (updates(run), resumable(run)) == ([2, 4, 6, 8, 10, 12], [2, 8])
    train(run, stop=13)
    # The updates after 8 are done again; the first checkpoint of this session and the last one have a state.
    assert (updates(run), resumable(run)) == ([2, 4, 6, 8, 10, 12, 13], [10, 13])
    train(run)
    assert (updates(run), resumable(run)) == (list(range(2, 25, 2)), [20, 24])


def test_a_checkpoint_to_resume_from_is_kept_until_the_end_whatever_its_age(tmp_path):
    run = make_run(tmp_path, "updates=30", "checkpoint_every=2", "validation=[]", "keep=3")
    train(run, die=19)
    assert (updates(run), resumable(run)) == ([2, 14, 16, 18], [2])
    train(run)
    assert updates(run) == [26, 28, 30]


def test_what_a_killed_session_wrote_after_its_last_state_goes_when_it_is_resumed(tmp_path):
    run = make_run(tmp_path, "updates=30", "checkpoint_every=2", "validation=[]")
    train(run, die=10)
    assert (updates(run), resumable(run)) == ([2, 4, 6, 8], [2])
    # Not before: a training whose text is missing has not begun.
    assert shared_checkpoint(run, Cluster(), print)[0].update == 2
    assert updates(run) == [2, 4, 6, 8]
    supervise(run)
    assert updates(run) == [2]


def test_a_state_stays_until_there_is_another(tmp_path):
    run = make_run(tmp_path, "updates=30", "checkpoint_every=10", "validate_every=3")
    # The best one is at 3, which has the only state, then at 6, which is no regular one either.
    train(run, scores=[0, 0, 0, 1, 0, 0, 2, 0, 0], die=8)
    assert (updates(run), resumable(run)) == ([3, 6], [3])


@pytest.mark.parametrize("around", ["best", "last"])
def test_a_killed_training_still_has_the_best_checkpoint_that_its_state_knows_of(tmp_path, monkeypatch, around):
    options = ["updates=30", "checkpoint_every=6", "validate_every=4", "keep=2", "average=2"]
    options.append(f"average_around={around}")
    run = make_run(tmp_path, *options)
    # A state is due at update 4, the first checkpoint, and at 12.
    clock = property(lambda supervisor: {4: 0.0, 6: 1.0, 12: 60.0}.get(supervisor.journal.update, 61.0))
    monkeypatch.setattr(Supervisor, "seconds", clock)
    scores = [0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9]
    train(run, scores=[*scores, 0, 0, 0, 0], die=19)
    assert resumable(run) == [4, 12] and {4, 12, 16, 18} <= set(updates(run))
    # Resumed at 12, whose best is 4.
    supervise(run)
    assert run.weights("best")[1]["weight"] == 4
    assert {6, 12} <= set(updates(run)) if around == "best" else 6 not in updates(run)
    train(run, scores=[0] * 31)
    assert run.weights("best")[1]["weight"] == 4


def test_weights_alone_are_not_trained_over(tmp_path):
    run = make_run(tmp_path, "updates=30", "checkpoint_every=2", "validation=[]")
    train(run, die=10)
    (run.checkpoints.at(2).folder / "state.npz").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"update-00000008: has weights, but no intact .* training.start=.*run, or remove"
    ):
        train(run)
    assert updates(run) == [2, 4, 6, 8]


def test_patience(tmp_path):
    run = make_run(tmp_path, "updates=90", "validate_every=10", "checkpoint_every=30", "patience=2")
    supervisor = train(run, scores=[0] * 20 + [9] + [1] * 100)
    assert supervisor.why_finished == "2 validations without improvement since update 20"
    assert supervisor.journal.update == 40
    assert updates(run) == [20, 30, 40]
    # Started again it is still at its end; with more patience it goes on.
    assert train(run, scores=[1]).journal.update == 40
    run.preset = run.preset.with_overrides(["patience=4"])
    assert train(run, scores=[1]).journal.update == 60


def test_the_time_limit_counts_all_sessions(tmp_path):
    run = make_run(tmp_path, "updates=90", "minutes=1", "checkpoint_every=10", "validation=[]")
    first = supervise(run)
    first.session_start -= 45
    first.interrupted = True
    first.on_train_batch_end(0, {"loss": 1.0})
    assert 45 <= first.journal.seconds < 50
    assert 10 < first.time_left() <= 15
    second = supervise(run)
    second.session_start -= 20
    second.on_train_batch_end(0, {"loss": 1.0})
    assert second.why_finished == "the time limit of 1 minutes is reached"
    assert second.model.stop_training
    assert updates(run) == [2]


def clocked(run, seconds, stop=None):
    """Trains with updates that take so many seconds each; the rate that each update was given."""
    supervisor, rates = supervise(run), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Supervisor, "seconds", property(lambda self: (self.journal.update) * seconds))
        while not supervisor.why_finished and not supervisor.interrupted:
            rates.append(supervisor.model.optimizer.learning_rate)
            supervisor.interrupted = supervisor.journal.update + 1 == stop
            supervisor.model.train_batch()
            supervisor.on_train_batch_end(0, {"loss": 1.0})
    return rates


def test_the_learning_rate_goes_by_the_clock_and_goes_on_where_it_was(tmp_path):
    changes = ["schedule=linear", "warmup=10", "updates=100", "minutes=1", "validation=[]", "learning_rate=1"]
    whole = clocked(make_run(tmp_path, *changes), 2)
    assert len(whole) == 30
    assert whole[:10] == pytest.approx([update / 10 for update in range(1, 11)])
    # At the end of the warm-up a third of the minute is over.
    assert whole[10:] == pytest.approx([1 - (2 * update / 60 - 1 / 3) / (2 / 3) for update in range(10, 30)])
    log = read_log(tmp_path / "run")
    assert [entry["learning_rate"] for entry in log] == pytest.approx([whole[9], whole[19], whole[29]])
    (tmp_path / "run").rename(tmp_path / "undisturbed")
    run = make_run(tmp_path, *changes)
    parts = [clocked(run, 2, stop) for stop in (7, 10, 11, 17, None)]
    assert [len(part) for part in parts] == [7, 3, 1, 6, 13]
    assert [rate for part in parts for rate in part] == whole
    assert read_log(run.path) == read_log(tmp_path / "undisturbed")


def test_no_validation_without_validation_text(tmp_path):
    run = make_run(tmp_path, "updates=30", "validation=[]")
    supervisor = train(run)
    assert supervisor.journal.best is None
    assert all("validation" not in entry for entry in read_log(run.path))


def test_an_interruption_does_not_wait_for_a_validation_but_the_next_session_makes_up_for_it(tmp_path):
    run = make_run(tmp_path, "updates=40", "validate_every=10")
    assert train(run, scores=[1], stop=20).journal.validated == 10
    assert updates(run) == [10, 20]
    assert train(run, scores=[1], stop=21).journal.validated == 20
    # Though no better, it counts, and the checkpoint of its update knows of it.
    assert run.checkpoints.at(20).summary()["worse"] == 1


def test_a_loss_that_is_no_number_stops_at_once(tmp_path):
    run = make_run(tmp_path, "updates=40", "accumulate=2", "checkpoint_every=3", "validation=[]")
    supervisor = train(run, stop=3)
    supervisor = supervise(run)
    supervisor.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(NotFinite, match="the loss is nan in batch 7"):
        supervisor.on_train_batch_end(0, {"loss": float("nan")})
    assert updates(run) == [3]


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    run = make_run(tmp_path, "updates=40", "checkpoint_every=3", "validation=[]")
    train(run, stop=5)
    supervisor = supervise(run)
    supervisor.model.batches = float("inf")
    with pytest.raises(NotFinite, match="a weight is not finite in batch 5"):
        supervisor.interrupted = True
        supervisor.on_train_batch_end(0, {"loss": 1.0})
    assert updates(run) == [3, 5]


def test_a_damaged_last_checkpoint_costs_only_the_updates_since_the_one_before(tmp_path):
    run = make_run(tmp_path, "updates=30")
    train(run, scores=[1], stop=25)
    (run.checkpoints.at(25).folder / "state.npz").write_bytes(b"")
    shutil.copytree(run.path, tmp_path / "copy")
    train(run, scores=[1])
    average(run)
    shutil.rmtree(tmp_path / "copy" / "checkpoints" / "update-00000025")
    whole = Run.open(tmp_path / "copy")
    train(whole, scores=[1])
    average(whole)
    assert differences(run.path, whole.path) == []
