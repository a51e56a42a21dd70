import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.runs import precision
from data.installing import package_command

REPOSITORY = Path(__file__).resolve().parents[3]

PROCESSORS = {
    "Sapphire Rapids": "fpu sse2 avx2 avx512f avx512_bf16 amx_bf16 amx_tile",
    "Zen 4": "fpu sse2 avx2 avx512f avx512_bf16",
    "Haswell": "fpu sse2 avx2",
    "Skylake": "fpu sse2 avx2 avx512f",
}


def make_processor(monkeypatch, flags):
    lines = ["processor\t: 0", "model name\t: Test 9000", f"flags\t\t: {flags}"]
    monkeypatch.setattr(precision, "_cpuinfo", lambda: lines)
    monkeypatch.setattr(precision, "_accelerators", lambda: [])


def unset_threads(monkeypatch):
    """As in a process that has not chosen any: an earlier test may have."""
    from tensorflow.config import threading

    for name in ("intra_op", "inter_op"):
        monkeypatch.setattr(threading, f"get_{name}_parallelism_threads", lambda: 0)


@pytest.mark.parametrize(
    "name, policy",
    [
        ("Sapphire Rapids", "mixed_bfloat16"),
        ("Zen 4", "mixed_bfloat16"),
        ("Haswell", "float32"),
        ("Skylake", "float32"),
    ],
)
def test_auto_takes_bfloat16_where_the_processor_multiplies_it(monkeypatch, name, policy):
    make_processor(monkeypatch, PROCESSORS[name])
    assert precision.keras_policy("auto") == policy


def test_a_named_format_is_taken_on_any_processor(monkeypatch):
    make_processor(monkeypatch, PROCESSORS["Haswell"])
    assert precision.keras_policy("bfloat16") == "mixed_bfloat16"
    make_processor(monkeypatch, PROCESSORS["Sapphire Rapids"])
    assert precision.keras_policy("float32") == "float32"


def make_gpus(monkeypatch, *found):
    """As TensorFlow describes them: a name and a compute capability each, or nothing."""
    import tensorflow as tf

    details = [{"device_name": one[0], "compute_capability": one[1]} if one else {} for one in found]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(range(len(details))))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details[gpu])


H200, T4 = ("NVIDIA H200", (9, 0)), ("Tesla T4", (7, 5))


@pytest.mark.parametrize(
    "found, policy, shown",
    [
        ([H200, H200], "mixed_bfloat16", "2 NVIDIA H200"),
        ([T4], "float32", "1 Tesla T4"),
        ([H200, T4], "float32", "1 NVIDIA H200, 1 Tesla T4"),
        ([None], "float32", "1 GPU"),
    ],
)
def test_auto_takes_bfloat16_on_gpus_that_have_units_for_it(monkeypatch, found, policy, shown):
    """Whatever the processor beside them can do."""
    make_processor(monkeypatch, PROCESSORS["Sapphire Rapids"])
    monkeypatch.setattr(precision, "_accelerators", precision._of_tensorflow)
    make_gpus(monkeypatch, *found)
    assert precision.keras_policy("auto") == policy
    assert precision.devices() == shown


