"""A model's variables as named arrays in a file, with a checksum."""

import math
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from data.files import atomic_write, checksum


def read_variables(variables: Iterable[Any]) -> dict[str, np.ndarray]:
    """The values of Keras variables, by names that do not depend on how many models were built before.

    A weight is named by its path without the outermost model's name.
    """
    from keras import ops

    return {name: np.asarray(ops.convert_to_numpy(v)) for name, v in named(variables).items()}


def named(variables: Iterable[Any]) -> dict:
    """Keras variables by the names that `read_variables` gives them."""
    found = {}
    for variable in variables:
        name = variable.path.partition("/")[2] or variable.path
        if name in found:
            raise ValueError(f"two variables are called {name}")
        found[name] = variable
    return found


def split_variables(model: Any) -> tuple[list, list]:
    """A model's weights, and the states of its random generators."""
    random = [v for v in model.variables if "seed_generator" in v.path]
    return [v for v in model.variables if "seed_generator" not in v.path], random


def assign_variables(variables: Iterable[Any], values: dict, origin: Path | str) -> None:
    """Sets Keras variables from `read_variables`' result.

    Args:
        variables: the variables, made by the same code.
        values: name to array.
        origin: the file the values come from, for messages.

    Raises:
        UserError: a variable is missing or has another shape.
    """
    for variable, value in _matched(variables, values, origin):
        variable.assign(value)


def build_with(build: Callable, values: dict, origin: Path | str) -> Any:
    """Makes a model that has given weights from the start, without drawing random ones first.

    Args:
        build: makes the model with all its variables.
        values: name to array.
        origin: the file the values come from, for messages.

    Returns:
        The model.

    Raises:
        UserError: a variable is missing or has another shape.
    """
    import keras

    from app.runs.keras_private import set_first_value

    # Variables made in such a scope get their values only when it ends.
    with keras.StatelessScope():
        model = build()
        for variable, value in _matched(split_variables(model)[0], values, origin):
            set_first_value(variable, value)
    return model


def save_arrays(path: Path | str, arrays: dict) -> str:
    """Writes named arrays as one .npz, atomically; returns the file's checksum."""
    with atomic_write(path) as file:
        np.savez(file, **arrays)
    return checksum(path)


def load_arrays(path: Path | str) -> dict[str, np.ndarray]:
    """Reads what `save_arrays` wrote.

    Raises:
        UserError: the file is missing or is not an .npz file.
    """
    try:
        with np.load(path) as file:
            return dict(file)
    except FileNotFoundError:
        raise UserError(f"{path}: the weights are missing") from None
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: the weights cannot be read: {error}") from error


def count_values(path: Path | str) -> int:
    """The number of values in a file that `save_arrays` wrote; reads only the headers of its arrays.

    Raises:
        UserError: the file is missing or is not an .npz file.
    """
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    np.lib.format.read_magic(file)
                    total += math.prod(np.lib.format.read_array_header_1_0(file)[0])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: the weights cannot be read: {error}") from error
    return total


def _matched(variables, values: dict, origin) -> list[tuple]:
    """Each variable with its value."""
    matched = []
    for name, variable in named(variables).items():
        if name not in values:
            raise UserError(f"{origin}: has no value for {name}: it was made by another version or another preset")
        if tuple(values[name].shape) != tuple(variable.shape):
            shapes = f"{tuple(values[name].shape)}, but {tuple(variable.shape)} is needed"
            raise UserError(f"{origin}: {name} has shape {shapes}: it was made with another preset")
        matched.append((variable, values[name]))
    return matched
