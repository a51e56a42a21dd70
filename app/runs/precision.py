"""What this machine computes with: number format, backend, processor, GPUs and threads."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from data.installing import package_command
from data.parallel import cores

# Instructions that multiply bfloat16 matrices: AMX tiles, or AVX-512's dot product, which oneDNN uses as well.
BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}
# From this compute capability on (Ampere), NVIDIA's GPUs have units for bfloat16; older ones emulate it slowly.
AMPERE = (8, 0)
# Below this model width, the operations of a search are too small for several threads.
WIDE = 1024
# Batches that TensorFlow computes at the same time: where an operation has several threads, and at most.
_FEW, _MANY = 2, 16


def keras_policy(precision: str) -> str:
    """The Keras dtype policy for a preset's `training.precision`.

    Args:
        precision: "float32", "bfloat16" or "auto", which takes bfloat16 where the machine multiplies it faster.

    Returns:
        "float32" or "mixed_bfloat16" (weights stay in float32).
    """
    if precision == "auto":
        precision = "bfloat16" if _fast_bfloat16() else "float32"
    return "mixed_bfloat16" if precision == "bfloat16" else "float32"


def decoding_policy(precision: str) -> str:
    """Like `keras_policy`, for a model that is no longer trained: its weights are stored in the fast format too."""
    return keras_policy(precision).removeprefix("mixed_")


def decided(precision: str, deterministic: bool = False) -> dict:
    """What the machine determines beyond the preset, for `run.json` and results.

    Args:
        precision: the dtype policy of the model in question, such as "mixed_bfloat16" of `keras_policy`.
        deterministic: whether deterministic operations were requested.

    Returns:
        Both arguments by name, `backend`, `processor`, the `cores` that this process may use, and `threads`: those of
        one operation, and operations side by side.
    """
    import keras

    return {
        "precision": precision,
        "backend": keras.backend.backend(),
        "processor": processor_name(),
        "cores": cores(),
        "threads": threads(),
        "deterministic": deterministic,
    }


def threads() -> dict[str, int]:
    """How many threads one operation uses (`intra_op`), and how many operations run side by side (`inter_op`)."""
    import keras

    if keras.backend.backend() == "tensorflow":
        from tensorflow.config import threading

        asked = {
            "intra_op": threading.get_intra_op_parallelism_threads(),
            "inter_op": threading.get_inter_op_parallelism_threads(),
        }
        return {name: number or _named_threads(name) or cores() for name, number in asked.items()}
    if keras.backend.backend() == "torch":
        import torch

        return {"intra_op": torch.get_num_threads(), "inter_op": torch.get_num_interop_threads()}
    return {"intra_op": cores(), "inter_op": cores()}


def set_threads(numbers: dict[str, int]) -> bool:
    """Sets the backend's numbers of threads, named as in `threads`; returns whether they are in effect.

    TensorFlow accepts them only before it has computed anything, JAX not at all.
    """
    import keras

    if threads() == numbers:
        return True
    if keras.backend.backend() == "jax":
        return False
    try:
        if keras.backend.backend() == "torch":
            import torch

            torch.set_num_threads(numbers["intra_op"])
            torch.set_num_interop_threads(numbers["inter_op"])
        else:
            from tensorflow.config import threading

            threading.set_intra_op_parallelism_threads(numbers["intra_op"])
            threading.set_inter_op_parallelism_threads(numbers["inter_op"])
    except RuntimeError:
        return False
    return threads() == numbers


def settle_for_search(width: int) -> None:
    """Gives each operation one thread, and the cores to batches side by side; for a process that only translates.

    A step of a search has hundreds of operations of a few microseconds each. Handing parts of them to other threads
    takes longer than computing them; only a model of width `WIDE` or more gains from it. Call this before anything is
    computed. It does nothing on a GPU, on backends other than TensorFlow, or if TF_NUM_INTRAOP_THREADS is set.

    Args:
        width: of the model.
    """
    if width < WIDE and _ours_to_set():
        set_threads({**threads(), "intra_op": 1})


def settle_for_parts(parts: int) -> bool:
    """Divides the cores among parts of a batch that are computed side by side; returns whether that is in effect.

    It is not if there is less than one core for each part, on a GPU, on backends other than TensorFlow, if
    TF_NUM_INTRAOP_THREADS is set, or if something was computed before with other numbers of threads.
    """
    return cores() >= parts and _ours_to_set() and set_threads({"intra_op": cores() // parts, "inter_op": cores()})


def batches_at_once() -> int:
    """How many batches are best computed at the same time: while one waits, another uses the processor."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return 1
    alone = threads()["intra_op"] == 1 and not _accelerators()
    return max(_FEW, min(cores(), _MANY)) if alone else _FEW


