"""A training that was stopped, however it was stopped, goes on as if nothing had happened."""

import importlib.util
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from app.presets.preset import load_preset
from app.runs.averaging import average
from app.runs.run import Run
from app.training.supervisor import Supervisor
from app.training.train import train
from data.errors import UserError
from tests.app.kill_training import Training, differences, read_log
from tests.app.toy_training import train_here, write_corpus, write_preset

# A recipe with everything in it that has a state: dropout, random averages of layers, accumulation, epochs that differ,
# a best checkpoint; with batches that are computed in two parts where there are two cores.
CHANGES = [
    "updates=60",
    "training.batch_tokens=1024",
    "accumulate=2",
    "sampling=0.1",
    "attention_dropout=0.1",
    "stack=bdia",
    "validate_every=25",
    "checkpoint_every=10",
    "bleu_lines=4",
    "max_extra=2",
]


def interrupt(preset, run, cache, number, update):
    """Starts a training and sends it a signal when its log tells of an update.

    Returns:
        The exit code, what was printed, the standard output, and whether there was an average then.
    """
    training = Training(preset, run, CHANGES, cache)
    training.wait_for(lambda: training.update() >= update)
    return *training.stop(number), training.output, (run / "averaged.npz").exists()


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory):
    """The same training twice, once killed twice and interrupted once: the folder and how each session ended."""
    folder = tmp_path_factory.mktemp("resume")
    preset, cache = write_preset(folder, write_corpus(folder / "toy", train=500, validation=10)), folder / "cache"
    ends = []
    with ThreadPoolExecutor() as pool:
        other = pool.submit(lambda: Training(preset, folder / "undisturbed", CHANGES, folder / "cache2").finish())
        killed = Training(preset, folder / "disturbed", CHANGES, cache)
        killed.wait_for((folder / "disturbed" / "log.jsonl").exists)
        with pytest.raises(UserError, match=r"another process \(PID .+\) is writing to this folder"):
            train(load_preset(preset, ["deterministic=true", *CHANGES]), folder / "disturbed")
        killed.wait_for(lambda: killed.update() >= 10 and killed.is_writing())
        ends.append(killed.stop())
        ends.append(interrupt(preset, folder / "disturbed", cache, signal.SIGINT, 20))
        ends.append(interrupt(preset, folder / "disturbed", cache, signal.SIGKILL, 40))
        ends.append(Training(preset, folder / "disturbed", CHANGES, cache).finish())
        assert other.result()[0] == 0
    return folder, ends


@pytest.mark.slow
def test_kills_and_interruptions_leave_no_trace(disturbed):
    folder, ends = disturbed
    assert ends[-1][0] == 0
    assert read_log(folder / "undisturbed")[-1]["update"] == 60
    assert differences(folder / "undisturbed", folder / "disturbed") == []


@pytest.mark.slow
def test_an_interruption_saves_the_last_update_and_says_what_to_do(disturbed):
    _, ends = disturbed
    assert [code for code, *_ in ends] == [-signal.SIGKILL, 130, -signal.SIGKILL, 0]
    _, printed, output, averaged = ends[1]
    assert output == "" and not averaged
    assert "Traceback" not in printed
    last = "interrupted; run the same command again to resume from the last checkpoint"
    assert printed.strip().splitlines()[-1] == last
    assert "Resuming after update" in ends[2][1]


@pytest.mark.usefixtures("eagerly")
def test_to_rounding_where_bits_are_not_asked_for(tmp_path, monkeypatch):
    changes = [
        "updates=10",
        "accumulate=2",
        "sampling=0.2",
        "validation=[]",
        "checkpoint_every=5",
        "schedule=cosine",
        "warmup=3",
    ]
    write_corpus(tmp_path / "toy", train=40)
    write_corpus(tmp_path / "more", train=20)
    changes.append(f"corpora={tmp_path}/toy,{tmp_path}/more:0.5")
    train_here(tmp_path, *changes)
    (tmp_path / "run").rename(tmp_path / "undisturbed")

    def stop_in_update_7(self):
        if self.journal.update == 7:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Supervisor, "_log", stop_in_update_7)
        with pytest.raises(KeyboardInterrupt):
            train_here(tmp_path, *changes)
    assert Run.open(tmp_path / "run").checkpoints.latest()[0].update == 7
    _, text = train_here(tmp_path, *changes)
    assert "Resuming after update 7." in text
    # The log of that session was switched off, and with it the sums' reset; what counts here are the weights.
    states = [Run.open(tmp_path / name).checkpoints.at(10) for name in ("undisturbed", "run")]
    for read in ("weights", "state"):
        one, other = (getattr(state, read)() for state in states)
        assert set(one) == set(other)
        for name in set(one) - {name for name in one if name.startswith("metrics/")}:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-6, err_msg=name)
    # As many updates as were asked for, of two batches each.
    assert states[0].state()["optimizer/00000"] == 20