def test_accelerators_of_the_other_backends_are_asked_in_their_own_way(monkeypatch):
    kinds = {"H200": "9.0", "T4": "7.5", "MI300": "gfx942"}
    found = [SimpleNamespace(platform="gpu", device_kind=kind, compute_capability=own) for kind, own in kinds.items()]
    found += [SimpleNamespace(platform="tpu", device_kind="TPU v4"), SimpleNamespace(platform="cpu", device_kind="cpu")]
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=lambda: found))
    assert precision._of_jax() == [("H200", True), ("T4", False), ("MI300", False), ("TPU v4", True)]
    capability = [(8, 0), (7, 5)]
    cuda = SimpleNamespace(
        device_count=lambda: 2, get_device_name=str, get_device_capability=lambda number: capability[number]
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert precision._of_torch() == [("0", True), ("1", False)]


def test_a_gpu_that_tensorflow_does_not_see_is_named_with_what_to_install(monkeypatch):
    make_processor(monkeypatch, PROCESSORS["Haswell"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(precision, "_has_nvidia", lambda: True)
    assert precision.idle_gpu().endswith(package_command("tensorflow[and-cuda]"))
    assert precision.devices() == "the processor"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert precision.idle_gpu() == ""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(precision, "_accelerators", lambda: [precision.Accelerator("H200", True)])
    assert precision.idle_gpu() == ""
    monkeypatch.setattr(precision, "_accelerators", lambda: [])
    monkeypatch.setattr(precision, "_has_nvidia", lambda: False)
    assert precision.idle_gpu() == ""


def test_a_system_without_cpuinfo_gets_float32_and_a_name(monkeypatch):
    monkeypatch.setattr(precision, "_cpuinfo", lambda: [])
    monkeypatch.setattr(precision, "_accelerators", lambda: [])
    assert precision.keras_policy("auto") == "float32"
    assert precision.processor().startswith("unknown processor, ")


def test_names_the_processor(monkeypatch):
    make_processor(monkeypatch, "fpu")
    assert precision.processor().startswith("Test 9000, ")


def test_what_the_machine_decided_is_described_in_plain_values(monkeypatch):
    make_processor(monkeypatch, PROCESSORS["Haswell"])
    unset_threads(monkeypatch)
    monkeypatch.setattr(precision.os, "sched_getaffinity", lambda _: {0, 2, 3})
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "5")
    found = precision.decided("float32", deterministic=True)
    assert found == {
        "precision": "float32",
        "backend": "tensorflow",
        "processor": "Test 9000",
        "cores": 3,
        "threads": {"intra_op": 3, "inter_op": 5},
        "deterministic": True,
    }


def printed(program, argument, variables):
    """What a program prints in a process of its own, where nothing has been computed yet."""
    environment = {"KERAS_BACKEND": "tensorflow", **os.environ, **variables}
    command = [sys.executable, "-c", program, str(argument)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "width, set_by_user, expected",
    [(512, {}, "1 3"), (1024, {}, "3 2"), (512, {"TF_NUM_INTRAOP_THREADS": "2"}, "2 2")],
)
def test_a_search_has_a_thread_an_operation_and_a_core_a_batch(width, set_by_user, expected):
    program = (
        "import sys, os\nos.sched_getaffinity = lambda _: {0, 1, 2}\n"
        "from app.runs import precision\nprecision.settle_for_search(int(sys.argv[1]))\n"
        "import tensorflow as tf\nassert float(tf.reduce_sum(tf.ones(4))) == 4\n"
        "print(precision.threads()['intra_op'], precision.batches_at_once())"
    )
    assert printed(program, width, set_by_user) == expected


@pytest.mark.parametrize(
    "cores, set_by_user, expected",
    [(6, {}, "True 3 6"), (2, {}, "True 1 2"), (1, {}, "False 1 1"), (6, {"TF_NUM_INTRAOP_THREADS": "4"}, "False 4 6")],
)
def test_parts_of_a_batch_share_the_cores(cores, set_by_user, expected):
    program = (
        "import sys, os\nos.sched_getaffinity = lambda _: range(int(sys.argv[1]))\n"
        "from app.runs.precision import settle_for_parts, threads\nbefore = settle_for_parts(2)\n"
        "import tensorflow as tf\nassert float(tf.reduce_sum(tf.ones(4))) == 4\n"
        "assert settle_for_parts(2) == before\nprint(before, *threads().values())"
    )
    assert printed(program, cores, set_by_user) == expected


def test_a_search_leaves_threads_as_they_are_once_something_was_computed(monkeypatch):
    make_processor(monkeypatch, PROCESSORS["Haswell"])
    import tensorflow as tf

    assert float(tf.reduce_sum(tf.ones(4))) == 4
    before = precision.threads()
    precision.settle_for_search(64)
    assert precision.threads() == before
