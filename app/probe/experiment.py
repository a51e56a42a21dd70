"""The whole probe: each memory is trained, examined at all distances, and its results are kept."""

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
from models.memories import WITHOUT_LAYER, kinds

if TYPE_CHECKING:
    from app.probe.learning import Progress

DISTANCES = (1, 2, 4, 8, 16, 32, 64)
RESULTS, FIGURE = "probe.json", "recall.svg"
# Where the probe does not go by the defaults: 64 vectors a window would make `variable` eight times as large as `gru`,
# and slow.
PRESET = Preset("probe").with_overrides(["memory.variable.summaries=4"])


@dataclass(frozen=True)
class Experiment:
    """What is compared, and how.

    Attributes:
        preset: for its memories' settings; all else in it, `memory.kind` included, is not used.
        task: what documents are made of.
        context: segments before the current one that a window of `concat` holds.
        longest: segments in the longest training documents.
        minutes: the time limit for the training of one memory.
        distances: in windows, at which recall is measured.
        documents: questions asked at each of them.
        seed: of everything random.
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
        """What must be equal for two memories to be compared, as plain values."""
        task = {name: value for name, value in asdict(self.task).items() if name != "keys_in_use"}
        measured = {"distances": list(self.distances), "documents": self.documents, "seed": self.seed}
        return {"task": task, "longest": self.longest, **measured}

    def memory(self, kind: str) -> dict[str, Any]:
        """A memory's settings as `models.document.DocumentTransformer` takes them."""
        return replace(self.preset, memory=replace(self.preset.memory, kind=kind)).memory_settings()

    def settings(self, kind: str) -> dict[str, Any]:
        """What else the results of one memory depend on."""
        own = {} if kind in WITHOUT_LAYER else self.memory(kind)
        own.pop("kind", None)
        more = {"context": self.context} if kind == "concat" else {}
        return {**own, **more, "minutes": self.minutes}


class Results:
    """The file of results: memories that were compared on equal terms.

    Args:
        folder: where `probe.json` stands or will stand.
        experiment: results in the file that were made on other terms are left out, and replaced when it is written.

    Raises:
        UserError: the file is not one of these.
    """

    def __init__(self, folder: str | Path, experiment: Experiment) -> None:
        self.path, self.experiment = Path(folder) / RESULTS, experiment
        self.memories: dict[str, dict[str, Any]] = self._comparable()

    def has(self, kind: str) -> bool:
        """Whether the results of this memory are there, with these settings."""
        return self.memories.get(kind, {}).get("settings") == self.experiment.settings(kind)

    def add(self, kind: str, found: dict[str, Any]) -> None:
        """Adds a memory's results and writes the file, keeping what another probe has added to it meanwhile."""
        self.memories = self._comparable()
        self.memories[kind] = {"settings": self.experiment.settings(kind), **found}
        self.memories = {kind: self.memories[kind] for kind in kinds() if kind in self.memories}
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
        """The results in the file, if they were made on the same terms."""
        found = self._read()
        # Once through JSON, so that both have its types.
        shared = json.loads(json.dumps(self.experiment.shared()))
        return found.get("memories", {}) if all(found.get(name) == value for name, value in shared.items()) else {}

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise UserError(
                f"{self.path}: is not a file of results (JSON): move it away, or choose --output"
            ) from error
        return found if isinstance(found, dict) else {}


def examine(kind: str, experiment: Experiment, report: "Callable[[Progress], None]") -> dict[str, Any]:
    """Trains one memory and measures its recall.

    Args:
        kind: one of `models.memories.kinds()`.
        experiment: everything else.
        report: called with an `app.probe.learning.Progress` from time to time during the training.

    Returns:
        Plain values: how the training ended, and under `recall` the right answers at each distance.
    """
    from app.probe.learning import learn

    memory = experiment.memory(kind)
    task, seed = experiment.task, experiment.seed
    learnt = learn(task, memory, experiment.context, experiment.longest, experiment.minutes, seed, report)
    # Questions that no check in the training has asked.
    recalls = [
        learnt.examiner.recall(task, distance, experiment.documents, seed + 500).as_dict()
        for distance in experiment.distances
    ]
    progress = asdict(learnt.progress)
    trained = {name: progress[name] for name in ("update", "keys", "length")}
    return {"weights": learnt.weights, "seconds": round(progress["seconds"], 1), **trained, "recall": recalls}
