"""Trainings whose batches are shared by several workers and devices are those of one."""

import json
import os
import re
import warnings

import numpy as np
import pytest

from app.runs.run import Run
from tests.app.kill_training import read_log
from tests.app.toy_training import train_here, write_corpus, write_preset
from tests.app.worker import start_workers

pytestmark = pytest.mark.slow

# Without dropout, whose random numbers belong to devices. Clipping, accumulation and epochs that differ depend on sums.
COMMON = [
    "dropout=0",
    "clip_norm=0.5",
    "accumulate=2",
    "warmup=3",
    "checkpoint_every=4",
    "resume_minutes=0",
    "vocabulary=340",
]
# Documents train a plain stack.
PLAIN = [
    *COMMON,
    "stack=reversible",
    "updates=16",
    "sampling=0.1",
    "tie=target",
    "validate_every=16",
    "bleu_lines=2",
    "max_extra=1",
]
DOCUMENTS = [
    *COMMON,
    "updates=14",
    "validation=[]",
    "windows=segments",
    "lanes=4",
    "back_propagation=2",
    "model.positions=rotary",
    "memory.kind=compressive",
    "memory.compressive.cache=4",
    "rate=2",
    "sides=both",
    "memory_tokens=reference",
    "training.ranking=0.5",
    "ranking_every=2",
    "training.batch_tokens=128",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a corpus of documents, its preset, and undisturbed trainings of one worker and one device."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("cluster")
    write_preset(folder, write_corpus(folder / "toy", train=80, validation=8, document=4))
    os.environ["WEITBLICK_CACHE"] = str(folder / "cache")
    for name, changes in (("plain", PLAIN), ("documents", DOCUMENTS)):
        # Without graphs, a memory that no row of a batch has read has no gradient, where with them it has one of 0.
        tf.config.run_functions_eagerly(name == "plain")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*option does not apply to tf.data functions")
            train_here(folder, *changes)
        (folder / "run").rename(folder / name)
    return folder


def curve(run) -> dict:
    """The losses in a run's log, and that of its validation."""
    found = {}
    for entry in read_log(run):
        if "loss" in entry:
            found[entry["update"]] = [entry[name] for name in ("loss", "nll", "ranking", "rebuild") if name in entry]
        else:
            found["validation"] = [entry["validation"]["nll"]]
    return found


def assert_same_curve(run, other) -> None:
    one, two = curve(run), curve(other)
    assert list(one) == list(two)
    for place, losses in one.items():
        np.testing.assert_allclose(losses, two[place], rtol=1e-5, err_msg=str(place))


def train(folder, name, changes, workers=1, hit=(), restart=False, **variables):
    arguments = [folder / "toy.toml", folder / name, "--set", *changes]
    return start_workers(workers, arguments, hit, restart, WEITBLICK_CACHE=str(folder / "cache"), **variables)


def test_two_workers_train_like_one_and_a_killed_one_returns(folder):
    # As under Slurm or Kubernetes: the killed worker is back before the other has noticed that it was gone.
    (chief, again), (killed, returned) = train(
        folder, "two", PLAIN, 2, ["--signal", "SIGKILL", "--after", "11"], restart=True
    )
    assert (chief[0], killed[0]) == (2, -9), (chief, killed)
    error = chief[1].splitlines()[-1]
    # The reason is TensorFlow's own, and depends on what it notices first.
    assert re.match(r"error: worker 0 of 2: lost another worker \(.*(/job:worker/task:1|Socket closed)", error)
    assert error.endswith("start the same command on all workers again: it resumes from the last checkpoint")

    assert (again[0], returned[0]) == (0, 0), (again, returned)
    assert "Worker 0 of 2 (which writes), 1 device each: 2 devices share each batch." in again[1]
    assert "Resuming after update 8." in again[1]
    assert "Worker 1 of 2 (worker 0 writes and shows the progress), 1 device each" in returned[1]
    assert "update" not in returned[1]
    assert "WARNING" not in returned[1].partition("share each batch.")[2]
    assert_same_curve(folder / "plain", folder / "two")
    assert Run.open(folder / "two").summary()["averaged"]["updates"] == [12, 16]


def test_an_interrupted_worker_stops_all_and_one_alone_goes_on(folder):
    ends = train(folder, "lanes", DOCUMENTS, 2, ["--signal", "SIGTERM", "--after", "6"])
    assert [code for [(code, _)] in ends] == [130, 130], ends
    for [(_, said)] in ends:
        assert said.splitlines()[-1] == "interrupted; run the same command again to resume from the last checkpoint"
    # The others hear of it with the sums of the next update.
    assert Run.open(folder / "lanes").checkpoints.latest()[0].update == 7
    state = Run.open(folder / "lanes").checkpoints.at(7).state()
    carried = [array for name, array in state.items() if name.startswith("carried/")]
    assert carried
    # All lanes are there, and each has a memory of its own.
    assert len(np.unique(np.concatenate([array.reshape(4, -1) for array in carried], axis=1), axis=0)) == 4
    (folder / "lanes").rename(folder / "run")
    _, text = train_here(folder, *DOCUMENTS)
    assert "Resuming after update 7." in text
    assert_same_curve(folder / "documents", folder / "run")
    assert all(ranking > 0 for *_, ranking in curve(folder / "documents").values())


def test_two_devices_of_one_machine_train_like_one(folder):
    [[(code, said)]] = train(folder, "mirrored", [*PLAIN, "validation=[]"], hit=["--devices", "2"])
    assert code == 0, said
    assert "2 devices share each batch." in said
    one, two = curve(folder / "plain"), curve(folder / "mirrored")
    for update in (10, 16):
        np.testing.assert_allclose(one[update], two[update], rtol=1e-5)


@pytest.mark.backends
def test_two_devices_on_jax_train_like_one(folder):
    pytest.importorskip("jax", reason="jax is not installed; the extra `backends` brings it")
    for count in (1, 2):
        flags = f"--xla_force_host_platform_device_count={count}"
        [[(code, said)]] = train(folder, f"jax-{count}", DOCUMENTS, KERAS_BACKEND="jax", XLA_FLAGS=flags)
        assert code == 0, said
        assert ("2 devices share each batch." in said) == (count == 2)
    assert_same_curve(folder / "jax-1", folder / "jax-2")
    assert json.loads((folder / "jax-2" / "run.json").read_text())["finished"]["update"] == 14
