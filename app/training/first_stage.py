"""The first of two training stages: a run, finished or not, whose tokenizer and weights a new training starts from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.presets.preset import Preset
from app.presets.schema import keys, sections
from app.runs.run import Run
from app.runs.weights import load_arrays, named, split_variables
from data.errors import UserError
from models.memories import parts_of

# Keys that must equal those of the first stage; otherwise its weights would not fit, or would mean something else.
SAME = {
    "data": ("source", "target", "lowercase", "copy", "numbers", "capitals"),
    "tokenizer": ("kind", "vocabulary"),
    "model": (
        "encoder_layers",
        "decoder_layers",
        "width",
        "hidden",
        "heads",
        "activation",
        "norm",
        "stack",
        "attention",
        "positions",
        "tie",
        "output_bias",
    ),
}
# Two values of model.stack that make a difference only in training.
SAME_NETWORK = {"plain", "bdia"}
# Keys that may differ, as long as every weight of the first stage fits.
FITTING = {
    "model": ("max_positions",),
    "memory": ("kind", "sides", "layers", "read"),
    "embeddings": ("vectors", "side"),
    "training": ("memory_tokens",),
}


def first_stage(run: Run) -> Run:
    """The run that `training.start` names.

    Args:
        run: the run that starts from it.

    Raises:
        UserError: it is not a run, it is this run, or keys that must be equal differ; each is named with both values.
    """
    path = run.preset.training.start
    if Path(path).resolve() == run.path.resolve():
        raise UserError(f"training.start: {path} is the run folder of this training; choose another with --run")
    try:
        first = Run.open(path, run.preset.model.kind)
    except UserError as error:
        raise UserError(f"training.start: {error}") from error
    other = differences(first.preset, run.preset, SAME)
    if other:
        raise UserError(
            f"training.start: {path} has {', '.join(other)}: set these keys to the same values, or choose another run"
        )
    return first


def take_tokenizer(run: Run) -> None:
    """Copies the first stage's tokenizer into a run.

    Raises:
        UserError: as for `first_stage`; the first stage has no weights; or `tokenizer.run` names a run with another
            tokenizer.
    """
    first = first_stage(run)
    first.weights_file()  # fails here rather than after encoding all text
    tokenizer = first.tokenizer()
    if run.preset.tokenizer.run and _lent_tokenizer(run).fingerprint != tokenizer.fingerprint:
        raise UserError(
            f"tokenizer.run: {run.preset.tokenizer.run} has another tokenizer than training.start = {first.path}, to "
            "which its weights belong: set one of the two alone"
        )
    run.save_tokenizer(tokenizer)


def borrow_tokenizer(run: Run) -> None:
    """Copies the tokenizer of the run that `tokenizer.run` names.

    Raises:
        UserError: it is not a run, or its keys on text or tokenizer differ; each is named with both values.
    """
    run.save_tokenizer(_lent_tokenizer(run))


def unchecked_text(run: Run) -> list[tuple[Run, list[str]]]:
    """The stages before a run that did not hold out some of its held-out text, each with the names of that text.

    They may have trained on it. Of an imported model it is not known what it was trained on.
    """
    found, held_out = [], _held_out(run)
    for stage in _stages_before(run):
        known = stage.preset.data.holdout == "remove" and not stage.summary().get("imported")
        left_out = _held_out(stage) if known else set()
        if unchecked := sorted(held_out - left_out):
            found.append((stage, unchecked))
    return found


def _held_out(run):
    data = run.preset.data
    return {f"{name} {split}" for split in ("validation", "test") for name in getattr(data, split)}


def _stages_before(run):
    """The first stage, then the stage that it started from, and so on, as far as these runs still exist."""
    stage, seen = first_stage(run), {run.path.resolve()}
    while stage.path.resolve() not in seen:
        yield stage
        seen.add(stage.path.resolve())
        start = stage.preset.training.start
        if not start or not Run.exists(start):
            return
        try:
            stage = Run.open(start, kind=None)
        except UserError:  # damaged, and not needed for this training
            return


def _lent_tokenizer(run):
    path = run.preset.tokenizer.run
    try:
        other = Run.open(path, kind=None)
        tokenizer = other.tokenizer()
    except UserError as error:
        raise UserError(f"tokenizer.run: {error}") from error
    same = {"data": ("lowercase", "copy", "numbers", "capitals"), "tokenizer": ("kind", "vocabulary")}
    if different := differences(other.preset, run.preset, same):
        raise UserError(f"tokenizer.run: {path} has {', '.join(different)}: set these keys to the same values")
    return tokenizer


def take_weights(run: Run, transformer: Any, report: Callable[[str], None] | None = None) -> None:
    """Assigns every weight of the first stage to the weight of the same name; others keep their initial values.

    Args:
        run: the new run; the origin of its weights is written to its `run.json`.
        transformer: its newly initialised model.
        report: called with a line for the user.

    Raises:
        UserError: a weight of the first stage is missing here or has another shape; names the keys that differ.
    """
    first = first_stage(run)
    origin, path, checksum = first.weights_file()
    values, mine = load_arrays(path), named(split_variables(transformer)[0])
    for name, value in values.items():
        wrong = _misfit(name, value, mine)
        if wrong:
            other = differences(first.preset, run.preset, _fitting(run.preset))
            cause = f"; differences: {', '.join(other)}" if other else ""
            raise UserError(f"training.start: {first.path} has {wrong}{cause}. Change that, or choose another run")
    for name, value in values.items():
        mine[name].assign(value)
    run.write_summary(started_from={"run": run.preset.training.start, "weights": origin, "checksum": checksum})
    if report:
        fresh = dict.fromkeys(name.partition("/")[0] for name in mine if name not in values)
        also = f"; newly initialised: {', '.join(fresh)}" if fresh else ""
        report(f"Starting from the weights of {first.path} ({origin}){also}.")


def _misfit(name: str, value, mine: dict) -> str:
    if name not in mine:
        return f"the weight {name}, which this model does not have"
    if tuple(value.shape) != tuple(mine[name].shape):
        return f"the weight {name} of shape {tuple(value.shape)}, but {tuple(mine[name].shape)} here"
    return ""


def _fitting(preset: Preset) -> dict[str, tuple[str, ...]]:
    """The keys of `FITTING`, and the settings of each kind of memory in the preset."""
    kinds = (f"memory.{kind}" for kind in parts_of(preset.memory.kind))
    return {**FITTING, **{kind: tuple(keys(kind)) for kind in kinds if kind in sections()}}


def differences(first: Preset, preset: Preset, keys: dict) -> list[str]:
    """The keys that differ, with both values.

    Args:
        first: the preset of the first stage.
        preset: the preset of the training that starts from it.
        keys: the sections with the keys to compare, such as `SAME`.
    """
    found = []
    for section, names in keys.items():
        theirs, mine = first.section(section), preset.section(section)
        for name in names:
            there, here = getattr(theirs, name), getattr(mine, name)
            if there != here and {there, here} != SAME_NETWORK:
                found.append(f"{section}.{name} = {_shown(there)} (here {_shown(here)})")
    return found


def _shown(value) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
