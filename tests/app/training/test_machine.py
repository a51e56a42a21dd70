"""What the machine decides at the start of a training is noted, and kept on every machine that goes on with it."""

import subprocess

import pytest

from app.runs import precision
from app.runs.run import Run
from app.training import machine
from app.training.machine import settle_machine
from app.training.workers.cluster import Cluster
from data.errors import UserError
from tests.app.runs.test_precision import unset_threads
from tests.app.toy_training import command, environment, toy_preset, train_here, write_corpus, write_preset

FAST, PLAIN = "avx2 avx512_bf16", "avx2"


@pytest.fixture
def use(monkeypatch):
    """Makes this machine another one: its flags, its processor and its threads."""

    unset_threads(monkeypatch)

    def use(flags, name="Test 9000", number=2):
        lines = [f"model name\t: {name}", f"flags\t\t: {flags}"]
        monkeypatch.setattr(precision, "_cpuinfo", lambda: lines)
        monkeypatch.setattr(precision, "_accelerators", lambda: [])
        monkeypatch.setattr(precision, "cores", lambda: number)
        monkeypatch.setattr(machine, "settle_for_parts", lambda parts: False)

    return use


def begun(folder, *changes):
    """A run whose training has begun here, as far as its first checkpoint."""
    run = Run.create(folder / "run", toy_preset(folder, *changes))
    assert settle(run)[1] == []
    run.checkpoints.save(10, {}, {}, {})
    return run


def settle(run):
    lines = []
    return settle_machine(run, Cluster(), lines.append)[0], lines


@pytest.mark.parametrize("flags, expected", [(FAST, "bfloat16"), (PLAIN, "float32")])
def test_what_was_decided_is_noted(tmp_path, use, flags, expected):
    use(flags)
    run = begun(tmp_path, "precision=auto")
    (session,) = run.summary()["sessions"]
    assert session == {
        "precision": {"bfloat16": "mixed_bfloat16", "float32": "float32"}[expected],
        "backend": "tensorflow",
        "processor": "Test 9000",
        "cores": 2,
        "threads": {"intra_op": 2, "inter_op": 2},
        "deterministic": False,
        "parts": 1,
    }
    assert settle(run) == (expected, [])
    assert len(run.summary()["sessions"]) == 1


@pytest.mark.usefixtures("eagerly")
def test_a_training_keeps_its_precision_on_another_processor(tmp_path, use):
    write_corpus(tmp_path / "toy", train=40)
    changes = ["precision=auto", "validation=[]", "warmup=2"]
    use(FAST)
    _, text = train_here(tmp_path, "updates=2", *changes)
    assert ", mixed_bfloat16," in text
    use(PLAIN)
    run, text = train_here(tmp_path, "updates=4", *changes)
    assert ", mixed_bfloat16," in text
    assert 'training.precision = "auto": keeping bfloat16 from the start of training; here float32 is faster' in text
    assert [session["precision"] for session in run.summary()["sessions"]] == ["mixed_bfloat16"]


def test_a_gpu_that_is_idle_is_reported_first(tmp_path, use, monkeypatch):
    use(FAST)
    monkeypatch.setattr(machine, "idle_gpu", lambda: "this machine has a GPU")
    assert settle(Run.create(tmp_path / "run", toy_preset(tmp_path)))[1] == ["warning: this machine has a GPU"]


def test_another_machine_is_reported_in_one_line_and_noted(tmp_path, use):
    use(PLAIN)
    run = begun(tmp_path)
    use(PLAIN, "Test 9001", number=8)
    warning = (
        "warning: this training resumes with processor Test 9000 -> Test 9001, threads 2 intra-op and 2 inter-op -> "
        "8 intra-op and 8 inter-op; results will differ by rounding"
    )
    assert settle(run) == ("float32", [warning])
    assert settle(run) == ("float32", [])
    assert [session["cores"] for session in run.summary()["sessions"]] == [2, 8]