def processor() -> str:
    """The processor's name and its number of cores, for reports."""
    return f"{processor_name()}, {os.cpu_count()} cores"


def processor_name() -> str:
    """The processor's name, as it reports it."""
    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def _ours_to_set() -> bool:
    """Whether the number of threads of an operation matters here, and the user has not chosen it."""
    import keras

    return keras.backend.backend() == "tensorflow" and not _named_threads("intra_op") and not _accelerators()


def _named_threads(name: str) -> int:
    """The number in TF_NUM_INTRAOP_THREADS or TF_NUM_INTEROP_THREADS; 0 if it is not set."""
    value = os.environ.get(f"TF_NUM_{name.replace('_', '').upper()}_THREADS", "")
    return int(value) if value.isdigit() else 0


def _fast_bfloat16() -> bool:
    import keras

    if accelerators := _accelerators():
        return all(one.fast_bfloat16 for one in accelerators)
    if keras.backend.backend() == "jax":
        # XLA has no fast bfloat16 product on CPUs.
        return False
    flags = next((line for line in _cpuinfo() if line.startswith("flags")), "")
    return bool(BFLOAT16_FLAGS & set(flags.split()))


class Accelerator(NamedTuple):
    """A GPU or TPU that the backend sees: its name, and whether it multiplies bfloat16 matrices faster."""

    name: str
    fast_bfloat16: bool


def devices() -> str:
    """What the backend computes on, in words: the GPUs, or the processor."""
    names = [one.name for one in _accelerators()]
    return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)) or "the processor"


def idle_gpu() -> str:
    """What to do if this machine has a GPU that TensorFlow does not see; "" otherwise."""
    import keras

    # The user may want it so.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if keras.backend.backend() != "tensorflow" or hidden or not _has_nvidia() or _accelerators():
        return ""
    return (
        "this machine has a GPU, but TensorFlow does not see it and computes on the processor; its libraries are "
        f"installed by: {package_command('tensorflow[and-cuda]')}"
    )


def _has_nvidia() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*")) or shutil.which("nvidia-smi") is not None


def _accelerators() -> list[Accelerator]:
    import keras

    return {"tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}[keras.backend.backend()]()


def _of_tensorflow() -> list[Accelerator]:
    import tensorflow as tf

    found = []
    for gpu in tf.config.list_physical_devices("GPU"):
        about = tf.config.experimental.get_device_details(gpu)
        # GPUs of other makers have no compute capability.
        found.append(Accelerator(about.get("device_name", "GPU"), about.get("compute_capability", (0, 0)) >= AMPERE))
    return found


def _of_jax() -> list[Accelerator]:
    import jax

    found = []
    for device in jax.devices():
        # A text such as "9.0".
        major = getattr(device, "compute_capability", "").partition(".")[0]
        fast = device.platform == "tpu" or (major.isdecimal() and int(major) >= AMPERE[0])
        found += [Accelerator(device.device_kind, fast)] if device.platform != "cpu" else []
    return found


def _of_torch() -> list[Accelerator]:
    import torch

    return [
        Accelerator(torch.cuda.get_device_name(number), torch.cuda.get_device_capability(number) >= AMPERE)
        for number in range(torch.cuda.device_count())
    ]


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
