"""The whole probe: each memory is trained, examined at all distances, and its results are kept."""

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from app.probe.documents import Task
from data.errors import UserError
from data.files import atomic_write

DISTANCES = (1, 2, 4, 8, 16, 32, 64)
RESULTS, FIGURE = "probe.json", "recall.svg"
# What of the section [memory] counts for each kind.
_KEYS = {
    "none": (),
    "concat": (),
    "gru": ("slots", "cell", "sides", "read_bias", "keep_bias"),
    "fixed": ("segments", "sides", "read_bias"),
    "variable": ("segments", "sides", "read_bias"),
}
KINDS = tuple(_KEYS)


@dataclass(frozen=True)
class Experiment:
    """What is compared, and how.

    Attributes:
        memory: an `app.presets.schema.MemoryPreset`; its kind counts nothing.
        task: what documents are made of.
        context: segments before the current one that a window of `concat` holds.
        summaries: vectors of a window that `variable` keeps. As many as `gru` has slots would make it eight times as
            large, and slow.
        longest: segments in the longest training documents.
        minutes: the most that the training of one memory takes.
        distances: in windows, at which recall is measured.
        documents: questions asked at each of them.
        seed: of all that is random.
    """

    memory: object
    task: Task = Task()
    context: int = 4
    summaries: int = 4
    longest: int = 32
    minutes: float = 4.0
    distances: tuple[int, ...] = DISTANCES
    documents: int = 1000
    seed: int = 1

    def shared(self) -> dict:
        """What must be equal for two memories to be compared, as plain values."""
        task = {name: value for name, value in asdict(self.task).items() if name != "keys_in_use"}
        measured = {"distances": list(self.distances), "documents": self.documents, "seed": self.seed}
        return {"task": task, "longest": self.longest, **measured}

    def settings(self, kind: str) -> dict:
        """What else sets the results of one memory."""
        own = {name: getattr(self.memory, name) for name in _KEYS[kind]}
        more = {"concat": {"context": self.context}, "variable": {"summaries": self.summaries}}
        return {**own, **more.get(kind, {}), "minutes": self.minutes}


class Results:
    """The file of results: memories that were compared on equal terms.

    Args:
        folder: where `probe.json` stands or will stand.
        experiment: results in the file that were made on other terms are left out, and replaced when it is written.

    Raises:
        UserError: the file is none of ours.
    """

    def __init__(self, folder, experiment: Experiment):
        self.path, self.experiment = Path(folder) / RESULTS, experiment
        self.memories: dict[str, dict] = self._comparable()

    def has(self, kind: str) -> bool:
        """Whether the results of this memory are there, with these settings."""
        return self.memories.get(kind, {}).get("settings") == self.experiment.settings(kind)

    def add(self, kind: str, found: dict) -> None:
        """Adds a memory's results and writes the file, with what another probe may have added to it meanwhile."""
        self.memories = self._comparable()
        self.memories[kind] = {"settings": self.experiment.settings(kind), **found}
        self.memories = {kind: self.memories[kind] for kind in KINDS if kind in self.memories}
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

    def _comparable(self) -> dict[str, dict]:
        """The memories in the file, if they were compared on the same terms."""
        found = self._read()
        # Once through JSON, so that both have its types.
        shared = json.loads(json.dumps(self.experiment.shared()))
        return found.get("memories", {}) if all(found.get(name) == value for name, value in shared.items()) else {}

    def _read(self) -> dict:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise UserError(f"{self.path}: is no file of results (JSON): move it away, or choose --output") from error
        return found if isinstance(found, dict) else {}


def examine(kind: str, experiment: Experiment, report: Callable) -> dict:
    """Trains one memory and measures its recall.

    Args:
        kind: one of `KINDS`.
        experiment: all else.
        report: is called with an `app.probe.learning.Progress` now and then while it trains.

    Returns:
        Plain values: how the training ended, and under `recall` the right answers at each distance.
    """
    from app.probe.learning import learn

    memory = {**asdict(experiment.memory), "kind": kind}
    if kind == "variable":
        memory["slots"] = experiment.summaries
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
