"""What the figures were measured on and with."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from app.bench.contestant import PEERS, peers_installed

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
OURS = ("keras", "tensorflow", "jax", "keras-hub", "numpy", "sentencepiece", "sacrebleu")
OF_PEERS = ("torch", "transformers", "accelerate", "joeynmt", "eole", "ctranslate2", "sentencepiece")


def describe() -> dict:
    """Processor, memory, software and the state of the repository."""
    from app.runs.origin import commit
    from app.runs.precision import processor

    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": commit(),
        "processor": processor(),
        "flags": [flag for flag in FLAGS if flag in _cpu_flags()],
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory(),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": {name: _version(name) for name in OURS},
        "peer_versions": _peer_versions(),
    }


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo") as file:
            return set(next((line for line in file if line.startswith("flags")), "").split())
    except OSError:
        return set()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _peer_versions() -> dict:
    if not peers_installed():
        return {}
    code = f"from importlib.metadata import version\nfor name in {OF_PEERS}: print(name, version(name))"
    done = subprocess.run([PEERS, "-c", code], capture_output=True, text=True)
    return dict(line.split() for line in done.stdout.splitlines())
