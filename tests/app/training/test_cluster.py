"""Who takes part in a training, what each gets of a batch, and what stops a worker that does not fit."""

import json
import re
import socket
import subprocess
import time
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import __version__
from app.runs.run import Run
from app.training.workers.addresses import EXAMPLE, Addresses, find_addresses
from app.training.workers.agreement import check_text, open_shared, shared_checkpoint
from app.training.workers.cluster import Cluster
from app.training.workers.rendezvous import rendezvous
from data.batching import fill, share
from data.errors import UserError
from tests.app.toy_training import toy_preset, train_here, weitblick, write_corpus, write_preset
from tests.app.worker import free_addresses

REPOSITORY = Path(__file__).resolve().parents[3]


def tf_config(cluster, kind="worker", index=0) -> dict:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Addresses()),
        ({"TF_CONFIG": " "}, Addresses()),
        ({"TF_CONFIG": '{"cluster": {}, "task": {"type": "", "index": 0}}'}, Addresses()),
        ({"TF_CONFIG": EXAMPLE}, Addresses(("host-a:2222", "host-b:2222"), 0)),
        (tf_config({"worker": ["a:1", "b:1"]}, index="1"), Addresses(("a:1", "b:1"), 1)),
        (tf_config({"worker": ["b:1", "c:1"], "chief": ["a:1"]}), Addresses(("a:1", "b:1", "c:1"), 1)),
        (tf_config({"worker": ["b:1", "c:1"], "chief": ["a:1"]}, "chief"), Addresses(("a:1", "b:1", "c:1"), 0)),
    ],
)
def test_tf_config_names_the_workers(environment, expected):
    assert find_addresses(environment) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"cluster": ', "it is not JSON"),
        ("[]", "it is not a JSON object"),
        ('{"cluster": ["a:1"]}', '"cluster" is not a JSON object'),
        ('{"cluster": {"worker": ["a:1"]}}', '"task" is missing'),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}', '"task" is missing, or has no "type"'),
        (tf_config({"worker": ["a:1"]}, "chief")["TF_CONFIG"], 'type is "chief", but "cluster" has worker'),
        (tf_config({"worker": ["a:1", "b:1"]}, index=2)["TF_CONFIG"], "index is 2, but there are 2 of worker"),
        (tf_config({"worker": ["a:1", "b:1"]}, index=-1)["TF_CONFIG"], "index is -1"),
        (tf_config({"worker": ["a:1", "b:1"]}, index="x")["TF_CONFIG"], 'index is "x"'),
        (tf_config({"worker": "a:1"})["TF_CONFIG"], '"worker" is not a list of addresses such as "host-a:2222": "a:1"'),
        (tf_config({"worker": ["a:1", "b"]})["TF_CONFIG"], '"worker" is not a list of addresses'),
        (tf_config({"worker": ["a:1", "a:1"]})["TF_CONFIG"], "a:1 is listed twice"),
        (tf_config({"worker": ["a:1"], "ps": ["b:1"]})["TF_CONFIG"], '"cluster" has ps; it may have only'),
        (tf_config({"chief": ["a:1", "b:1"]}, "chief")["TF_CONFIG"], "more than one chief"),
    ],
)
def test_a_wrong_tf_config_is_explained(text, message):
    with pytest.raises(UserError, match="^TF_CONFIG: .*; it must look like ") as error:
        find_addresses({"TF_CONFIG": text})
    assert message in str(error.value)


def slurm(**changes) -> dict:
    step = {"STEP_NUM_TASKS": "4", "STEP_NODELIST": "gpu[2,10-11]", "STEP_TASKS_PER_NODE": "2,1(x2)"}
    return {f"SLURM_{name}": value for name, value in {**step, "PROCID": "2", "JOB_ID": "30007", **changes}.items()}


def test_the_tasks_of_a_slurm_step_are_workers_node_after_node():
    expected = ("gpu2:20007", "gpu2:20008", "gpu10:20007", "gpu11:20007")
    assert find_addresses(slurm()) == Addresses(expected, 2)
    nodes = {"STEP_NODELIST": "a[08-10]-x,login", "STEP_TASKS_PER_NODE": "1(x4)"}
    assert find_addresses(slurm(**nodes)).workers == tuple(
        f"{host}:20007" for host in ("a08-x", "a09-x", "a10-x", "login")
    )
    # In the batch script, or with one task, nobody waits for anybody.
    assert find_addresses({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) == Addresses()
    assert find_addresses(slurm(STEP_NUM_TASKS="1")) == Addresses()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (slurm(STEP_NUM_TASKS="5"), "do not agree"),
        (slurm(PROCID="4"), "do not agree"),
        (slurm(PROCID="one"), "start each worker with srun"),
        ({"SLURM_STEP_NUM_TASKS": "2"}, "SLURM_STEP_NODELIST: is not set"),
    ],
)
def test_wrong_variables_of_slurm_are_explained(environment, message):
    with pytest.raises(UserError, match=message):
        find_addresses(environment)


