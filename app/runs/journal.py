"""The progress of a training (counts, time, the best validation) and its log."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from app.presets.schema import TrainingPreset
from data.files import atomic_write

LOG = "log.jsonl"


@dataclass
class Journal:
    """The progress of a training in plain numbers, kept in its checkpoints.

    `update` is the number of updates done, `seconds` the time they took over all sessions, `warmup_seconds` the part of
    it that the warm-up took (where the learning-rate schedule is timed), `validated` the update of the last validation,
    `best` the update and score of the best one, and `worse` the number of validations since. `tokens` are the target
    tokens trained on, without padding; None if an earlier version, which did not count them, did part of the training.
    """

    update: int = 0
    seconds: float = 0.0
    warmup_seconds: float = 0.0
    validated: int = 0
    best: dict | None = None
    worse: int = 0
    tokens: int | None = 0

    def as_dict(self) -> dict:
        """Plain values for a checkpoint's summary."""
        return asdict(self)

    @classmethod
    def from_summary(cls, summary: dict) -> "Journal":
        """From a checkpoint's summary; {} for a training that has just begun."""
        known = {key: summary[key] for key in cls.__dataclass_fields__ if key in summary}
        return cls(**({"tokens": None} if summary else {}) | known)

    def note_validation(self, score: float) -> bool:
        """Records a validation's score (higher is better); returns whether it is the best so far."""
        self.validated = self.update
        if self.best is None or score > self.best["score"]:
            self.best, self.worse = {"update": self.update, "score": score}, 0
            return True
        self.worse += 1
        return False

    def why_finished(self, training: TrainingPreset) -> str:
        """Why the training is finished, or "" if it is not.

        Args:
            training: the preset's section of that name.
        """
        if self.update >= training.updates:
            return f"all {training.updates:,} updates are done"
        if training.minutes and self.seconds >= training.minutes * 60:
            return f"the time limit of {training.minutes:g} minutes is reached"
        if training.patience and self.worse >= training.patience:
            return f"{self.worse} validations without improvement since update {self.best['update']:,}"
        return ""


class Log:
    """The loss curve on disk: one JSON object per line.

    Args:
        path: the file.
        update: entries after this update are removed; a resumed training writes them again.
    """

    def __init__(self, path: Path | str, update: int):
        self.path = Path(path)
        kept = [line for line in _lines(self.path) if _update_of(line) <= update]
        with atomic_write(self.path, "w") as file:
            file.write("".join(kept))

    def write(self, **entry) -> None:
        """Adds one entry; it must have an `update`."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def read_log(path: Path | str) -> list[dict]:
    """The entries of a log that another process may be writing, oldest first; [] if there is no log."""
    return [json.loads(line) for line in _lines(Path(path)) if _update_of(line) < math.inf]


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    # Only "\n" ends a line: a sample translation may contain other line ends. The last line may be half-written.
    with path.open(encoding="utf-8", newline="\n", errors="replace") as file:
        return [line for line in file if line.endswith("\n")]


def _update_of(line: str) -> float:
    try:
        return json.loads(line)["update"]
    except (ValueError, TypeError, KeyError):  # what a power failure left
        return math.inf
