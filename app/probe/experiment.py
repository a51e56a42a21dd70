"""The whole probe: trains each memory, measures its recall at all distances, and saves the results."""

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.probe.candidates import MODEL, Candidate, reach
from app.probe.documents import Task
from data.errors import UserError
from data.files import atomic_write
from models.memories import parts_of, trained_kinds

if TYPE_CHECKING:
    from app.probe.learning import Progress

DISTANCES = (1, 2, 4, 8, 16, 32, 64, 128)
RESULTS, FIGURE = "probe.json", "recall.svg"


@dataclass(frozen=True)
class Experiment:
    """How memories are compared.

    Attributes:
        task: the content of documents.
        context: preceding segments in a window of `concat`.
        longest: segments in the longest training documents.
        minutes: the time limit for the training of one memory.
        distances: distances at which recall is measured, in windows.
        documents: number of questions at each distance.
        seed: seed for all randomness.
    """

    task: Task = Task()
    context: int = 4
    longest: int = 32
    minutes: float = 4.0
    distances: tuple[int, ...] = DISTANCES
    documents: int = 1000
    seed: int = 1

    def shared(self) -> dict[str, Any]:
        """Settings that must be equal for two memories to be comparable, as plain values."""
        task = {name: value for name, value in asdict(self.task).items() if name != "keys_in_use"}
        measured = {"distances": list(self.distances), "documents": self.documents, "seed": self.seed}
        return {"task": task, "model": MODEL, "longest": self.longest, **measured}

    def settings(self, candidate: Candidate) -> dict[str, Any]:
        """The other settings that the results of one memory depend on."""
        more = {"context": self.context} if candidate.kind == "concat" else {}
        return _as_read({**candidate.settings, **more, "minutes": self.minutes})


class Results:
    """The results file: memories compared on equal terms.

    Args:
        folder: the folder of `probe.json`.
        experiment: results in the file with other shared settings are ignored, see `refuse_others`.

    Raises:
        UserError: the file is not a results file.
    """

    def __init__(self, folder: str | Path, experiment: Experiment) -> None:
        self.path, self.experiment = Path(folder) / RESULTS, experiment
        self.memories: dict[str, dict[str, Any]] = self._comparable()

    def refuse_others(self) -> None:
        """Raises `UserError` if the file holds results made with other shared settings, which `add` would replace."""
        found, shared = self._read(), _as_read(self.experiment.shared())
        if found.get("memories") and (names := [name for name, value in shared.items() if found.get(name) != value]):
            raise UserError(
                f"{self.path}: its results were made with other settings ({', '.join(names)}), so they cannot be "
                "compared with these: choose another --output, or move it away"
            )

    def has(self, candidate: Candidate) -> bool:
        """Whether the file has results of this memory with these settings."""
        return self.memories.get(candidate.name, {}).get("settings") == self.experiment.settings(candidate)

    def add(self, candidate: Candidate, found: dict[str, Any]) -> None:
        """Adds a memory's results and writes the file, keeping what another probe has added in the meantime."""
        memories = self._comparable()
        memories[candidate.name] = {"kind": candidate.kind, "settings": self.experiment.settings(candidate), **found}
        self.memories = dict(sorted(memories.items(), key=lambda item: _order(item[1]["kind"])))
        packages = {name: version(name) for name in ("weitblick", "keras", "tensorflow")}
        text = {
            **self.experiment.shared(),
            "chance": 1 / self.experiment.task.values,
            "memories": self.memories,
            "versions": {"python": platform.python_version(), **packages},
        }
        with atomic_write(self.path, "w") as file:
            json.dump(text, file, indent=1)
            file.write("\n")

    def _comparable(self) -> dict[str, dict[str, Any]]:
        """The results in the file, if their shared settings are the same."""
        found = self._read()
        shared = _as_read(self.experiment.shared())
        return found.get("memories", {}) if all(found.get(name) == value for name, value in shared.items()) else {}

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise UserError(f"{self.path}: is not a results file (JSON): move it away, or choose --output") from error
        return found if isinstance(found, dict) else {}


def _order(kind: str) -> list[int]:
    """Kinds in the order of `trained_kinds`, each before its combinations; kinds that no longer exist come last."""
    known = trained_kinds()
    return [known.index(part) if part in known else len(known) for part in parts_of(kind)]


def _as_read(values: dict[str, Any]) -> dict[str, Any]:
    """Plain values with the types that they have after being read from a file."""
    return json.loads(json.dumps(values))


def examine(candidate: Candidate, experiment: Experiment, report: "Callable[[Progress], None]") -> dict[str, Any]:
    """Trains one memory and measures its recall.

    Args:
        candidate: the memory.
        experiment: all other settings.
        report: called with an `app.probe.learning.Progress` from time to time during training.

    Returns:
        Plain values: how the training ended; under `promised`, the distances in windows of
        `app.probe.candidates.Reach`, or None; `state_bytes`, the size of a document's memory state; `weights`, how
        many the model has; and under `recall`, the right answers at each distance.
    """
    from app.probe.learning import learn

    task, seed, context = experiment.task, experiment.seed, experiment.context
    learnt = learn(task, candidate.memory, context, experiment.longest, experiment.minutes, seed, report)
    # Different questions from those of the checks during training.
    recalls = [
        learnt.examiner.recall(task, distance, experiment.documents, seed + 500).as_dict()
        for distance in experiment.distances
    ]
    progress = asdict(learnt.progress)
    trained = {name: progress[name] for name in ("update", "facts", "keys", "length", "loss")}
    promised = reach(candidate, task, context)
    sizes = {"promised": promised and promised._asdict(), "state_bytes": learnt.state_bytes, "weights": learnt.weights}
    return {**sizes, "seconds": round(progress["seconds"], 1), **trained, "recall": recalls}