def test_the_command_refuses_before_it_loads_anything(tmp_path):
    preset = write_preset(tmp_path, "./toy")
    done = weitblick("train", preset, "--run", tmp_path / "run", code=2, TF_CONFIG='{"cluster": {"worker": ["a"]}}')
    assert done.stderr.startswith('error: TF_CONFIG: "worker" is not a list of addresses')
    assert not (tmp_path / "run").exists()


@given(rows=st.integers(1, 9), count=st.integers(1, 5))
def test_shares_are_a_batch(rows, count):
    labels = np.arange(1, 2 * rows + 1).reshape(rows, 2)
    shares = [share(({"source": 10 * labels}, labels), index, count) for index in range(count)]
    found = [row for _, part in shares for row in part.tolist() if any(row)]
    assert sorted(found) == labels.tolist()
    for inputs, part in shares:
        assert (inputs["source"] == 10 * part).all()
        assert len(part) >= 1
    # A lane stays with its device, at its place.
    for row, tokens in enumerate(labels.tolist()):
        assert shares[row % count][1][row // count].tolist() == tokens
    sizes = [len(part) for _, part in shares]
    assert max(sizes) - min(sizes) <= 1


def test_a_batch_is_filled_up_with_padding():
    inputs, labels = fill(({"source": np.ones((3, 2), np.int32)}, np.ones((3, 4), np.int32)), 4)
    assert inputs["source"].tolist() == [[1, 1]] * 3 + [[0, 0]]
    assert labels.sum(axis=1).tolist() == [4, 4, 4, 0]
    assert len(fill((inputs, labels), 2)[1]) == 4


@pytest.mark.usefixtures("eagerly")
def test_a_device_without_rows_adds_nothing(tmp_path):
    import tensorflow as tf

    from app.training.objective import teacher_forcing

    preset = toy_preset(tmp_path)
    model = teacher_forcing(Run(tmp_path, preset).new_model(300), preset)
    model.build()
    empty = np.zeros((1, 6), np.int32)
    with tf.GradientTape() as tape:
        states = model({"source": empty, "target": empty}, training=True)
        losses = model.token_losses(empty, states, 50.0)
    assert {name: float(loss) for name, loss in losses.items()} == {"loss": 0, "nll": 0}
    for gradient in tape.gradient(losses["loss"], model.trainable_weights):
        assert gradient is None or not np.any(tf.convert_to_tensor(gradient))


def call(addresses, said, pause=0.05) -> Thread:
    """A worker that meets the others in a thread; notes when it has, and what went wrong."""

    def worker():
        try:
            rendezvous(addresses, report=lambda line: None, pause=pause)
            said.append(addresses.index)
        except UserError as error:
            said.append(str(error))

    thread = Thread(target=worker, daemon=True)
    thread.start()
    return thread


def hang_on(address, hello) -> socket.socket:
    """A line to the chief, who has been told something."""
    host, port = address.split(":")
    while True:
        try:
            line = socket.create_connection((host, int(port)), timeout=5)
            line.sendall(json.dumps(hello).encode() + b"\n")
            return line
        except ConnectionRefusedError:
            time.sleep(0.05)


def test_workers_wait_for_each_other():
    workers, said = tuple(free_addresses(4)), []
    threads = [call(Addresses(workers, 1), said)]
    time.sleep(0.2)  # no chief yet
    threads.append(call(Addresses(workers, 0), said))
    # A stranger, a worker that is killed while it waits, and one of another training.
    for hello in ("GET / HTTP/1.0", {"index": 2, "workers": workers, "version": __version__}):
        hang_on(workers[0], hello).close()
    other = []
    call(Addresses((workers[0], "elsewhere:1"), 1), other).join(60)
    assert other == [f"worker 1 does not match worker 0 at {workers[0]}: its workers are {', '.join(workers)}"]
    threads.append(call(Addresses(workers, 3), said))
    time.sleep(0.3)
    assert said == []
    threads.append(call(Addresses(workers, 2), said))
    for thread in threads:
        thread.join(60)
    assert sorted(said) == [0, 1, 2, 3]


def test_a_worker_of_another_version_is_told():
    workers, said = tuple(free_addresses(2)), []
    chief = call(Addresses(workers, 0), said)
    with hang_on(workers[0], {"index": 1, "workers": workers, "version": "0"}) as line:
        assert json.loads(line.makefile().readline()) == f"its version is {__version__}, here it is 0"
    call(Addresses(workers, 1), said).join(60)
    chief.join(60)
    assert sorted(said) == [0, 1]


def test_a_chief_waits_for_its_port_and_tells_for_whom_it_waits(monkeypatch):
    monkeypatch.setattr("app.training.workers.rendezvous.QUIET_SECONDS", 0)
    workers, said, told = tuple(free_addresses(2)), [], []
    with socket.create_server(("", int(workers[0].split(":")[1]))):
        chief = Thread(target=lambda: rendezvous(Addresses(workers, 0), told.append, 0.05), daemon=True)
        chief.start()
        time.sleep(0.2)
        assert told[0] == f"worker 0 of 2: still waiting for port {workers[0].split(':')[1]} to become free"
    time.sleep(0.3)
    assert told[-1] == f"worker 0 of 2: still waiting for worker 1 at {workers[1]}"
    call(Addresses(workers, 1), said).join(60)
    chief.join(60)
    assert said == [1]
    assert not chief.is_alive()


def test_lanes_that_cannot_be_divided_are_refused(tmp_path):
    cluster = Cluster()
    cluster.devices = 4
    assert cluster.lanes_per_model(8) == 8
    with pytest.raises(UserError, match="10 lanes cannot be divided among 4 devices; .* documents.lanes=12"):
        cluster.lanes_per_model(10)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_train_on_one_machine_only(monkeypatch, backend):
    from app.training.workers.joining import join_cluster

    monkeypatch.setattr("keras.backend.backend", lambda: backend)
    with pytest.raises(UserError, match=f"2 workers are named, but KERAS_BACKEND={backend} trains on one machine only"):
        join_cluster(Addresses(("a:1", "b:1"), 0))


class Second(Cluster):
    """The second of two workers, whose chief says what it is told to."""

    index, workers, devices = 1, 2, 2

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def broadcast(self, *numbers):
        assert len(numbers) == 1
        return [self.numbers.pop(0)]


def test_a_worker_waits_for_the_chief_or_stops_with_it():
    done = []
    with Second(1.0).chief_first():
        done.append("second")
    assert done == ["second"]
    with pytest.raises(UserError, match="worker 0 failed; see its output"), Second(0.0).chief_first():
        done.append("third")
    assert done == ["second"]


def test_a_failing_chief_tells_the_others():
    said = []
    chief = Cluster()
    chief.broadcast = lambda *numbers: said.append(numbers)
    with pytest.raises(KeyError), chief.chief_first():
        raise KeyError("no corpus")
    with chief.chief_first():
        pass
    assert said == [(0.0,), (1.0,)]


@pytest.mark.usefixtures("eagerly")
def test_a_worker_that_does_not_fit_is_stopped(tmp_path):
    write_corpus(tmp_path / "toy", train=40)
    small = ["validation=[]", "checkpoint_every=2", "updates=2", "vocabulary=340"]
    run, _ = train_here(tmp_path, *small)
    assert open_shared(run.path, run.preset, patience=0).preset == run.preset
    with pytest.raises(UserError, match="no such run folder.*storage that all workers share"):
        open_shared(tmp_path / "elsewhere", run.preset, patience=0.3)
    with pytest.raises(UserError, match="different settings: training.warmup: 7 -> 20; use the same command"):
        open_shared(run.path, run.preset.with_overrides(["warmup=7"]), patience=0)

    assert shared_checkpoint(run, Second(2), print, patience=0)[0].update == 2
    with pytest.raises(UserError, match="resumes after update 4, for which worker 1 has no complete checkpoint"):
        shared_checkpoint(run, Second(4), print, patience=0.3)

    check_text(Second(0xABCDEF012345), "abcdef0123456789")
    with pytest.raises(UserError, match="training text differs from that of worker 0"):
        check_text(Second(5), "abcdef0123456789")


def test_the_job_files_call_the_command_that_is_documented():
    import yaml

    folder = REPOSITORY / "docs" / "cluster"
    service, volume, job = yaml.safe_load_all((folder / "kubernetes.yaml").read_text())
    assert [part["kind"] for part in (service, volume, job)] == ["Service", "PersistentVolumeClaim", "Job"]
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["command"][:2] == ["weitblick", "train"]
    for index in range(job["spec"]["completions"]):
        values = {entry["name"]: entry.get("value") for entry in container["env"]}
        found = find_addresses({"TF_CONFIG": values["TF_CONFIG"].replace("$(INDEX)", str(index))})
        name, port = found.workers[index].split(":")
        assert (found.index, len(found.workers)) == (index, job["spec"]["parallelism"])
        # The names that pods of an indexed Job get.
        assert name == f"{job['metadata']['name']}-{index}.{service['metadata']['name']}"
        assert int(port) == service["spec"]["ports"][0]["port"]
    assert pod["subdomain"] == service["metadata"]["name"]

    script = folder / "slurm.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    assert subprocess.run(["bash", script], capture_output=True).returncode == 2
    assert re.search(r'srun .*\\\n\s+weitblick train "\$preset" --run "\$run" "\$@"', script.read_text())