@pytest.mark.usefixtures("eagerly")
def test_a_run_without_intact_checkpoints_is_not_thrown_away(tmp_path):
    write_corpus(tmp_path / "toy", train=40)
    changes = ["validation=[]", "warmup=1"]
    run, _ = train_here(tmp_path, "updates=2", *changes)
    weights = run.checkpoints.at(2).folder / "weights.npz"
    weights.write_bytes(weights.read_bytes()[:-1])
    for harm in (lambda: None, lambda: shutil.rmtree(run.checkpoints.folder)):
        harm()
        with pytest.raises(UserError, match="no intact checkpoint is left to resume from"):
            train_here(tmp_path, "updates=3", *changes)
        with pytest.raises(UserError, match="holds another training"):
            train_here(tmp_path, "updates=3", *changes, "width=32")
        assert Run.open(tmp_path / "run").summary()["finished"]["update"] == 2


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_a_finished_training_goes_on_when_more_is_asked_for(tmp_path):
    write_corpus(tmp_path / "toy", train=40)
    changes = ["validation=[]", "checkpoint_every=5", "warmup=3"]
    train_here(tmp_path, "updates=12", *changes)
    (tmp_path / "run").rename(tmp_path / "undisturbed")
    train_here(tmp_path, "updates=7", *changes)
    with pytest.raises(UserError, match="training.warmup: 3 -> 4"):
        train_here(tmp_path, "updates=12", *changes, "warmup=4")
    run, text = train_here(tmp_path, "updates=12", *changes)
    assert "Resuming after update 7." in text
    assert [checkpoint.update for checkpoint in run.checkpoints.all()] == [5, 10, 12]
    one, other = (Run.open(tmp_path / name).weights("averaged")[1] for name in ("undisturbed", "run"))
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-6, err_msg=name)

    # A damaged last checkpoint is named, and the one before it is used.
    path = run.checkpoints.at(12).folder / "weights.npz"
    path.write_bytes(path.read_bytes()[:-1])
    run, text = train_here(tmp_path, "updates=13", *changes)
    assert f"warning: {path}: the checkpoint is damaged (wrong checksum); using the one before it" in text
    assert "Resuming after update 10." in text
    assert average(run) == [10, 13]

    # Changed text cannot give the batches that the training would have seen.
    for language, line in (("en", "the dog\n"), ("de", "der hund\n")):
        with (tmp_path / "toy" / f"{language}.train.txt").open("a") as file:
            file.write(line)
    _, text = train_here(tmp_path, "updates=14", *changes)
    assert "warning: the training text has changed since the start of training" in text


@pytest.mark.backends
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_train_and_resume_alike(tmp_path, monkeypatch, backend):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed; the extra `backends` brings it")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    preset, cache = write_preset(tmp_path, write_corpus(tmp_path / "toy", train=60, validation=10)), tmp_path / "cache"
    changes = ["updates=30", "accumulate=2", "validate_every=30", "checkpoint_every=5", "bleu_lines=2", "max_extra=1"]

    def finish(name):
        code, printed = Training(preset, tmp_path / name, changes, cache).finish()
        assert code == 0, printed
        return read_log(tmp_path / name)

    losses = [entry["nll"] for entry in finish("undisturbed") if "nll" in entry]
    assert losses[-1] < losses[0] - 1
    training = Training(preset, tmp_path / "disturbed", changes, cache)
    training.wait_for(lambda: training.update() >= 10)
    training.stop()
    finish("disturbed")
    assert differences(tmp_path / "undisturbed", tmp_path / "disturbed") == []


@pytest.mark.usefixtures("eagerly")
def test_a_rate_that_goes_by_the_clock_reaches_the_optimiser(tmp_path, monkeypatch):
    write_corpus(tmp_path / "toy", train=40)
    monkeypatch.setattr(Supervisor, "seconds", property(lambda supervisor: 6.0 * supervisor.journal.update))
    changes = ["validation=[]", "checkpoint_every=2", "warmup=2", "schedule=linear", "updates=1000", "minutes=1"]
    run, _ = train_here(tmp_path, *changes, "resume_minutes=0")
    # At the end of the warm-up a fifth of the minute is over.
    expected = {update: 0.01 * (1 - (update / 10 - 0.2) / 0.8) for update in (8, 10)}
    assert [checkpoint.update for checkpoint in run.checkpoints.resumable()] == list(expected)
    for update, rate in expected.items():
        assert learning_rate(run.checkpoints.at(update).state()) == pytest.approx(rate, abs=1e-8)


def learning_rate(state) -> float:
    """The optimiser's second variable, after the number of batches."""
    return float(state["optimizer/00001"])
