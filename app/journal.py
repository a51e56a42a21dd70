"""What a training remembers and writes down: counts, the best validation, the loss curve."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

LOG = "log.jsonl"


@dataclass
class Journal:
    """The plain numbers of a training; they travel in its checkpoints.

    `update` is the number of updates done, `seconds` the time they took over all sessions, `best` the update and score
    of the best validation, `worse` the number of validations since, and `finished` why the training ended ("" before).
    """

    update: int = 0
    seconds: float = 0.0
    best: dict | None = None
    worse: int = 0
    finished: str = ""

    def as_dict(self) -> dict:
        """Plain values for a checkpoint's summary."""
        return asdict(self)

    @classmethod
    def from_summary(cls, summary: dict) -> "Journal":
        """From a checkpoint's summary."""
        return cls(**{key: summary[key] for key in cls.__dataclass_fields__ if key in summary})

    def validated(self, update: int, score: float) -> bool:
        """Notes a validation's score (higher is better); returns whether it is the best so far."""
        if self.best is None or score > self.best["score"]:
            self.best, self.worse = {"update": update, "score": score}, 0
            return True
        self.worse += 1
        return False


class Log:
    """The loss curve on disk: one JSON object a line.

    Args:
        path: the file.
        update: entries after this update are removed; a training that was killed has written some that it
            will write again.
    """

    def __init__(self, path, update: int):
        self.path = Path(path)
        kept = [line for line in self._lines() if json.loads(line)["update"] <= update]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(kept), encoding="utf-8")
        os.replace(partial, self.path)

    def write(self, **entry) -> None:
        """Adds one entry; it must have an `update`."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def entries(self) -> list[dict]:
        """All entries, oldest first."""
        return [json.loads(line) for line in self._lines()]

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        # The last line may be half-written.
        return [line for line in self.path.read_text(encoding="utf-8").splitlines(True) if line.endswith("\n")]