def test_a_deterministic_training_refuses_other_threads(tmp_path, use, monkeypatch):
    use(PLAIN)
    run = begun(tmp_path, "deterministic=true")
    use(PLAIN, number=1)
    monkeypatch.setattr(machine, "set_threads", lambda numbers: numbers == precision.threads())
    message = (
        "computes with 2 intra-op and 2 inter-op threads, this process with 1 intra-op and 1 inter-op, which gives "
        "different weights; set TF_NUM_INTRAOP_THREADS=2 TF_NUM_INTEROP_THREADS=2"
    )
    with pytest.raises(UserError, match=message):
        settle(run)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "2")
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "2")
    assert settle(run) == ("float32", [])


def test_a_training_without_a_checkpoint_is_bound_to_nothing(tmp_path, use):
    use(PLAIN)
    run = Run.create(tmp_path / "run", toy_preset(tmp_path, "precision=auto", "deterministic=true"))
    settle(run)
    use(FAST, number=1)
    assert settle(run) == ("bfloat16", [])
    assert [session["cores"] for session in run.summary()["sessions"]] == [1]


@pytest.mark.slow
def test_a_deterministic_training_has_the_same_weights_with_fewer_cores(tmp_path):
    """The number of threads that it began with is kept; this toy is large enough that one thread sums otherwise."""
    preset = write_preset(tmp_path, write_corpus(tmp_path / "toy", train=60))
    changes = ["deterministic=true", "validation=[]", "checkpoint_every=2", "width=256", "hidden=1024", "heads=4"]

    def weights(name, updates, cores):
        arguments = ["train", preset, "--run", tmp_path / name, "--set", *changes, f"updates={updates}"]
        arguments += ["training.batch_tokens=4096"]
        own = environment(WEITBLICK_CACHE=str(tmp_path / "cache"))
        subprocess.run(["taskset", "-c", cores, *command(*arguments)], check=True, capture_output=True, env=own)
        return Run.open(tmp_path / name).checkpoints.at(updates).summary()["checksums"]

    own = sorted(precision.os.sched_getaffinity(0))
    if len(own) < 2:
        pytest.skip("needs two cores")
    one, two = str(own[0]), f"{own[0]},{own[1]}"
    weights("run", 2, two)
    here = weights("run", 4, one)
    assert Run.open(tmp_path / "run").summary()["sessions"][0]["cores"] == 2
    assert here == weights("undisturbed", 4, two)


@pytest.mark.parametrize(
    "changes, parts",
    [
        ((), 2),
        (("training.batch_tokens=1000",), 1),
        (("windows=segments", "lanes=4"), 2),
        (("windows=segments", "lanes=3"), 1),
        (("windows=segments", "memory.kind=gru", "ranking=0.5", "lanes=4"), 2),
        (("windows=segments", "memory.kind=gru", "ranking=0.5", "lanes=2"), 1),
    ],
)
def test_a_training_keeps_the_parts_that_it_began_with(tmp_path, use, monkeypatch, changes, parts):
    use(PLAIN)
    run = Run.create(tmp_path / "run", toy_preset(tmp_path, "training.batch_tokens=1024", *changes))
    monkeypatch.setattr(machine, "settle_for_parts", lambda parts: True)
    assert settle_machine(run, Cluster(), print) == ("float32", parts)
    run.checkpoints.save(10, {}, {}, {})
    monkeypatch.setattr(machine, "settle_for_parts", lambda parts: False)
    assert settle_machine(run, Cluster(), print) == ("float32", parts)


def test_a_training_of_an_earlier_version_goes_on_in_one_part(tmp_path, use, monkeypatch):
    use(PLAIN)
    run = begun(tmp_path)
    (session,) = run.summary()["sessions"]
    run.write_summary(sessions=[{key: value for key, value in session.items() if key != "parts"}])
    monkeypatch.setattr(machine, "settle_for_parts", lambda parts: True)
    assert settle_machine(run, Cluster(), print) == ("float32", 1)


def test_several_devices_share_a_batch_and_none_has_parts(tmp_path, use, monkeypatch):
    use(PLAIN)
    cluster = Cluster()
    cluster.devices = 2
    monkeypatch.setattr(machine, "settle_for_parts", lambda parts: True)
    run = Run.create(tmp_path / "run", toy_preset(tmp_path, "training.batch_tokens=1024"))
    assert settle_machine(run, cluster, print) == ("float32", 1)
