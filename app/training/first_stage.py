"""The first of two stages: a finished or unfinished run whose tokenizer and weights a training begins with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.presets.preset import Preset
from app.presets.schema import keys, sections
from app.runs.run import Run
from app.runs.weights import load_arrays, named, split_variables
from data.errors import UserError

# What must be as in the first stage, because its weights would mean something else or would not fit.
SAME = {
    "data": ("source", "target", "lowercase"),
    "tokenizer": ("kind", "vocabulary"),
    "model": (
        "encoder_layers",
        "decoder_layers",
        "width",
        "hidden",
        "heads",
        "activation",
        "norm",
        "positions",
        "tie",
    ),
}
# What may be otherwise, as long as every weight of the first stage finds its place.
FITTING = {
    "model": ("max_positions",),
    "memory": ("kind", "sides"),
    "embeddings": ("vectors", "side"),
}


def first_stage(run: Run) -> Run:
    """The run that `training.start` names.

    Args:
        run: the run that begins with it.

    Raises:
        UserError: it is no run, it is this one, or it was trained with keys of another value that must be the same;
            each is named with both values.
    """
    path = run.preset.training.start
    if Path(path).resolve() == run.path.resolve():
        raise UserError(f"training.start: {path} is the folder of this training itself; choose another with --run")
    try:
        first = Run.open(path)
    except UserError as error:
        raise UserError(f"training.start: {error}") from error
    other = _differences(first.preset, run.preset, SAME)
    if other:
        raise UserError(
            f"training.start: {path} has {', '.join(other)}: change these keys to what they are there, or choose "
            "another run"
        )
    return first


def take_tokenizer(run: Run) -> None:
    """Copies the first stage's tokenizer into a run; raises what `first_stage` raises, and for missing weights."""
    first = first_stage(run)
    first.weights_file()  # not found out after all text was encoded
    run.save_tokenizer(first.tokenizer())


def take_weights(run: Run, transformer: Any, report: Callable[[str], None] | None = None) -> None:
    """Gives every weight of the first stage to the weight of the same name; others keep their fresh values.

    Args:
        run: the run that begins; which weights it began with is written to its `run.json`.
        transformer: its fresh model.
        report: called with a line for the user.

    Raises:
        UserError: a weight of the first stage has no place, or one of another shape; names the keys that differ.
    """
    first = first_stage(run)
    origin, path, checksum = first.weights_file()
    values, mine = load_arrays(path), named(split_variables(transformer)[0])
    for name, value in values.items():
        wrong = _misfit(name, value, mine)
        if wrong:
            other = _differences(first.preset, run.preset, _fitting(run.preset))
            cause = f"; what differs: {', '.join(other)}" if other else ""
            raise UserError(f"training.start: {first.path} has {wrong}{cause}. Change that, or choose another run")
    for name, value in values.items():
        mine[name].assign(value)
    run.write_summary(started_from={"run": run.preset.training.start, "weights": origin, "checksum": checksum})
    if report:
        fresh = dict.fromkeys(name.partition("/")[0] for name in mine if name not in values)
        also = f"; fresh are {', '.join(fresh)}" if fresh else ""
        report(f"Starting from the weights of {first.path} ({origin}){also}.")


def _misfit(name: str, value, mine: dict) -> str:
    if name not in mine:
        return f"the weight {name}, for which there is no place here"
    if tuple(value.shape) != tuple(mine[name].shape):
        return f"the weight {name} of shape {tuple(value.shape)}, which is {tuple(mine[name].shape)} here"
    return ""


def _fitting(preset: Preset) -> dict[str, tuple[str, ...]]:
    """The keys of `FITTING` and the settings of the memory."""
    memory = f"memory.{preset.memory.kind}"
    return {**FITTING, memory: tuple(keys(memory))} if memory in sections() else FITTING


def _differences(first: Preset, preset: Preset, keys: dict) -> list[str]:
    """Those of some keys that differ, in words."""
    found = []
    for section, names in keys.items():
        theirs, mine = first.section(section), preset.section(section)
        for name in names:
            there, here = getattr(theirs, name), getattr(mine, name)
            if there != here:
                found.append(f"{section}.{name} = {_shown(there)} (here {_shown(here)})")
    return found


def _shown(value) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
