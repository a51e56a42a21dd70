"""Which number format the matrix products of this machine are fast in."""

from pathlib import Path

# Instructions that multiply bfloat16 matrices: AMX tiles, or AVX-512's dot product, which oneDNN uses as well.
BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}


def keras_policy(precision: str) -> str:
    """The Keras dtype policy for a preset's `training.precision`.

    Args:
        precision: "float32", "bfloat16" or "auto", which takes bfloat16 where the processor multiplies it faster.

    Returns:
        "float32" or "mixed_bfloat16" (weights stay in float32).
    """
    if precision == "auto":
        precision = "bfloat16" if _fast_bfloat16() else "float32"
    return "mixed_bfloat16" if precision == "bfloat16" else "float32"


def decoding_policy(precision: str) -> str:
    """Like `keras_policy`, for a model that is not trained any more: its weights are stored in the fast format too."""
    return keras_policy(precision).removeprefix("mixed_")


def processor() -> str:
    """The processor's name and its number of cores, for reports."""
    import os

    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} cores"


def _fast_bfloat16() -> bool:
    import keras

    if keras.backend.backend() == "jax":
        import jax

        # XLA on a processor has no fast bfloat16 product.
        return jax.default_backend() != "cpu"
    flags = next((line for line in _cpuinfo() if line.startswith("flags")), "")
    return bool(BFLOAT16_FLAGS & set(flags.split())) or bool(_accelerators())


def _accelerators() -> list:
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.config.list_physical_devices("GPU")
    import torch

    return list(range(torch.cuda.device_count()))


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
