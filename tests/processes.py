"""How many processes run the tests with `-n auto`: by cores, and by the memory that is free."""

import os
from pathlib import Path

# What a process of tests takes at most, in bytes.
PROCESS = 4 * 10**9


def count(root: Path = Path("/")) -> int:
    """One process more than cores, as many tests wait for programs that they start, if memory suffices; at least 1."""
    return max(1, min(len(os.sched_getaffinity(0)) + 1, free(root) // PROCESS))


def free(root: Path) -> int:
    """The bytes that are free on this machine or, if it has fewer, in this container (control groups, version 2)."""
    machine = 1024 * _number(root / "proc/meminfo", "MemAvailable:", 0)
    group = root / "sys/fs/cgroup"
    limit = _number(group / "memory.max")
    if limit is None:
        return machine
    # Files that were read count as used, but make room if it is needed.
    used = _number(group / "memory.current", default=0) - _number(group / "memory.stat", "inactive_file", 0)
    return min(machine, limit - used)


def _number(path: Path, name: str = "", default: int | None = None) -> int | None:
    """The number in a file, in the line with this name; the default if there is none."""
    for line in path.read_text().splitlines() if path.exists() else ():
        words = line.split()
        if not name and words[0].isdigit():
            return int(words[0])
        if name and words[0] == name:
            return int(words[1])
    return default
