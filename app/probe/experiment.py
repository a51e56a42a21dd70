"""The whole probe: trains each memory, measures its recall at all distances, and saves the results."""

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.presets.preset import Preset
from app.probe.documents import Task
from data.errors import UserError
from data.files import atomic_write
from models.memories import WITHOUT_LAYER, trained_kinds

if TYPE_CHECKING:
    from app.probe.learning import Progress

DISTANCES = (1, 2, 4, 8, 16, 32, 64)
RESULTS, FIGURE = "probe.json", "recall.svg"
# Changes from the defaults: with 64 vectors per window, `variable` would be slow and eight times as large as `gru`.
PRESET = Preset("probe").with_overrides(["memory.variable.summaries=4"])


@dataclass(frozen=True)
class Experiment:
    """What is compared, and how.

    Attributes:
        preset: settings of its memories; everything else in it, including `memory.kind`, is ignored.
        task: the content of documents.
        context: preceding segments in a window of `concat`.
        longest: segments in the longest training documents.
        minutes: the time limit for the training of one memory.
        distances: distances at which recall is measured, in windows.
        documents: number of questions at each distance.
        seed: seed for all randomness.
    """

    preset: Preset = PRESET
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
        return {"task": task, "longest": self.longest, **measured}

    def memory(self, kind: str) -> dict[str, Any]:
        """A memory's settings as `models.document.DocumentTransformer` takes them."""
        return replace(self.preset, memory=replace(self.preset.memory, kind=kind)).memory_settings()

    def settings(self, kind: str) -> dict[str, Any]:
        """The other settings that the results of one memory depend on."""
        own = {} if kind in WITHOUT_LAYER else self.memory(kind)
        own.pop("kind", None)
        more = {"context": self.context} if kind == "concat" else {}
        return {**own, **more, "minutes": self.minutes}


class Results:
    """The results file: memories compared on equal terms.

    Args:
        folder: the folder of `probe.json`.
        experiment: results in the file with other shared settings are ignored, and dropped on the next write.

    Raises:
        UserError: the file is not a results file.
    """

    def __init__(self, folder: str | Path, experiment: Experiment) -> None:
        self.path, self.experiment = Path(folder) / RESULTS, experiment
        self.memories: dict[str, dict[str, Any]] = self._comparable()

    def has(self, kind: str) -> bool:
        """Whether the file has results of this memory with these settings."""
        return self.memories.get(kind, {}).get("settings") == self.experiment.settings(kind)

    def add(self, kind: str, found: dict[str, Any]) -> None:
        """Adds a memory's results and writes the file, keeping what another probe has added in the meantime."""
        self.memories = self._comparable()
        self.memories[kind] = {"settings": self.experiment.settings(kind), **found}
        self.memories = {kind: self.memories[kind] for kind in trained_kinds() if kind in self.memories}
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
        # A round trip through JSON, so that both sides have its types.
        shared = json.loads(json.dumps(self.experiment.shared()))
        return found.get("memories", {}) if all(found.get(name) == value for name, value in shared.items()) else {}

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise UserError(f"{self.path}: is not a results file (JSON): move it away, or choose --output") from error
        return found if isinstance(found, dict) else {}


def examine(kind: str, experiment: Experiment, report: "Callable[[Progress], None]") -> dict[str, Any]:
    """Trains one memory and measures its recall.

    Args:
        kind: one of `models.memories.kinds()`.
        experiment: all other settings.
        report: called with an `app.probe.learning.Progress` from time to time during training.

    Returns:
        Plain values: how the training ended and, under `recall`, the right answers at each distance.
    """
    from app.probe.learning import learn

    memory = experiment.memory(kind)
    task, seed = experiment.task, experiment.seed
    learnt = learn(task, memory, experiment.context, experiment.longest, experiment.minutes, seed, report)
    # Different questions from those of the checks during training.
    recalls = [
        learnt.examiner.recall(task, distance, experiment.documents, seed + 500).as_dict()
        for distance in experiment.distances
    ]
    progress = asdict(learnt.progress)
    trained = {name: progress[name] for name in ("update", "keys", "length")}
    return {"weights": learnt.weights, "seconds": round(progress["seconds"], 1), **trained, "recall": recalls}
