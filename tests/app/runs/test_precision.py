import pytest

from app.runs import precision

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


def test_auto_takes_bfloat16_on_an_accelerator(monkeypatch):
    make_processor(monkeypatch, PROCESSORS["Haswell"])
    monkeypatch.setattr(precision, "_accelerators", lambda: ["GPU:0"])
    assert precision.keras_policy("auto") == "mixed_bfloat16"


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
