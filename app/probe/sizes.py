"""How many bytes memory states take, and how much time and memory a long document takes."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
from keras import ops

from data.errors import UserError

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def state_bytes(state: Any) -> int:
    """What is carried from one window of a document to the next, in bytes.

    Args:
        state: the memory of one document, as from `models.document.DocumentTransformer.initial_memory`.
    """
    return sum(ops.convert_to_numpy(leaf).nbytes for leaf in keras.tree.flatten(state))


class Meter:
    """Notes time and memory whenever a document reaches one of the given lengths.

    Args:
        lengths: in source tokens.

    Call arguments:
        position: source tokens of the document so far.

    Attributes:
        rows: a dictionary for each length reached: "tokens", the length; "position", where it was noted;
            "seconds_per_1000", the seconds per 1,000 tokens since the beginning; "peak_megabytes", the most memory
            that was resident since then; and "megabytes_per_1000", by how much that peak is above the memory resident
            at the beginning, per 1,000 tokens.
    """

    def __init__(self, lengths: Iterable[int]):
        self.rows: list[dict[str, float]] = []
        self._left = sorted(set(lengths))
        _forget_peak()
        self._before, self._began = resident(), time.perf_counter()

    @property
    def finished(self) -> bool:
        """Whether all lengths have been reached."""
        return not self._left

    def __call__(self, position: int) -> None:
        while self._left and position >= self._left[0]:
            seconds, peak, thousands = time.perf_counter() - self._began, _status("VmHWM"), position / 1000
            self.rows.append(
                {
                    "tokens": self._left.pop(0),
                    "position": position,
                    "seconds_per_1000": seconds / thousands,
                    "peak_megabytes": peak,
                    "megabytes_per_1000": (peak - self._before) / thousands,
                }
            )


def resident() -> float:
    """Resident memory of this process in MB."""
    return _status("VmRSS")


def _forget_peak() -> None:
    """Resets the peak of resident memory; see `man 5 proc`."""
    try:
        _FORGET.write_text("5", encoding="ascii")
    except OSError as error:
        raise UserError(f"{_FORGET}: cannot be written, but measuring memory needs that: run this on Linux") from error


def _status(name: str) -> float:
    status = _STATUS.read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) / 1024
