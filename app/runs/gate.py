"""The gate of a run: a layer that weighs retrieved entries, learnt on validation text."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data.errors import UserError
from data.files import checksum_of, read_json, write_json

if TYPE_CHECKING:
    from app.runs.run import Run

FILE = "retrieval.json"
# A gate is valid only with the values of these settings that it was learnt with.
_SETTINGS = ("key", "neighbours")


class GateWeights(NamedTuple):
    """The layer's matrix (2 k + 1, 2) and bias (2,); see `models.memories.retrieval.Gate`."""

    weights: list[list[float]]
    bias: list[float]


def write_gate(run: "Run", gate: GateWeights, about: dict) -> None:
    """Writes a gate into the run's folder.

    Args:
        run: the run; its retrieval settings must be those that the gate was learnt with.
        gate: the layer.
        about: what it was learnt on, plain JSON values.
    """
    settings = {name: getattr(run.preset.retrieval, name) for name in _SETTINGS}
    content = {"settings": settings, "weights": gate.weights, "bias": gate.bias, "learnt_on": about}
    write_json(run.path / FILE, {**content, "checksum": checksum_of(content)})


def read_gate(run: "Run") -> GateWeights | None:
    """The gate of a run; None if its settings do not use a learnt one.

    Raises:
        UserError: there is none, it is damaged, or it was learnt with other settings.
    """
    if run.preset.retrieval.gate != "learnt":
        return None
    path = Path(run.path) / FILE
    remedy = f"learn it with `weitblick tune {run.path} --learn`, or set memory.retrieval.gate=distance"
    if not path.is_file():
        raise UserError(f'{path}: missing, but memory.retrieval.gate = "learnt"; {remedy}')
    content = read_json(path)
    if content.pop("checksum", None) != checksum_of(content):
        raise UserError(f"{path}: the file was edited or damaged (wrong checksum); {remedy}")
    for name, value in content["settings"].items():
        if value != (now := getattr(run.preset.retrieval, name)):
            raise UserError(f"{path}: learnt with memory.retrieval.{name}={value}, not {now}; {remedy}")
    return GateWeights(content["weights"], content["bias"])
