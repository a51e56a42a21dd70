"""Reads all state that training changes from a model, and restores it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from app.runs.weights import assign_variables, read_variables, split_variables
from data.errors import UserError

if TYPE_CHECKING:
    from app.training.workers.cluster import Cluster


def sync(model: Any) -> None:
    """On JAX, brings the values that `fit` holds back into the model's variables."""
    if keras.backend.backend() == "jax":
        model.jax_state_sync()


def read_state(model: Any, carried: list) -> tuple[dict, dict]:
    """The state of a compiled `TeacherForcing` model with a built optimiser.

    Args:
        model: the model.
        carried: the memory of all lanes, as of `read_memory`.

    Returns:
        Name to array of the Transformer's weights, and name to array of all else: the optimiser, the random generators,
        the memory that goes from batch to batch, and the sums behind the loss that is logged next.
    """
    weights, _ = split_variables(model.transformer)
    others = {name: to_array(variable) for name, variable in _others(model).items()}
    return read_variables(weights), others | _numbered("carried", carried)


def read_memory(model: Any, cluster: "Cluster") -> list:
    """The memory that goes from batch to batch, as arrays; only a model that reads documents has some.

    All workers of a cluster must call this, since each has a part.
    """
    return cluster.gather(getattr(model, "carried", []))


def restore_state(model: Any, weights: dict, state: dict, origin: Path | str, cluster: "Cluster") -> None:
    """Sets what `read_state` returned.

    Args:
        model: a model made from the same preset by the same code.
        weights, state: as `read_state` returned them.
        origin: where they come from, for messages.
        cluster: the workers, each of which takes its part of the memory.

    Raises:
        UserError: the values belong to another model.
    """
    mine, _ = split_variables(model.transformer)
    assign_variables(mine, weights, origin)
    others, carried = _others(model), _numbered("carried", getattr(model, "carried", []))
    if {*others, *carried} != set(state):
        raise UserError(f"{origin}: the checkpoint's state is that of another model or version")
    for name, variable in others.items():
        variable.assign(state[name])
    cluster.scatter(carried.values(), [state[name] for name in carried])


def to_array(variable: Any) -> np.ndarray:
    """A copy of a variable's value; in float32 where it has a type that .npz files do not know, such as bfloat16."""
    value = np.array(keras.ops.convert_to_numpy(variable))
    return value.astype("float32") if value.dtype.kind == "V" else value


def _others(model) -> dict:
    _, random = split_variables(model.transformer)
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    groups = {"optimizer": model.optimizer.variables, "random": random, "metrics": metrics}
    return {name: v for group, variables in groups.items() for name, v in _numbered(group, variables).items()}


def _numbered(group: str, items) -> dict:
    return {f"{group}/{i:05d}": item for i, item in enumerate(items)}
