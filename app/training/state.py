"""Reads and restores all state of a model that training changes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from app.runs.weights import assign_variables, read_variables, split_variables
from data.errors import UserError

if TYPE_CHECKING:
    from app.training.workers.cluster import Cluster


def sync(model: Any) -> None:
    """On JAX, copies the values that `fit` holds back into the model's variables."""
    if keras.backend.backend() == "jax":
        model.jax_state_sync()


def read_state(model: Any, carried: list, whole: bool) -> tuple[dict, dict | None]:
    """The state of a compiled `TeacherForcing` model with a built optimiser.

    Args:
        model: the model.
        carried: the memory state of all lanes, from `read_memory`.
        whole: whether to read everything, not only the weights.

    Returns:
        Two mappings from name to array: the Transformer's weights, and everything else: the optimiser, the random
        generators, the memory state carried from batch to batch, and the running sums of the logged loss. The second
        is None unless `whole`.
    """
    weights, _ = split_variables(model.transformer)
    if not whole:
        return read_variables(weights), None
    others = {name: to_array(variable) for name, variable in _others(model).items()}
    return read_variables(weights), others | _numbered("carried", carried)


def read_memory(model: Any, cluster: "Cluster") -> list:
    """The memory state carried from batch to batch, as arrays; empty for a model that does not read documents.

    All workers of a cluster must call this, since each holds a part of it.
    """
    return cluster.gather(getattr(model, "carried", []))


def restore_state(model: Any, weights: dict, state: dict, origin: Path | str, cluster: "Cluster") -> None:
    """Restores what `read_state` returned.

    Args:
        model: a model made from the same preset by the same code.
        weights, state: as `read_state` returned them.
        origin: where the values come from, for messages.
        cluster: the workers, each of which takes its part of the memory state.

    Raises:
        UserError: the values belong to another model.
    """
    mine, _ = split_variables(model.transformer)
    assign_variables(mine, weights, origin)
    others, carried = _others(model), _numbered("carried", getattr(model, "carried", []))
    if {*others, *carried} != set(state):
        raise UserError(f"{origin}: the checkpoint's state belongs to another model or version")
    for name, variable in others.items():
        variable.assign(state[name])
    cluster.scatter(carried.values(), [state[name] for name in carried])


def to_array(variable: Any) -> np.ndarray:
    """A copy of a variable's value; in float32 if .npz files do not support its type, such as bfloat16."""
    value = np.array(keras.ops.convert_to_numpy(variable))
    return value.astype("float32") if value.dtype.kind == "V" else value


def _others(model) -> dict:
    _, random = split_variables(model.transformer)
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    groups = {"optimizer": model.optimizer.variables, "random": random, "metrics": metrics}
    return {name: v for group, variables in groups.items() for name, v in _numbered(group, variables).items()}


def _numbered(group: str, items) -> dict:
    return {f"{group}/{i:05d}": item for i, item in enumerate(items)}
